//! Configurations for PXELINUX.
//!
//! It looks for `pxelinux.cfg/` and then, in this order: the machine's UUID, `01-` and its hardware address, its
//! IPv4 address in hexadecimal, that one digit shorter each time, and `default`. A node's file is found by the
//! second and by the third; every other machine goes on to the last.

use std::{fmt::Write, net::Ipv4Addr};

use pilotlight_lab::{Lab, MacAddr, Node, ProfileKind};

use crate::kernel::kernel;

/// How long the prompt waits for a hand, in PXELINUX's tenths of a second.
const PROMPT_TENTHS: u32 = 300;
/// The entry for the machine's own disk, which the lab's profile of this name cannot be anything but.
const DISK: &str = "local-disk";

/// The configuration of this name beneath `pxelinux.cfg/`; none when there is none, and PXELINUX asks for the
/// next.
pub fn pxelinux_config(lab: &Lab, name: &str) -> Option<String> {
    if name == "default" {
        return Some(render(lab, None));
    }
    let node = match name.strip_prefix("01-") {
        // `parse` reads other spellings too; PXELINUX asks in this one alone.
        Some(text) => lab.node_by_mac(text.parse::<MacAddr>().ok().filter(|mac| mac.hyphenated() == text)?),
        None => lab.node_by_address(hexadecimal(name)?),
    };
    node.map(|node| render(lab, Some(node)))
}

/// An IPv4 address as eight upper-case hexadecimal digits.
fn hexadecimal(text: &str) -> Option<Ipv4Addr> {
    let fits = text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    u32::from_str_radix(text, 16).ok().filter(|_| fits).map(Ipv4Addr::from_bits)
}

/// The built-in prompt serves as the menu: a menu module would be three more files from a slow TFTP.
fn render(lab: &Lab, node: Option<&Node>) -> String {
    let mut out = String::new();
    let profile = node.and_then(|node| Some((node, node.profile.as_deref()?)));
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
            for (name, profile) in &lab.profiles {
                if profile.kind != ProfileKind::LocalDisk {
                    _ = writeln!(out, "SAY   {name} - {}", profile.title);
                }
            }
        }
    }
    _ = write!(out, "\nLABEL {DISK}\n  LOCALBOOT 0\n");
    for (name, profile) in lab.profiles.iter().filter(|(name, _)| *name != DISK) {
        _ = write!(out, "\nLABEL {name}\n");
        match kernel(lab, name, profile, node) {
            Some(kernel) => {
                _ = writeln!(out, "  KERNEL {}\n  INITRD {}", kernel.linux, kernel.initrd);
                // PXELINUX reads "APPEND -" as nothing at all.
                let arguments = kernel.arguments.join(" ");
                _ = writeln!(out, "  APPEND {}", if arguments.is_empty() { "-" } else { &arguments });
            }
            None => out.push_str("  LOCALBOOT 0\n"),
        }
    }
    out
}
