//! Configurations for GRUB.
//!
//! A GRUB that looks by itself asks below its prefix for `grub.cfg-` and then, in this order: the machine's UUID, `01-`
//! and its hardware address, its IPv4 address in hexadecimal, that one digit shorter each time; and at last for
//! `grub.cfg`. A node's file is found by the second and by the third. Debian's signed GRUB asks for `grub.cfg` alone: so
//! that file looks for the node's.

use std::{fmt::Write, net::Ipv4Addr};

use pilotlight_lab::{LOCAL_DISK as DISK, Lab, MacAddr, Node};

use crate::kernel::{Entry, Start, entries};

/// The folders that GRUBs are built to look in: `/grub` is that of Debian's signed one and of most others.
const PREFIXES: [&str; 3] = ["", "grub/", "boot/grub/"];
/// How long the menu waits for a hand before the machine boots from its own disk.
const MENU_SECONDS: u32 = 30;
/// How long a node that knows what to boot can be stopped.
const KEY_SECONDS: u32 = 2;
const DISK_TITLE: &str = "Boot from the disk of this machine";
/// The loaders that are looked for on the machine's disks: Debian's own, and what others leave for a firmware that has
/// forgotten them.
const DISK_LOADERS: [&str; 4] = [
    "/EFI/debian/shimx64.efi",
    "/EFI/debian/shimaa64.efi",
    "/EFI/BOOT/BOOTX64.EFI",
    "/EFI/BOOT/BOOTAA64.EFI",
];

/// The configuration of this name, as GRUB asks for it; none when there is none, and GRUB asks for the next.
pub fn grub_config(lab: &Lab, name: &str) -> Option<String> {
    let name = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)?.strip_prefix("grub.cfg"))?;
    if name.is_empty() {
        return Some(anyone(lab));
    }
    let name = name.strip_prefix('-')?;
    let node = match name.strip_prefix("01-") {
        // `parse` reads other spellings too. GRUB asks with hyphens; its own variable, by which the file for anyone
        // asks, has colons.
        Some(text) => {
            let exact = |mac: &MacAddr| mac.hyphenated() == text || mac.to_string() == text;
            lab.node_by_mac(text.parse::<MacAddr>().ok().filter(exact)?)
        }
        None => lab.node_by_address(hexadecimal(name)?),
    };
    node.map(|node| menu(lab, Some(node)))
}

/// An IPv4 address as eight upper-case hexadecimal digits.
fn hexadecimal(text: &str) -> Option<Ipv4Addr> {
    let fits = text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    u32::from_str_radix(text, 16).ok().filter(|_| fits).map(Ipv4Addr::from_bits)
}

/// The file for any machine: a node's own where there is one, or the menu.
fn anyone(lab: &Lab) -> String {
    let mut out = String::from(
        "set own=\"$prefix/grub.cfg-01-$net_default_mac\"\n\
         if [ -n \"$net_default_mac\" -a -s \"$own\" ]; then\n\
         \x20 source \"$own\"\n\
         else\n",
    );
    for line in menu(lab, None).lines() {
        _ = if line.is_empty() { writeln!(out) } else { writeln!(out, "  {line}") };
    }
    out.push_str("fi\n");
    out
}

/// Nothing here needs quoting: a checked lab has no character that means something to GRUB, but for the blanks and
/// brackets of titles, which stand between quotes.
fn menu(lab: &Lab, node: Option<&Node>) -> String {
    let mut out = String::new();
    match node.and_then(|node| Some((node, node.boots()?))) {
        Some((node, profile)) => {
            // Escape shows the menu.
            _ = write!(
                out,
                "# {}, {}\nset default={profile}\nset timeout_style=hidden\nset timeout={KEY_SECONDS}\n",
                node.name, node.mac
            );
        }
        None => {
            let who = node.map_or("a machine without a name", |node| &node.name);
            _ = write!(out, "# {who}\nset default={DISK}\nset timeout={MENU_SECONDS}\n");
        }
    }
    disk(&mut out, DISK, DISK_TITLE);
    for Entry { name, title, start, .. } in entries(lab, node).iter().filter(|entry| entry.name != DISK) {
        let kernel = match start {
            Start::Kernel(kernel) => kernel,
            Start::Disk => {
                disk(&mut out, name, title);
                continue;
            }
            Start::Missing(what) => {
                _ = write!(
                    out,
                    "\nmenuentry '{title}' --id {name} {{\n\x20 echo '{what}'\n\x20 sleep 10\n}}\n"
                );
                continue;
            }
        };
        // A semicolon ends a command of GRUB's.
        let arguments: String =
            kernel.arguments.iter().map(|argument| format!(" {}", argument.replace(';', "\\;"))).collect();
        let initrd: String = kernel.initrd.iter().map(|url| format!(" {}", on_device(url))).collect();
        let initrd = if initrd.is_empty() { String::new() } else { format!("\x20 initrd{initrd}\n") };
        _ = write!(
            out,
            "\nmenuentry '{title}' --id {name} {{\n\x20 linux {}{arguments}\n{initrd}}}\n",
            on_device(&kernel.linux),
        );
    }
    out
}

/// The entry for the machine's own disk. `exit` goes back to the firmware, which may go on with the next entry of its
/// boot order or stop at its setup: so what is on the disks is looked for first.
fn disk(out: &mut String, name: &str, title: &str) {
    _ = write!(
        out,
        "\nmenuentry '{title}' --id {name} {{\n\
         \x20 for loader in {}; do\n\
         \x20   if search --no-floppy --file --set=disk $loader; then\n\
         \x20     chainloader ($disk)$loader\n\
         \x20     boot\n\
         \x20   fi\n\
         \x20 done\n\
         \x20 exit 1\n\
         }}\n",
        DISK_LOADERS.join(" "),
    );
}

/// A URL as GRUB writes it: `(http,10.77.0.1)/path`.
fn on_device(url: &str) -> String {
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap_or(("", url));
    format!("(http,{host})/{path}")
}
