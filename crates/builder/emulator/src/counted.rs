//! A guest whose instructions are counted: the same machine for whatever system is on the disk.
//!
//! One processor, whose time goes by what it executes (2 ns an instruction, near what a Pi 3 does), so that a busy
//! desk makes a boot longer and not dearer.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::{
    Machine, Qemu, QemuError, Serial,
    qemu::{escaped, netdev, strings},
};

/// A system to be started on a machine that counts.
#[derive(Debug, Clone)]
pub struct Counted<'a> {
    /// Its name, also of its log.
    pub name: &'a str,
    /// The kernel.
    pub kernel: &'a Path,
    /// Its initrd.
    pub initrd: &'a Path,
    /// Its command line; the console is `ttyAMA0`.
    pub command_line: &'a str,
    /// The disk, which is written to.
    pub disk: &'a Path,
    /// The hub's socket and the machine's hardware address on it.
    pub wire: (&'a Path, &'a str),
    /// The plugin that counts, and where it leaves its account when the machine is stopped. None only runs.
    pub counter: Option<(&'a Path, PathBuf)>,
}

impl Counted<'_> {
    /// Starts it.
    ///
    /// # Errors
    /// QEMU cannot be started.
    pub fn start(&self, qemu: &Qemu, serial: &Serial) -> Result<Machine, QemuError> {
        Machine::start(qemu, &qemu.aarch64, self.name, &self.arguments(qemu, serial), serial)
    }

    fn arguments(&self, qemu: &Qemu, serial: &Serial) -> Vec<OsString> {
        let mut args = qemu.common(1);
        args.extend(strings([
            "-M",
            "virt",
            "-cpu",
            "cortex-a53",
            "-smp",
            "1",
            "-m",
            "1G",
            "-icount",
            "shift=1",
        ]));
        for (option, file) in [("-kernel", self.kernel), ("-initrd", self.initrd)] {
            args.extend([option.into(), file.into()]);
        }
        args.extend(["-append".into(), self.command_line.into()]);
        let mut drive = OsString::from("if=none,id=disk,format=raw,cache=unsafe,file=");
        drive.push(escaped(self.disk));
        args.extend(["-drive".into(), drive]);
        args.extend(strings(["-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"]));
        let (socket, mac) = self.wire;
        args.extend(netdev(socket));
        args.extend(["-device".into(), format!("virtio-net-pci,netdev=wire,mac={mac},romfile=").into()]);
        if let Some((plugin, report)) = &self.counter {
            let mut option = escaped(plugin);
            option.push(",report=");
            option.push(escaped(report));
            args.extend(["-plugin".into(), option]);
        }
        args.extend(serial.chardev());
        args.extend(strings(["-serial", "chardev:console"]));
        args
    }
}
