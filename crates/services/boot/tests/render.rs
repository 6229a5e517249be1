//! Everything that a machine is given, as it is sent.

use pilotlight_boot::{
    autoexec_ipxe, boot_ipxe, describe, grub_config, ipxe_script, preseed, pxelinux_config, u_boot_config,
};
use pilotlight_lab::{Architecture, Lab, MacAddr, System, parse};

const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
pool = { first = "10.77.0.100", last = "10.77.0.199" }

[[nodes]]
name = "asks"
mac = "52:54:00:00:00:01"
address = "10.77.0.11"
profile = "debian-installer"

[[nodes]]
name = "installs"
mac = "52:54:00:00:00:02"
address = "10.77.0.12"
profile = "serial"
loader = "pxelinux"
install-to = "/dev/disk/by-id/ata-Disk_1"

[[nodes]]
name = "disk"
mac = "52:54:00:00:00:03"
address = "10.77.0.13"
profile = "local-disk"
install-to = "/dev/sda"

[[nodes]]
name = "menu"
mac = "52:54:00:00:00:04"
address = "10.77.0.14"

[[nodes]]
name = "old"
mac = "52:54:00:00:00:05"
address = "10.77.0.15"
profile = "local-disk"
loader = "undionly"

[profiles.serial]
kind = "debian-installer"
title = "Debian 13 over serial"
arguments = ["console=ttyS0,115200"]
mirror = "http://10.77.0.9:3142/debian"
authorized-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA0000000000000000000000000000000000000000000 me@desk"]
"#;

const DEFAULT: &str = include_str!("../../../../image-overlay/usr/share/pilotlight/lab.toml");

fn lab(text: &str) -> Lab {
    parse(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn script(text: &str, mac: Option<&str>) -> String {
    ipxe_script(&lab(text), mac.map(|mac| mac.parse::<MacAddr>().expect("a MAC")))
}

fn answers(node: &str) -> Option<String> {
    let lab = lab(LAB);
    preseed(&lab, lab.node_by_name(node).expect("a node"))
}

#[test]
fn ipxe() {
    insta::assert_snapshot!("boot_ipxe", boot_ipxe(&lab(LAB)));
    insta::assert_snapshot!("autoexec_ipxe", autoexec_ipxe(&lab(LAB)));
    insta::assert_snapshot!("ipxe_of_an_unknown_machine", script(DEFAULT, Some("52:54:00:00:00:99")));
    insta::assert_snapshot!("ipxe_of_nobody", script(DEFAULT, None));
    insta::assert_snapshot!("ipxe_of_a_node_that_asks", script(LAB, Some("52:54:00:00:00:01")));
    insta::assert_snapshot!("ipxe_of_a_node_that_installs", script(LAB, Some("52:54:00:00:00:02")));
    insta::assert_snapshot!("ipxe_of_a_node_on_its_disk", script(LAB, Some("52:54:00:00:00:03")));
    insta::assert_snapshot!("ipxe_of_a_node_with_a_menu", script(LAB, Some("52:54:00:00:00:04")));
    insta::assert_snapshot!("ipxe_of_a_node_with_another_driver", script(LAB, Some("52:54:00:00:00:05")));
}

/// The two ask with the same words: by its driver alone does undionly.kpxe know that it need not be fetched again.
#[test]
fn an_ipxe_is_replaced_once() {
    let replaced = script(LAB, Some("52:54:00:00:00:05"));
    let (before, _) = replaced.split_once("\n:start\n").expect("where it goes on");
    let steps: Vec<&str> = before.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        steps,
        [
            "iseq ${platform} pcbios || goto start",
            "iseq ${netX/chip} undionly && goto start ||",
            "chain tftp://10.77.0.1/undionly.kpxe ||",
        ]
    );
    for other in ["01", "02", "03", "04", "99"] {
        assert!(!script(LAB, Some(&format!("52:54:00:00:00:{other}"))).contains("undionly"));
    }
}

/// On a wire without a way out, the installer must be told before it can be told anything else.
#[test]
fn a_missing_router_and_its_consequence_are_no_questions() {
    let connected = LAB.replace("[network]\n", "[network]\nrouter = \"10.77.0.254\"\n");
    let node = Some("52:54:00:00:00:01");
    for argument in [" netcfg/no_default_route=true ", " netcfg/get_nameservers=10.77.0.1 "] {
        assert!(script(LAB, node).contains(argument), "{argument}");
        assert!(!script(&connected, node).contains(argument), "{argument}");
    }
}

#[test]
fn pxelinux() {
    let config = |name| pxelinux_config(&lab(LAB), name).expect("a configuration");
    insta::assert_snapshot!("pxelinux_default", config("default"));
    insta::assert_snapshot!("pxelinux_of_a_node_that_installs", config("01-52-54-00-00-00-02"));
    insta::assert_snapshot!("pxelinux_of_a_node_on_its_disk", config("01-52-54-00-00-00-03"));
    insta::assert_snapshot!("pxelinux_of_a_node_with_a_menu", config("01-52-54-00-00-00-04"));
    // 0A4D000C is 10.77.0.12.
    assert_eq!(config("0A4D000C"), config("01-52-54-00-00-00-02"));
}

/// Of the lab's profiles only those for its own architecture, by paths that go on from its folder.
#[test]
fn u_boot() {
    let lab = lab(&format!("{LAB}\n[profiles.arm]\nkind = \"debian-installer\"\narchitecture = \"arm64\"\n")
        .replace("profile = \"debian-installer\"", "profile = \"arm\""));
    let config = |name| u_boot_config(&lab, name).expect("a configuration");
    insta::assert_snapshot!("u_boot_default", config("default"));
    insta::assert_snapshot!("u_boot_of_a_node_that_asks", config("01-52-54-00-00-00-01"));
    // What it is to boot is for another architecture: it is asked, and its own disk comes next.
    let other = config("01-52-54-00-00-00-02");
    assert!(other.contains("DEFAULT local-disk\nPROMPT 1\n") && !other.contains("amd64"), "{other}");
}

/// What PXELINUX asks for on its way to the name that is there.
#[test]
fn other_names_have_no_configuration() {
    let lab = lab(LAB);
    for name in [
        "",
        "01-",
        "01-52-54-00-00-00-99",
        "01-52:54:00:00:00:02",
        "01-52540000000002",
        "01-525400000002",
        "20-52-54-00-00-00-02",
        "52-54-00-00-00-02",
        "564d0a4d-0000-0000-0000-525400000002",
        "0a4d000c",
        "+A4D000C",
        "0A4D000",
        "0A4D",
        "0",
        "0A4D00FE",
        "0A4D000C0",
        "DEFAULT",
        "default/",
        "../default",
        "é",
    ] {
        assert_eq!(pxelinux_config(&lab, name), None, "{name:?}");
    }
}

#[test]
fn grub() {
    let config = |name| grub_config(&lab(LAB), name).expect("a configuration");
    insta::assert_snapshot!("grub_of_any_machine", config("grub/grub.cfg"));
    insta::assert_snapshot!("grub_of_a_node_that_installs", config("grub/grub.cfg-01-52-54-00-00-00-02"));
    insta::assert_snapshot!("grub_of_a_node_on_its_disk", config("grub/grub.cfg-01-52-54-00-00-00-03"));
    insta::assert_snapshot!("grub_of_a_node_with_a_menu", config("grub/grub.cfg-01-52-54-00-00-00-04"));
    // 0A4D000C is 10.77.0.12.
    for name in ["grub.cfg-0A4D000C", "boot/grub/grub.cfg-0A4D000C", "grub/grub.cfg-01-52:54:00:00:00:02"] {
        assert_eq!(config(name), config("grub/grub.cfg-01-52-54-00-00-00-02"), "{name}");
    }
}

/// What GRUB asks for on its way, and what nobody asks for.
#[test]
fn grub_looks_further_for_other_names() {
    let lab = lab(LAB);
    for name in [
        "",
        "grub/",
        "grub/x86_64-efi/command.lst",
        "grub/x86_64-efi/grub.cfg",
        "grub/fonts/unicode.pf2",
        "grub/grub.cfg-564d0a4d-0000-0000-0000-525400000002",
        "grub/grub.cfg-01-52-54-00-00-00-99",
        "grub/grub.cfg-01-525400000002",
        "grub/grub.cfg-01-52-54-00-00-00-02/",
        "grub/grub.cfg-52-54-00-00-00-02",
        "grub/grub.cfg-0a4d000c",
        "grub/grub.cfg-0A4D000",
        "grub/grub.cfg-",
        "grub/grub.cfg01-52-54-00-00-00-02",
        "grub/../grub.cfg",
        "other/grub.cfg",
        "/grub/grub.cfg",
        "pxelinux.cfg/grub.cfg",
        "grub/grub/grub.cfg",
    ] {
        assert_eq!(grub_config(&lab, name), None, "{name:?}");
    }
}

#[test]
fn preseeds() {
    insta::assert_snapshot!("preseed_of_a_node_that_asks", answers("asks").expect("a preseed"));
    insta::assert_snapshot!("preseed_of_a_node_that_installs", answers("installs").expect("a preseed"));
    assert_eq!(answers("disk"), None, "its profile installs nothing, whatever `install-to` says");
    assert_eq!(answers("menu"), None);
}

/// Rule 8 of ARCHITECTURE.md: nothing writes to a node's disk unless its profile says so by name.
#[test]
fn no_disk_is_written_to_unasked() {
    let asks = answers("asks").expect("a preseed");
    for word in ["partman", "grub-installer", "/dev/"] {
        assert!(!asks.contains(word), "{word} is not answered");
    }
    let installs = answers("installs").expect("a preseed");
    let disks = installs.matches("/dev/").count();
    assert_eq!(installs.matches("/dev/disk/by-id/ata-Disk_1").count(), disks, "no other disk is named");

    // A machine without a profile is never given answers, and what starts by itself is its own disk.
    for mac in ["52:54:00:00:00:99", "52:54:00:00:00:04"] {
        let script = script(LAB, Some(mac));
        assert!(!script.contains("preseed") && !script.contains("auto=true"), "{script}");
        assert!(script.contains("choose --default disk "), "{script}");
        let first = script.find("\ngoto ").or_else(|| script.find("choose")).expect("a first step");
        assert!(first > script.find(":menu").expect("a menu"), "the menu comes first:\n{script}");
    }
    for name in ["default", "01-52-54-00-00-00-04"] {
        let config = pxelinux_config(&lab(LAB), name).expect("a configuration");
        assert!(config.contains("DEFAULT local-disk\nPROMPT 1\nTIMEOUT "), "{config}");
        assert!(config.contains("LABEL local-disk\n  LOCALBOOT 0\n"), "{config}");
        assert!(!config.contains("preseed"), "{config}");
    }
    for name in ["grub.cfg", "grub.cfg-01-52-54-00-00-00-04"] {
        let config = grub_config(&lab(LAB), name).expect("a configuration");
        assert!(config.contains("set default=local-disk\n"), "{config}");
        assert!(!config.contains("preseed") && !config.contains("timeout_style=hidden"), "{config}");
    }
    // Nor does another profile's entry bring the answers of the node's own.
    let script = script(LAB, Some("52:54:00:00:00:02"));
    let (before, after) = script.split_once(":profile-serial").expect("its own entry");
    assert!(!before.contains("preseed.cfg") && after.contains("preseed.cfg"), "{script}");
}

/// Every kind of system that there is, each on a node of its own.
const SYSTEMS: &str = r#"
[network]
address = "10.77.0.1/24"
[profiles]
flatcar = { kind = "flatcar", arguments = ["console=ttyS0"] }
held = { kind = "flatcar", versions = { stable = "3975.2.0" } }
fcos = { kind = "fedora-coreos" }
talos = { kind = "talos" }
ram = { kind = "debian-ram" }
live = { kind = "debian-live", linux = "files/linux", initrd = ["files/initrd"], root = "files/fs.squashfs" }
custom = { kind = "custom", linux = "files/bzImage", initrd = ["files/a", "files/b"] }
[configs.fire]
kind = "ignition"
template = ""
[groups]
none = {}
[[nodes]]
name = "ram"
mac = "52:54:00:00:00:01"
address = "10.77.0.11"
profile = "ram"
[[nodes]]
name = "fire"
mac = "52:54:00:00:00:02"
address = "10.77.0.12"
profile = "ram"
config = "fire"
channel = "testing"
[[nodes]]
name = "talos"
mac = "52:54:00:00:00:03"
address = "10.77.0.13"
profile = "talos"
[[nodes]]
name = "fcos"
mac = "52:54:00:00:00:04"
address = "10.77.0.14"
profile = "fcos"
channel = "next"
[[nodes]]
name = "flatcar"
mac = "52:54:00:00:00:05"
address = "10.77.0.15"
profile = "flatcar"
channel = "beta"
"#;

/// The lab of every kind, on a Pi that has a version of each channel that its nodes follow, but for the one that is
/// held and for Flatcar's stable.
fn systems() -> Lab {
    let mut lab = lab(SYSTEMS);
    let amd64 = Architecture::Amd64;
    for (system, channel, version) in [
        (System::Flatcar, "beta", "4372.1.0"),
        (System::FedoraCoreos, "next", "43.20251024.1.0"),
        (System::Talos, "v1.11", "v1.11.3"),
        (System::DebianRam, "stable", "13-0123abcd"),
        (System::DebianRam, "testing", "14-4567cdef"),
    ] {
        lab.versions.channels.insert((system, amd64, channel.to_owned()), version.to_owned());
        let digests = [(system.files().root.unwrap_or("linux").to_owned(), "a".repeat(64))];
        lab.versions.files.insert((system, amd64, version.to_owned()), digests.into());
    }
    lab
}

#[test]
fn systems_in_ipxe() {
    let lab = systems();
    for node in &lab.nodes {
        insta::assert_snapshot!(
            format!("ipxe_of_the_system_{}", node.name),
            ipxe_script(&lab, Some(node.mac))
        );
    }
}

#[test]
fn systems_elsewhere() {
    let lab = systems();
    insta::assert_snapshot!(pxelinux_config(&lab, "01-52-54-00-00-00-02").expect("the node is in the lab"));
    insta::assert_snapshot!(
        grub_config(&lab, "grub.cfg-01-52-54-00-00-00-01").expect("the node is in the lab")
    );
}

/// What a node runs at its start is named on the kernel's command line, in the own profile of that node alone.
#[test]
fn a_nodes_scripts_are_named() {
    let mut lab = systems();
    let node = lab.nodes.iter_mut().find(|node| node.profile.as_deref() == Some("ram")).unwrap();
    node.disks.state = Some("S1".to_owned());
    let node = node.clone();
    let named = format!("pilotlight.disks=http://10.77.0.1/node/{}/disks", node.mac.hyphenated());
    assert!(ipxe_script(&lab, Some(node.mac)).contains(&named));
    for other in lab.nodes.iter().filter(|other| other.name != node.name) {
        assert!(!ipxe_script(&lab, Some(other.mac)).contains("pilotlight.disks"), "{}", other.name);
    }
}

/// A version that the Pi no longer has is never started, whatever a channel says.
#[test]
fn what_is_not_there_is_not_started() {
    let mut lab = systems();
    lab.versions.files.clear();
    for node in lab.nodes.clone() {
        let script = ipxe_script(&lab, Some(node.mac));
        let own = script.split_once(&format!("\n:profile-{}\n", node.profile.unwrap())).unwrap().1;
        let own = own.split("\n\n").next().unwrap();
        assert!(own.starts_with("echo ") && own.ends_with("goto failed"), "{own}");
    }
}

#[test]
fn a_node_of_the_origins_lab_in_full() {
    let lab = lab(include_str!("../../../lab/examples/origin.toml"));
    insta::assert_snapshot!(describe(&lab, lab.node_by_name("node7").expect("it is there")));
}

#[test]
fn a_node_that_installs_in_full() {
    let lab = lab(LAB);
    insta::assert_snapshot!(describe(&lab, lab.node_by_name("installs").expect("it is there")));
}
