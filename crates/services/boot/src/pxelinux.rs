//! Configurations for PXELINUX, and for U-Boot, which reads the same.
//!
//! Both look for `pxelinux.cfg/` and then, in this order: the machine's UUID, `01-` and its hardware address, its
//! IPv4 address in hexadecimal, that one digit shorter each time, and `default`. A node's file is found by the
//! second and by the third; every other machine goes on to the last.
//!
//! U-Boot looks in the folder of its boot file (`pxe get`), and takes every path in it from there. It has a kernel by
//! TFTP alone, and only one of its own architecture is any use to it.

use std::{fmt::Write, net::Ipv4Addr};

use pilotlight_lab::{Architecture, LOCAL_DISK as DISK, Lab, MacAddr, Node, Profile, ProfileKind};

use crate::kernel::{Entry, Start, entries};

/// How long the prompt waits for a hand, in PXELINUX's tenths of a second.
const PROMPT_TENTHS: u32 = 300;
/// Who reads a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Pxelinux,
    UBoot,
}

/// The configuration of this name beneath `pxelinux.cfg/`; none when there is none, and PXELINUX asks for the
/// next.
pub fn pxelinux_config(lab: &Lab, name: &str) -> Option<String> {
    config(lab, name, Reader::Pxelinux)
}

/// The same for U-Boot.
pub fn u_boot_config(lab: &Lab, name: &str) -> Option<String> {
    config(lab, name, Reader::UBoot)
}

fn config(lab: &Lab, name: &str, reader: Reader) -> Option<String> {
    if name == "default" {
        return Some(render(lab, None, reader));
    }
    let node = match name.strip_prefix("01-") {
        // `parse` reads other spellings too; PXELINUX asks in this one alone.
        Some(text) => lab.node_by_mac(text.parse::<MacAddr>().ok().filter(|mac| mac.hyphenated() == text)?),
        None => lab.node_by_address(hexadecimal(name)?),
    };
    node.map(|node| render(lab, Some(node), reader))
}

/// An IPv4 address as eight upper-case hexadecimal digits.
fn hexadecimal(text: &str) -> Option<Ipv4Addr> {
    let fits = text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    u32::from_str_radix(text, 16).ok().filter(|_| fits).map(Ipv4Addr::from_bits)
}

impl Reader {
    /// Whether it can start this.
    fn starts(self, profile: &Profile) -> bool {
        let own = match self {
            Self::Pxelinux => Architecture::Amd64,
            // Of those that are served.
            Self::UBoot => Architecture::Arm64,
        };
        profile.architecture().is_none_or(|architecture| architecture == own)
    }

    /// Where it finds what is at `url`.
    fn place(self, lab: &Lab, url: &str) -> String {
        let site = format!("http://{}/", lab.network.address);
        match self {
            Self::Pxelinux => url.to_owned(),
            Self::UBoot => url.strip_prefix(&site).unwrap_or(url).to_owned(),
        }
    }
}

/// The built-in prompt serves as the menu: a menu module would be three more files from a slow TFTP.
fn render(lab: &Lab, node: Option<&Node>, reader: Reader) -> String {
    let mut out = String::new();
    let entries: Vec<_> =
        entries(lab, node).into_iter().filter(|entry| reader.starts(entry.profile)).collect();
    let profile = node.and_then(|node| Some((node, node.boots()?)));
    let profile = profile.filter(|(_, profile)| entries.iter().any(|entry| entry.name == *profile));
    match (profile, node) {
        (Some((node, profile)), _) => {
            // With PROMPT 0 a held Shift or Alt key still shows the prompt.
            _ = writeln!(out, "# {}, {}\nDEFAULT {profile}\nPROMPT 0", node.name, node.mac);
        }
        (None, node) => {
            let who = node.map_or("a machine without a name", |node| &node.name);
            _ = writeln!(out, "# {who}\nDEFAULT {DISK}\nPROMPT 1\nTIMEOUT {PROMPT_TENTHS}");
            _ = writeln!(
                out,
                "SAY Pilotlight: type a name and press Enter. In {} seconds: {DISK}.",
                PROMPT_TENTHS / 10
            );
            _ = writeln!(out, "SAY   {DISK} - Boot from the disk of this machine");
            for Entry { name, title, profile, .. } in &entries {
                if profile.kind != ProfileKind::LocalDisk {
                    _ = writeln!(out, "SAY   {name} - {title}");
                }
            }
        }
    }
    _ = write!(out, "\nLABEL {DISK}\n  LOCALBOOT 0\n");
    for Entry { name, start, .. } in entries.iter().filter(|entry| entry.name != DISK) {
        _ = write!(out, "\nLABEL {name}\n");
        match start {
            Start::Kernel(kernel) => {
                let initrd: Vec<_> = kernel.initrd.iter().map(|url| reader.place(lab, url)).collect();
                _ = writeln!(out, "  KERNEL {}", reader.place(lab, &kernel.linux));
                if !initrd.is_empty() {
                    _ = writeln!(out, "  INITRD {}", initrd.join(","));
                }
                // PXELINUX reads "APPEND -" as nothing at all.
                let arguments = kernel.arguments.join(" ");
                _ = writeln!(out, "  APPEND {}", if arguments.is_empty() { "-" } else { &arguments });
            }
            // A label without a kernel says so and asks again.
            Start::Missing(what) => _ = writeln!(out, "  # {what}"),
            Start::Disk => out.push_str("  LOCALBOOT 0\n"),
        }
    }
    out
}
