//! All that one node would be booted with, for people: what the lab comes to for it, and what each loader would be sent.

use std::fmt::{self, Write};

use pilotlight_lab::{Lab, Node, Power, Variable};

use crate::{
    Architecture, Client, boot_file, grub_config, ipxe_script,
    kernel::{Start, start},
    pxelinux_config,
};

/// What `node` would be booted with, expanded: groups taken in, names resolved, and each text in full.
pub fn describe(lab: &Lab, node: &Node) -> String {
    let mut out = String::new();
    words(&mut out, lab, node);
    loaders(&mut out, lab, node);
    let name = format!("01-{}", node.mac.hyphenated());
    part(&mut out, &format!("/ipxe?mac={}", node.mac.hyphenated()), &ipxe_script(lab, Some(node.mac)));
    let pxelinux = pxelinux_config(lab, &name).unwrap_or_default();
    part(&mut out, &format!("pxelinux.cfg/{name}"), &pxelinux);
    let grub = grub_config(lab, &format!("grub.cfg-{name}")).unwrap_or_default();
    part(&mut out, &format!("grub/grub.cfg-{name}"), &grub);
    out
}

fn words(out: &mut String, lab: &Lab, node: &Node) {
    let mut line = |what: &str, value: &dyn fmt::Display| _ = writeln!(out, "{what:<12}{value}");
    line("name", &format_args!("{}.{}", node.name, lab.network.domain));
    match &node.identity {
        None => line("mac", &node.mac),
        Some(identity) if node.is_met() => {
            line("mac", &format_args!("{}, which has the {identity}", node.mac))
        }
        Some(identity) => {
            line(
                "mac",
                &format_args!("that of the first machine with the {identity}; below stands {}", node.mac),
            );
        }
    }
    match node.address {
        Some(address) => line("address", &format_args!("{address}/{}", lab.network.prefix)),
        None => line("address", &"from the wire's own DHCP server"),
    }
    if let Some(group) = &node.group {
        line("group", group);
    }
    if let Some(role) = node.role {
        line("role", &role.name());
    }
    let profile = node.profile.as_ref().and_then(|name| Some((name, lab.profiles.get(name)?)));
    match profile {
        Some((name, profile)) => {
            line("profile", &format_args!("{name}: {}", profile.title));
            if let Some((release, channel)) = lab.followed(node) {
                match release.versions.get(channel) {
                    Some(version) => line("channel", &format_args!("{channel}, held at {version}")),
                    None => line("channel", &channel),
                }
            }
            if let Start::Missing(what) = start(lab, name, profile, Some(node)) {
                line("amiss", &what);
            }
        }
        None => line("profile", &"none: the menu, and its own disk when nobody chooses"),
    }
    if let Some(config) = &node.config {
        let kind = lab.configs.get(config).map_or("", |config| config.kind.name());
        line("config", &format_args!("{config} ({kind})"));
    }
    for (name, value) in &node.variables {
        line("variable", &format_args!("{name} = {}", Shown(value)));
    }
    for key in &node.ssh_keys {
        line("ssh key", key);
    }
    match &node.power {
        Some(Power::Outlet { device, outlet }) => line("power", &format_args!("outlet {outlet} of {device}")),
        Some(Power::System { device, system }) => line("power", &format_args!("system {system} of {device}")),
        Some(Power::WakeOnLan) => line("power", &"woken by a magic packet"),
        None => {}
    }
    for (purpose, serial) in node.disks.named() {
        line("disk", &format_args!("{serial} for {purpose}, formatted only when blank or already ours"));
    }
    match &node.install_to {
        Some(disk) => line("install-to", &format_args!("{disk}, which an installation ERASES")),
        None => line("install-to", &"no disk: nothing is ever written without a hand at the machine"),
    }
}

fn loaders(out: &mut String, lab: &Lab, node: &Node) {
    let firmware = [
        ("BIOS", Architecture::Bios, false),
        ("UEFI x64", Architecture::UefiX64, false),
        ("UEFI x64, HTTP", Architecture::UefiX64, true),
        ("UEFI arm64", Architecture::UefiArm64, false),
    ];
    for (what, architecture, http_boot) in firmware {
        let client = Client { mac: node.mac, architecture, ipxe: false, http_boot };
        if let Some(file) = boot_file(lab, &client) {
            _ = writeln!(out, "{:<12}{what}: {}", "loader", file.file);
        }
    }
}

fn part(out: &mut String, name: &str, text: &str) {
    _ = write!(out, "\n==> {name}\n{text}");
}

/// A variable as TOML has it.
struct Shown<'a>(&'a Variable);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Variable::Text(text) => write!(out, "{text:?}"),
            Variable::Integer(number) => write!(out, "{number}"),
            Variable::Truth(truth) => write!(out, "{truth}"),
            Variable::List(list) => {
                let items: Vec<_> = list.iter().map(|item| Shown(item).to_string()).collect();
                write!(out, "[{}]", items.join(", "))
            }
        }
    }
}
