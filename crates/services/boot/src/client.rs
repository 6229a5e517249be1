//! The boot loader that a machine's firmware is told to fetch.

use std::net::Ipv4Addr;

use pilotlight_lab::{Lab, Loader, MacAddr};

use crate::url;

/// What a machine's firmware says about itself when it asks for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The hardware address that it boots from.
    pub mac: MacAddr,
    /// What its firmware runs.
    pub architecture: Architecture,
    /// Whether iPXE is asking: option 77 holds `iPXE`, as raw bytes or in the form of RFC 3004.
    pub ipxe: bool,
    /// The machine's UUID: option 97 without its leading type byte (RFC 4578 § 2.3).
    pub uuid: Option<[u8; 16]>,
    /// Whether the firmware fetches its loader over HTTP: option 60 begins with `HTTPClient`.
    pub http_boot: bool,
}

/// What a firmware runs, as option 93 says (RFC 4578 § 2.1 and IANA's "Processor Architecture Types").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// A PC with a BIOS.
    Bios,
    /// UEFI on 32-bit x86.
    UefiIa32,
    /// UEFI on 64-bit x86.
    UefiX64,
    /// UEFI on 32-bit Arm.
    UefiArm32,
    /// UEFI on 64-bit Arm.
    UefiArm64,
    /// Anything else, by its number.
    Other(u16),
}

/// Where a firmware finds its loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile {
    /// The server that has it: `siaddr`, and what options 66 and 54 say.
    pub server: Ipv4Addr,
    /// A file name for TFTP, or a whole `http://` URL; at most 127 bytes, so it fits the `file` field.
    pub file: String,
}

impl Architecture {
    /// Reads the number in option 93.
    ///
    /// 7 was meant for EFI byte code and 9 for 64-bit x86 (RFC 4578, erratum 1625), but firmware of that
    /// processor sends either. 15 to 19 are the same processors when they boot over HTTP.
    pub fn from_option_93(number: u16) -> Self {
        match number {
            0 => Self::Bios,
            6 | 15 => Self::UefiIa32,
            7 | 9 | 16 => Self::UefiX64,
            10 | 18 => Self::UefiArm32,
            11 | 19 => Self::UefiArm64,
            other => Self::Other(other),
        }
    }
}

/// The loader for this machine; none when there is none for its architecture.
///
/// An iPXE goes straight to its script. A BIOS machine that is to have PXELINUX gets it whatever the firmware
/// is, because PXELINUX does not ask for an address again and so cannot come around in a circle.
pub fn boot_file(lab: &Lab, client: &Client) -> Option<BootFile> {
    let server = lab.network.address;
    let wants_pxelinux = lab.node_by_mac(client.mac).is_some_and(|node| node.loader == Loader::Pxelinux);
    let file = match client.architecture {
        // Both read their files over HTTP: pxelinux.0 only through an iPXE below it, lpxelinux.0 with a TCP of
        // its own on top of any firmware's UNDI driver.
        Architecture::Bios if wants_pxelinux && client.ipxe => "pxelinux.0".to_owned(),
        Architecture::Bios if wants_pxelinux => "lpxelinux.0".to_owned(),
        _ if client.ipxe => url::boot_script(lab),
        Architecture::Bios => "undionly.kpxe".to_owned(),
        Architecture::UefiX64 if client.http_boot => url::asset(lab, "ipxe.efi"),
        Architecture::UefiX64 => "ipxe.efi".to_owned(),
        _ => return None,
    };
    Some(BootFile { server, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> Lab {
        let text = r#"
            network = { address = "10.77.0.1/24" }
            [[nodes]]
            name = "px"
            mac = "52:54:00:00:00:01"
            address = "10.77.0.11"
            loader = "pxelinux"
        "#;
        pilotlight_lab::parse(text).expect("a valid lab")
    }

    fn check(option_93: u16, ipxe: bool, http_boot: bool, node: bool) -> Option<String> {
        let mac = MacAddr([0x52, 0x54, 0, 0, 0, if node { 1 } else { 2 }]);
        let architecture = Architecture::from_option_93(option_93);
        let file = boot_file(&lab(), &Client { mac, architecture, ipxe, uuid: None, http_boot })?;
        assert_eq!(file.server, Ipv4Addr::new(10, 77, 0, 1));
        assert!(file.file.len() < 128, "it fits the file field");
        Some(file.file)
    }

    #[test]
    fn every_firmware_gets_the_loader_it_can_run() {
        let script = Some("http://10.77.0.1/boot.ipxe");
        for (option_93, ipxe, http_boot, pxelinux_node, expect) in [
            (0, false, false, false, Some("undionly.kpxe")),
            (0, true, false, false, script),
            (0, false, false, true, Some("lpxelinux.0")),
            (0, true, false, true, Some("pxelinux.0")),
            (7, false, false, false, Some("ipxe.efi")),
            (9, false, false, false, Some("ipxe.efi")),
            (7, false, false, true, Some("ipxe.efi")),
            (7, true, false, true, script),
            (16, false, true, false, Some("http://10.77.0.1/assets/ipxe.efi")),
            (16, true, true, false, script),
            (6, false, false, false, None),
            (10, false, false, false, None),
            (11, false, false, false, None),
            (11, true, false, false, script),
            (19, false, true, false, None),
            (41, false, false, false, None),
            (0xffff, false, false, false, None),
        ] {
            let file = check(option_93, ipxe, http_boot, pxelinux_node);
            assert_eq!(file.as_deref(), expect, "{option_93} {ipxe} {http_boot} {pxelinux_node}");
        }
    }
}
