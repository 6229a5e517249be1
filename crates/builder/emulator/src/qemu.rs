//! Where QEMU is, and what every command line of it has in common.

use std::{
    ffi::{OsStr, OsString},
    io,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

/// QEMU and its firmware, wherever they were unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// The program for the Pi and other Arm machines: `qemu-system-aarch64`, or a script that runs it.
    pub aarch64: PathBuf,
    /// The program for PCs: `qemu-system-x86_64`, or a script that runs it.
    pub x86_64: PathBuf,
    /// Folders for `-L`, first match wins.
    pub data_dirs: Vec<PathBuf>,
    /// The folder of QEMU's own loadable modules.
    pub modules: PathBuf,
    /// UEFI firmware for PCs.
    pub ovmf: Uefi,
    /// UEFI firmware for 64-bit Arm.
    pub aavmf: Uefi,
    /// U-Boot for QEMU's own 64-bit Arm machine.
    pub u_boot_arm64: PathBuf,
}

/// UEFI firmware, as it lies in flash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uefi {
    /// The firmware, read-only.
    pub code: PathBuf,
    /// A variable store without any variables; each machine writes to a copy of it.
    pub vars: PathBuf,
}

/// What can go wrong around a virtual machine.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// A part of QEMU is not where it should be.
    #[error("QEMU needs {0}, which is not there")]
    Missing(PathBuf),
    /// A file could not be read or written.
    #[error("could not {attempt} {path}")]
    File {
        /// What was tried: `read`, `write`, `copy the card to`, …
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// The card has no such file on its boot partition, or no boot partition.
    #[error("could not read {name} from the boot partition of {card}: {reason}")]
    Card {
        /// The image.
        card: PathBuf,
        /// The file's name on the FAT.
        name: String,
        /// Why not.
        reason: String,
    },
    /// QEMU could not be started.
    #[error("could not start {program} for {machine}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The machine's name in its scene.
        machine: String,
        /// How it failed.
        source: io::Error,
    },
}

impl QemuError {
    pub(crate) fn file(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { attempt, path: path.to_owned(), source }
    }
}

impl Qemu {
    /// QEMU as it lies in a folder of unpacked Debian packages: runnable programs in `bin`, the packages' files
    /// in `root`.
    pub fn unpacked(folder: &Path) -> Result<Self, QemuError> {
        let share = folder.join("root/usr/share");
        let qemu = Self {
            aarch64: folder.join("bin/qemu-system-aarch64"),
            x86_64: folder.join("bin/qemu-system-x86_64"),
            data_dirs: ["qemu", "seabios"].iter().map(|name| share.join(name)).collect(),
            modules: folder.join("root/usr/lib/x86_64-linux-gnu/qemu"),
            ovmf: Uefi { code: share.join("OVMF/OVMF_CODE_4M.fd"), vars: share.join("OVMF/OVMF_VARS_4M.fd") },
            aavmf: Uefi {
                code: share.join("AAVMF/AAVMF_CODE.no-secboot.fd"),
                vars: share.join("AAVMF/AAVMF_VARS.fd"),
            },
            u_boot_arm64: folder.join("root/usr/lib/u-boot/qemu_arm64/u-boot.bin"),
        };
        let uefi = [&qemu.ovmf, &qemu.aavmf].into_iter().flat_map(|uefi| [&uefi.code, &uefi.vars]);
        let parts = [&qemu.aarch64, &qemu.x86_64, &qemu.u_boot_arm64].into_iter().chain(uefi);
        let missing = parts.chain(&qemu.data_dirs).find(|path| !path.exists()).cloned();
        missing.map_or(Ok(qemu), |path| Err(QemuError::Missing(path)))
    }

    /// What every machine is started with: no windows, no configuration of the host's, translation instead of
    /// KVM, and a halt where the guest would reboot (a boot loop would look like progress). `busy` is how many of the
    /// guest's processors never rest while it starts.
    pub(crate) fn common(&self, busy: usize) -> Vec<OsString> {
        let mut args = strings(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        // With a thread for each of them and fewer processors here, the one that gets somewhere waits for the others
        // more than it runs: half a minute until the kernel is there.
        let here = thread::available_parallelism().map_or(1, NonZero::get);
        args.extend(strings(["-accel", if busy > here { "tcg,thread=single" } else { "tcg" }]));
        for folder in &self.data_dirs {
            args.extend([OsStr::new("-L").to_owned(), folder.into()]);
        }
        args
    }
}

/// `-netdev` arguments for a port on the hub at `socket`.
pub(crate) fn netdev(socket: &Path) -> Vec<OsString> {
    let mut option = OsString::from("stream,id=wire,server=off,addr.type=unix,addr.path=");
    option.push(escaped(socket));
    vec!["-netdev".into(), option]
}

/// A path as a value in one of QEMU's comma-separated options, where a comma is doubled.
pub(crate) fn escaped(path: &Path) -> OsString {
    match path.to_str() {
        Some(text) => text.replace(',', ",,").into(),
        None => path.into(),
    }
}

/// Plain arguments.
pub(crate) fn strings<const N: usize>(args: [&str; N]) -> Vec<OsString> {
    args.iter().map(OsString::from).collect()
}
