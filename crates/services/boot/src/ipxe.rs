//! Scripts for iPXE.

use std::fmt::Write;

use pilotlight_lab::{Architecture, Lab, Loader, MacAddr, Marks, Node, ProfileKind, Recognised};

use crate::{
    kernel::{Entry, Start, entries},
    url,
};

/// How long the menu waits for a hand before the machine boots from its own disk.
const MENU_MILLISECONDS: u32 = 30_000;
/// How often a machine that was recognised asks once more: the card may be full, or gone.
const MOST_ASKED: u8 = 5;
/// How long a node that knows what to boot can be stopped.
const KEY_MILLISECONDS: u32 = 2_000;

/// `/boot.ipxe`: the same for every machine. It asks for the script of the machine that it runs on.
///
/// `netX` is the interface that was opened last, which is the one this script came over; a plain `${mac}` would
/// be the first interface of a machine with several.
pub fn boot_ipxe(lab: &Lab) -> String {
    let machine = machine(lab);
    format!(
        "#!ipxe\n\
         # Asks the Pi what this machine is to boot, three times at most.\n\
         set tries:int32 0\n\
         :ask\n\
         chain --replace {machine} ||\n\
         inc tries\n\
         iseq ${{tries}} 3 && goto failed ||\n\
         sleep 5\n\
         goto ask\n\
         :failed\n\
         echo Pilotlight at {server} does not say what ${{netX/mac}} is to boot.\n\
         sleep 5\n\
         exit 1\n",
        server = lab.network.address,
    )
}

/// Where a machine's own script is. It says more of itself than its hardware address where the lab knows any machine by
/// that.
fn machine(lab: &Lab) -> String {
    let marks = if lab.recognises() { "&uuid=${uuid}&serial=${serial:uristring}" } else { "" };
    format!("{}${{netX/mac:hexhyp}}{marks}", url::machine_script(lab))
}

/// `/ipxe?mac=…&uuid=…&serial=…&asked=…`: the script of a machine that says this of itself, and whom it was recognised as by
/// that.
///
/// It takes a moment until the hardware address of a machine that was recognised is written down: until then it is to ask
/// again, and after five times it gets the script of a machine without a name.
pub fn script_of<'a>(
    lab: &'a Lab,
    mac: Option<MacAddr>,
    marks: &Marks,
    asked: u8,
) -> (String, Option<Recognised<'a>>) {
    let recognised = mac.and_then(|mac| lab.recognise(mac, marks));
    let script = match recognised {
        Some(Recognised::AsNew(node)) if asked < MOST_ASKED => met_script(lab, node, asked + 1),
        _ => ipxe_script(lab, mac),
    };
    (script, recognised)
}

/// For a machine that was just recognised as `node` and has asked `asked` times since: it takes the address that is the
/// node's, and asks once more.
fn met_script(lab: &Lab, node: &Node, asked: u8) -> String {
    format!(
        "#!ipxe\n\
         # Recognised as {name} by what it says of itself.\n\
         echo This machine is {name}.\n\
         sleep 1\n\
         dhcp netX ||\n\
         chain --replace {machine}&asked={asked}\n",
        name = node.name,
        machine = machine(lab),
    )
}

/// `autoexec.ipxe`, which newer iPXE builds look for beside themselves before they ask for an address.
pub fn autoexec_ipxe(lab: &Lab) -> String {
    let script = url::boot_script(lab);
    format!(
        "#!ipxe\n\
         isset ${{netX/ip}} || dhcp || goto failed\n\
         chain --replace {script} || goto failed\n\
         :failed\n\
         echo Pilotlight's {script} cannot be reached.\n\
         exit 1\n"
    )
}

/// `/ipxe?mac=…`: what the machine with this hardware address boots.
///
/// A node with a profile boots it, after a moment in which a key shows the menu. Any other machine gets the
/// menu, and boots from its own disk when nobody chooses.
pub fn ipxe_script(lab: &Lab, mac: Option<MacAddr>) -> String {
    let node = mac.and_then(|mac| lab.node_by_mac(mac));
    let mut out = String::from("#!ipxe\n");
    match (node, mac) {
        (Some(node), _) => _ = writeln!(out, "# {}, {}", node.name, node.mac),
        (None, Some(mac)) => _ = writeln!(out, "# A machine without a name: {mac}"),
        (None, None) => out.push_str("# A machine that did not say who it is\n"),
    }
    if node.is_some_and(|node| node.loader == Loader::Undionly) {
        _ = write!(
            out,
            "# The network card's own driver is wanted, not iPXE's. What has no driver of its own says so of itself, and\n\
             # so it is not fetched again.\n\
             iseq ${{platform}} pcbios || goto start\n\
             iseq ${{netX/chip}} undionly && goto start ||\n\
             chain {} ||\n",
            url::over_tftp(lab, "undionly.kpxe"),
        );
    }
    out.push_str(":start\nimgfree\n");
    let profile = node.and_then(|node| Some((node, node.boots()?)));
    if let Some((node, profile)) = profile {
        _ = write!(
            out,
            "echo {}: {profile}\n\
             prompt --key m --timeout {KEY_MILLISECONDS} Press m for the menu && goto menu ||\n\
             goto profile-{profile}\n",
            node.name,
        );
    }
    let entries = entries(lab, node);
    menu(&mut out, &entries, node);
    for one in &entries {
        entry(&mut out, one);
    }
    out.push_str(
        "\n:failed\n\
         echo That could not be booted. Trying again in 10 seconds.\n\
         sleep 10\n\
         goto start\n",
    );
    out
}

fn menu(out: &mut String, entries: &[Entry<'_>], node: Option<&Node>) {
    let who = node.map_or("${netX/mac}", |node| &node.name);
    _ = write!(out, "\n:menu\nmenu Pilotlight: {who}\nitem disk Boot from the disk of this machine\n");
    for Entry { name, title, profile, .. } in
        entries.iter().filter(|entry| entry.profile.kind != ProfileKind::LocalDisk)
    {
        // A machine sees what its processor can start: all but arm64 are x86.
        _ = match profile.architecture() {
            Some(Architecture::Amd64) => {
                writeln!(out, "iseq ${{buildarch}} arm64 || item profile-{name} {title}")
            }
            Some(Architecture::Arm64) => {
                writeln!(out, "iseq ${{buildarch}} arm64 && item profile-{name} {title} ||")
            }
            None => writeln!(out, "item profile-{name} {title}"),
        };
    }
    out.push_str("item shell iPXE shell\n");
    _ = writeln!(
        out,
        "choose --default disk --timeout {MENU_MILLISECONDS} chosen && goto ${{chosen}} || goto disk"
    );
    // A BIOS starts its first disk here and now, whatever comes next in its boot order. UEFI has no such call:
    // there an error makes the firmware go on to the next entry, and success would stop at its setup menu.
    out.push_str(
        "\n:disk\n\
         iseq ${platform} efi && goto firmware ||\n\
         sanboot --no-describe --drive 0x80 ||\n\
         :firmware\n\
         exit 1\n\
         \n:shell\n\
         shell\n\
         goto menu\n",
    );
}

fn entry(out: &mut String, entry: &Entry<'_>) {
    _ = write!(out, "\n:profile-{}\n", entry.name);
    let kernel = match &entry.start {
        Start::Disk => return out.push_str("goto disk\n"),
        Start::Missing(what) => {
            _ = write!(out, "echo {what}\ngoto failed\n");
            return;
        }
        Start::Kernel(kernel) => kernel,
    };
    let names: Vec<_> = (0..kernel.initrd.len()).map(initrd_name).collect();
    // A BIOS finds the initrds in memory. The kernel's UEFI stub looks for them by their names on its command line.
    let arguments: String = names.iter().map(|name| format!(" initrd={name}")).collect::<String>()
        + &kernel.arguments.iter().map(|argument| format!(" {argument}")).collect::<String>();
    _ = writeln!(out, "kernel --name linux {}{arguments} || goto failed", kernel.linux);
    for (name, url) in names.iter().zip(&kernel.initrd) {
        _ = writeln!(out, "initrd --name {name} {url} || goto failed");
    }
    out.push_str("boot || goto failed\n");
}

/// What an initrd is called in the loader's memory.
fn initrd_name(index: usize) -> String {
    if index == 0 { "initrd.gz".to_owned() } else { format!("initrd-{}.gz", index + 1) }
}
