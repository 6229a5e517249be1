//! What the boot loader does, as the environment that U-Boot reads from `uboot.env` beside it
//! (U-Boot 2025.01, doc/usage/environment.rst; Debian builds it with `ENV_IS_IN_FAT`).
//!
//! ```text
//! settled ──────────────────────────────▶ start the kernel; if that fails: say so, wait, start over
//! armed ── note that it was tried ──────▶ start the kernel; if that fails: go back
//! tried ── it was started, and nobody said that it works: go back
//! ```
//! To go back is to copy the sector behind the partition table over it, and to start over: see `pilotlight_disk::mbr`.

use crc32fast::hash as crc32;
use pilotlight_board::{Addresses, Architecture, Loader};
use pilotlight_disk::{
    layout::FALLBACK_SECTOR,
    mbr::{LEN, SIGNATURE_AT, TRIAL_ARMED, TRIAL_TRIED},
};
use pilotlight_lab::paths::{INITRD_ON_CARD, KERNEL_ON_CARD};

/// `CONFIG_ENV_SIZE` of Debian's builds for the Raspberry Pi: U-Boot takes a file of exactly this length.
const SIZE: usize = 0x4000;
/// Room for the device tree to grow in: the kernel's command line, the initrd's place.
const DEVICE_TREE_ROOM: u32 = 0x4_0000;
/// Seconds between two tries of a system that cannot be loaded and has no other one to go back to.
const PAUSE: u32 = 30;

/// The environment, ready to be a file.
pub(crate) fn environment(loader: &Loader, architecture: Architecture) -> Vec<u8> {
    let addresses = loader.addresses;
    let mut variables = vec![
        // Nothing on the serial line or a keyboard stops it: noise on an open line looks like a key.
        ("bootdelay", "-2".to_owned()),
        // The default looks for USB disks first, for many seconds.
        ("preboot", String::new()),
        ("bootcmd", format!("run look; run load; {}", failed())),
        ("look", look(addresses)),
        ("load", load(loader, architecture)),
        ("go_back", go_back(addresses)),
    ];
    if architecture == Architecture::Armhf {
        // Both stay where they were loaded: U-Boot would move them to the memory's end, which a 32-bit kernel does not
        // see yet when it looks at them.
        variables.extend(["initrd_high", "fdt_high"].map(|name| (name, "ffffffff".to_owned())));
    }
    variables.sort();
    let mut data = Vec::with_capacity(SIZE);
    data.extend([0; 4]);
    for (name, value) in variables {
        data.extend(format!("{name}={value}\0").bytes());
    }
    data.resize(SIZE, 0);
    let sum = crc32(&data[4..]);
    data[..4].copy_from_slice(&sum.to_le_bytes());
    data
}

/// Reached only when the kernel could not be started.
fn failed() -> String {
    format!(
        "if test \"${{trial}}\" = 1; then run go_back; fi; \
         echo pilotlight: this system cannot be started, and there is no other one; sleep {PAUSE}; reset"
    )
}

/// What the partition table's sector says about the slot that the firmware started.
fn look(Addresses { sectors, .. }: Addresses) -> String {
    format!(
        "mmc dev 0; mmc read {sectors:#x} 0 1; \
         if itest.l *{sectors:#x} == {TRIAL_TRIED:#x}; then \
         echo pilotlight: this system was tried and not found good; run go_back; fi; \
         if itest.l *{sectors:#x} == {TRIAL_ARMED:#x}; then \
         echo pilotlight: this system is on trial; setenv trial 1; \
         mw.l {sectors:#x} {TRIAL_TRIED:#x}; mmc write {sectors:#x} 0 1; fi"
    )
}

fn load(loader: &Loader, architecture: Architecture) -> String {
    let Addresses { kernel, packed_kernel, device_tree, initrd, .. } = loader.addresses;
    let kernel_in_place = match packed_kernel {
        None => format!("load mmc 0:1 {kernel:#x} {KERNEL_ON_CARD}"),
        Some(packed) => {
            format!("load mmc 0:1 {packed:#x} {KERNEL_ON_CARD} && unzip {packed:#x} {kernel:#x}")
        }
    };
    let start = match architecture {
        Architecture::Armhf => "bootz",
        Architecture::Arm64 => "booti",
    };
    // The device tree first: the firmware may have put it where something is about to be loaded.
    let given = &loader.device_tree;
    format!(
        "fdt addr ${{{given}}} && fdt move ${{{given}}} {device_tree:#x} {DEVICE_TREE_ROOM:#x} && \
         {kernel_in_place} && load mmc 0:1 {initrd:#x} {INITRD_ON_CARD} && \
         {start} {kernel:#x} {initrd:#x}:${{filesize}} {device_tree:#x}"
    )
}

/// Copies the table that starts the other slot, if there is one and it is of this card.
fn go_back(Addresses { sectors, .. }: Addresses) -> String {
    let fallback = sectors + LEN as u32;
    let (signature, fallback_signature) = (sectors + SIGNATURE_AT as u32, fallback + SIGNATURE_AT as u32);
    format!(
        "mmc read {fallback:#x} {FALLBACK_SECTOR:#x} 1; \
         if itest.l *{fallback_signature:#x} == *{signature:#x}; then \
         echo pilotlight: going back to the other system; \
         mmc write {fallback:#x} 0 1; reset; fi; \
         echo pilotlight: there is no system to go back to"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: Addresses = Addresses {
        sectors: 0x10_0000,
        kernel: 0x20_0000,
        packed_kernel: Some(0x500_0000),
        device_tree: 0x700_0000,
        initrd: 0x800_0000,
    };

    fn loader() -> Loader {
        Loader {
            set: "loader".to_owned(),
            package: "u-boot".to_owned(),
            file: "u-boot.bin".to_owned(),
            device_tree: "fdtcontroladdr".to_owned(),
            addresses: ADDRESSES,
        }
    }

    fn variables(environment: &[u8]) -> Vec<(String, String)> {
        let text = String::from_utf8(environment[4..].to_vec()).unwrap();
        let (text, rest) = text.split_once("\0\0").unwrap();
        assert!(rest.bytes().all(|byte| byte == 0));
        let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        text.split('\0').map(|line| pair(line).unwrap()).collect()
    }

    #[test]
    fn an_environment_is_a_checksum_and_variables_to_a_fixed_length() {
        let environment = environment(&loader(), Architecture::Arm64);
        assert_eq!(environment.len(), 0x4000);
        assert_eq!(environment[..4], crc32(&environment[4..]).to_le_bytes());
        let variables = variables(&environment);
        let names: Vec<_> = variables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["bootcmd", "bootdelay", "go_back", "load", "look", "preboot"]);
        // CONFIG_SYS_CBSIZE: the longest line that U-Boot reads; no variable may bring the shell to its end.
        assert!(variables.iter().all(|(_, value)| value.len() < 1024));
    }

    #[test]
    fn the_states_of_a_trial_are_those_of_the_partition_table() {
        let look = look(ADDRESSES);
        // As a little-endian processor reads the letters at the sector's start.
        assert!(
            look.contains("*0x100000 == 0x31744c50; then echo pilotlight: this system is on trial"),
            "{look}"
        );
        assert!(
            look.contains("*0x100000 == 0x32744c50; then echo pilotlight: this system was tried"),
            "{look}"
        );
        assert!(look.contains("mw.l 0x100000 0x32744c50; mmc write 0x100000 0 1"), "{look}");
        let back = go_back(ADDRESSES);
        assert!(back.contains("mmc read 0x100200 0x1 1; if itest.l *0x1003b8 == *0x1001b8;"), "{back}");
    }

    #[test]
    fn a_kernel_that_is_not_packed_is_loaded_where_it_runs() {
        let unpacked = Loader { addresses: Addresses { packed_kernel: None, ..ADDRESSES }, ..loader() };
        assert!(
            load(&unpacked, Architecture::Armhf).contains(" && load mmc 0:1 0x200000 vmlinuz && load mmc")
        );
        assert!(load(&unpacked, Architecture::Armhf).contains("bootz 0x200000 0x8000000:"));
        assert!(load(&loader(), Architecture::Arm64).contains("unzip 0x5000000 0x200000 && "));
    }
}
