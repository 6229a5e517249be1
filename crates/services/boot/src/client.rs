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
    /// UEFI on 64-bit Arm, or U-Boot in the place of one.
    UefiArm64,
    /// U-Boot on 64-bit Arm, speaking for itself.
    UBootArm64,
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
    /// processor sends either. 15, 16, 18 and 19 are the same processors when they boot over HTTP.
    pub fn from_option_93(number: u16) -> Self {
        match number {
            0 => Self::Bios,
            6 | 15 => Self::UefiIa32,
            7 | 9 | 16 => Self::UefiX64,
            10 | 18 => Self::UefiArm32,
            11 | 19 => Self::UefiArm64,
            22 => Self::UBootArm64,
            other => Self::Other(other),
        }
    }
}

/// Where U-Boot is told that its files are. It looks for PXELINUX's configurations too, in the folder of its boot file
/// (`pxe get`), and could do nothing with those that are meant for PCs.
pub const U_BOOT_FOLDER: &str = "u-boot/";

/// The loader for this machine; none when there is none for its architecture.
///
/// An iPXE goes straight to its script. A BIOS machine that is to have PXELINUX gets it whatever the firmware
/// is, because PXELINUX does not ask for an address again and so cannot come around in a circle. What turns an iPXE in
/// the ROM into `undionly.kpxe` is that script: here the two look the same, and one would be given itself for ever.
pub fn boot_file(lab: &Lab, client: &Client) -> Option<BootFile> {
    let server = lab.network.address;
    let wanted = lab.node_by_mac(client.mac).map(|node| node.loader).unwrap_or_default();
    let by_http_or_tftp = |file: &str| if client.http_boot { url::asset(lab, file) } else { file.to_owned() };
    let file = match (client.architecture, wanted) {
        // Both read their files over HTTP: pxelinux.0 only through an iPXE below it, lpxelinux.0 with a TCP of
        // its own on top of any firmware's UNDI driver.
        (Architecture::Bios, Loader::Pxelinux) if client.ipxe => "pxelinux.0".to_owned(),
        (Architecture::Bios, Loader::Pxelinux | Loader::Lpxelinux) => "lpxelinux.0".to_owned(),
        _ if client.ipxe => url::boot_script(lab),
        (Architecture::Bios, _) => "undionly.kpxe".to_owned(),
        // It fetches `grubx64.efi` from where it came itself.
        (Architecture::UefiX64, Loader::Grub) => by_http_or_tftp("shimx64.efi"),
        (Architecture::UefiX64, _) => by_http_or_tftp("ipxe.efi"),
        (Architecture::UefiArm64, _) => by_http_or_tftp("ipxe-arm64.efi"),
        (Architecture::UBootArm64, _) => format!("{U_BOOT_FOLDER}ipxe-arm64.efi"),
        (Architecture::UefiIa32 | Architecture::UefiArm32 | Architecture::Other(_), _) => return None,
    };
    Some(BootFile { server, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "http://10.77.0.1/boot.ipxe";
    /// The highest number that IANA has given out.
    const HIGHEST: u16 = 41;

    fn check(option_93: u16, ipxe: bool, http_boot: bool, loader: &str) -> Option<String> {
        let text = format!(
            r#"
            network = {{ address = "10.77.0.1/24" }}
            [[nodes]]
            name = "node"
            mac = "52:54:00:00:00:01"
            address = "10.77.0.11"
            loader = "{loader}"
            "#
        );
        let lab = pilotlight_lab::parse(&text).expect("a valid lab");
        let mac = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
        let architecture = Architecture::from_option_93(option_93);
        let file = boot_file(&lab, &Client { mac, architecture, ipxe, http_boot })?;
        assert_eq!(file.server, Ipv4Addr::new(10, 77, 0, 1));
        assert!(file.file.len() < 128, "it fits the file field");
        Some(file.file)
    }

    /// Every number that IANA has for option 93, as firmware of that kind asks, and what each loader of a lab makes of
    /// it: `ipxe`, `undionly`, `pxelinux`, `lpxelinux`, `grub`.
    #[test]
    fn every_architecture_of_option_93_has_its_answer() {
        let same = |file| [file; 5];
        let by_http = |name: &str| format!("http://10.77.0.1/assets/{name}");
        let (x64, shim_x64) = (by_http("ipxe.efi"), by_http("shimx64.efi"));
        let arm64 = by_http("ipxe-arm64.efi");
        let grub = |file, shim| [file, file, file, file, shim];
        for number in (0..=HIGHEST + 1).chain([u16::MAX]) {
            let http_boot = matches!(number, 15..=20 | 23 | 24 | 26 | 28 | 30 | 38 | 40);
            let expect: [&str; 5] = match number {
                0 => ["undionly.kpxe", "undionly.kpxe", "lpxelinux.0", "lpxelinux.0", "undionly.kpxe"],
                7 | 9 => grub("ipxe.efi", "shimx64.efi"),
                16 => grub(&x64, &shim_x64),
                11 => same("ipxe-arm64.efi"),
                19 => same(&arm64),
                22 => same("u-boot/ipxe-arm64.efi"),
                // 32-bit UEFI (6, 10, 15, 18), for which Debian has no iPXE; U-Boot on 32-bit Arm (21), and its HTTP
                // boot (23, 24); Itanium, Alpha, PowerPC, RISC-V, s390, MIPS, LoongArch; a Raspberry Pi's boot ROM
                // (41), which is told no file because it knows its own.
                _ => same(""),
            };
            for ((loader, _), expect) in Loader::NAMES.into_iter().zip(expect) {
                let file = check(number, false, http_boot, loader);
                assert_eq!(file.as_deref().unwrap_or_default(), expect, "{number} with {loader}");
            }
        }
    }

    #[test]
    fn an_ipxe_gets_its_script_and_never_itself() {
        for (loader, _) in Loader::NAMES {
            for number in 0..=HIGHEST {
                let expect = match (number, loader) {
                    (0, "pxelinux") => "pxelinux.0",
                    (0, "lpxelinux") => "lpxelinux.0",
                    _ => SCRIPT,
                };
                let file = check(number, true, false, loader);
                assert_eq!(file.as_deref(), Some(expect), "{number} with {loader}");
            }
        }
    }
}
