//! The Pi: a card image started in QEMU.
//!
//! QEMU skips the Pi's firmware, so this module does its part: it reads `config.txt` on the card's FAT partition
//! and takes boot loader, device tree and command line from there. What a card lacks, the machine lacks. Most scenes
//! skip the boot loader as well, which costs a quarter of a minute under emulation: kernel and initrd are then read here.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use pilotlight_board::Emulator;
use pilotlight_lab::paths::{INITRD_ON_CARD, KERNEL_ON_CARD};

use crate::{
    Machine, Qemu, QemuError, Serial,
    qemu::{escaped, netdev, strings},
    uimage,
};

/// What makes the journal, and with it our events, appear on the console.
pub const JOURNAL_ON_CONSOLE: &str =
    "systemd.journald.forward_to_console=1 systemd.journald.max_level_console=info";

/// A hardware address for a Pi in QEMU, of Raspberry Pi's own range.
///
/// Not one of QEMU's 52:54:…, which say of themselves that they are made up (bit 1 of the first octet): Linux names
/// a USB network adapter with such an address `usb0` instead of `eth0`.
pub const MAC: &str = "b8:27:eb:70:69:00";

/// The machines that can start a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A board that QEMU knows: SD card, USB network. Slow where it emulates USB.
    Board(&'a Emulator),
    /// No board that exists, for 64-bit kernels: virtio disk and network. For what needs volume.
    Virt,
}

/// What the firmware would have loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// The boot loader: what `config.txt` names as the kernel.
    pub loader: PathBuf,
    /// The kernel, as it is on the card.
    pub kernel: PathBuf,
    /// The initrd.
    pub initrd: PathBuf,
    /// The device tree.
    pub device_tree: PathBuf,
    /// The kernel's command line.
    pub command_line: String,
}

impl BootFiles {
    /// Reads the boot partition that `card` starts from, as [`BootFiles::extract`] does.
    pub fn of_card(card: &Path, device_tree: &str, into: &Path) -> Result<Self, QemuError> {
        let fault = |name: &str, reason: String| QemuError::Card {
            card: card.to_owned(),
            name: name.to_owned(),
            reason,
        };
        let opened = pilotlight_image::card::open(card).map_err(|error| fault("the table", whole(&error)))?;
        let fat = opened.boot().map_err(|error| fault("anything", whole(&error)))?;
        let read = |name: &str| fat.read(name).map_err(|error| fault(name, whole(&error)));
        Self::extract(read, device_tree, into)
    }

    /// Reads `config.txt` and what it names with `read`, which gives a file of the card's FAT partition by its
    /// name, and puts the files into the folder `into`. `device_tree` is its path or name; on the card it is at
    /// the top.
    pub fn extract(
        mut read: impl FnMut(&str) -> Result<Vec<u8>, QemuError>,
        device_tree: &str,
        into: &Path,
    ) -> Result<Self, QemuError> {
        let config = String::from_utf8_lossy(&read("config.txt")?).into_owned();
        let loader = named(&config);
        let device_tree = device_tree.rsplit('/').next().unwrap_or(device_tree);
        let command_line = String::from_utf8_lossy(&read("cmdline.txt")?).trim().to_owned();
        let mut put = |name: &str| {
            let path = into.join(name);
            fs::write(&path, read(name)?).map_err(QemuError::file("write", &path))?;
            Ok(path)
        };
        Ok(Self {
            loader: put(&loader)?,
            kernel: put(KERNEL_ON_CARD)?,
            initrd: put(INITRD_ON_CARD)?,
            device_tree: put(device_tree)?,
            command_line,
        })
    }
}

/// An error with all its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What `config.txt` has the firmware start, or the firmware's own choice of a 64-bit kernel.
fn named(config: &str) -> String {
    let named = config.lines().filter_map(|line| line.trim().strip_prefix("kernel=")).next_back();
    named.unwrap_or("kernel8.img").trim().to_owned()
}

/// What the machine starts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The kernel, with the initrd: quick, and the only way on [`Kind::Virt`].
    Kernel,
    /// The boot loader, as on a real board: it reads kernel and initrd from the card itself.
    Loader,
}

/// A Pi to be started.
#[derive(Debug, Clone)]
pub struct Pi<'a> {
    /// Its name in the scene, also of its log.
    pub name: &'a str,
    /// Which machine.
    pub kind: Kind<'a>,
    /// The card, which is written to: a [`crate::card::work_copy`].
    pub card: &'a Path,
    /// What was read off the card.
    pub boot: &'a BootFiles,
    /// What it starts.
    pub start: Start,
    /// More for the kernel's command line, such as [`JOURNAL_ON_CONSOLE`].
    pub append: &'a str,
    /// What its network adapter is tied to.
    pub wire: Option<Wire<'a>>,
    /// Where every write to the card, and every flush, is recorded; on [`Kind::Virt`] alone. The format is that of
    /// Linux's dm-log-writes.
    pub writes: Option<&'a Path>,
    /// What its clock chip shows at first, as in `2026-01-31T12:00:00`: the time of this machine, unless told otherwise.
    /// On [`Kind::Virt`] alone: a Pi has none.
    pub clock: Option<&'a str>,
}

/// What a Pi's network adapter is tied to; its hardware address there is [`MAC`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire<'a> {
    /// The hub at this socket, with whoever else is on it.
    Hub(&'a Path),
    /// Nobody but this machine: this port of it leads to the login of the Pi at 10.77.0.1.
    Login(u16),
}

impl Wire<'_> {
    fn arguments(self) -> Vec<OsString> {
        match self {
            Self::Hub(socket) => netdev(socket),
            // `restrict`: the Pi reaches nothing through it.
            Self::Login(port) => vec![
                "-netdev".into(),
                format!(
                    "user,id=wire,restrict=on,ipv6=off,net=10.77.0.0/24,host=10.77.0.254,dns=10.77.0.253,\
                     hostfwd=tcp:127.0.0.1:{port}-10.77.0.1:22"
                )
                .into(),
            ],
        }
    }
}

impl Pi<'_> {
    /// Starts it.
    pub fn start(&self, qemu: &Qemu, serial: &Serial) -> Result<Machine, QemuError> {
        if let (Start::Loader, Some(address)) = (self.start, self.loader_address()) {
            let (from, to) = (&self.boot.loader, self.placed_loader());
            let program = fs::read(from).map_err(QemuError::file("read", from))?;
            fs::write(&to, uimage::at(address, &program)).map_err(QemuError::file("write", &to))?;
        }
        Machine::start(qemu, &qemu.aarch64, self.name, &self.arguments(qemu, serial), serial)
    }

    fn drive(&self) -> Vec<OsString> {
        if let (Kind::Virt, Some(log)) = (self.kind, self.writes) {
            let file = |node: &str, path: &Path| {
                let mut words = OsString::from(format!("driver=file,node-name={node},filename="));
                words.push(escaped(path));
                ["-blockdev".into(), words]
            };
            let mut args = [file("card-file", self.card), file("log-file", log)].concat();
            args.extend(strings([
                "-blockdev",
                "driver=blklogwrites,node-name=card,file=card-file,log=log-file,log-super-update-interval=1",
            ]));
            return args;
        }
        let mut drive = OsString::from(match self.kind {
            Kind::Board(_) => "if=sd,format=raw,cache=unsafe,file=",
            Kind::Virt => "if=none,id=card,format=raw,cache=unsafe,file=",
        });
        drive.push(escaped(self.card));
        vec!["-drive".into(), drive]
    }

    fn loader_address(&self) -> Option<u32> {
        if let Kind::Board(board) = self.kind { board.loader_address } else { None }
    }

    /// The boot loader with a word to QEMU where it has to lie.
    fn placed_loader(&self) -> PathBuf {
        self.boot.loader.with_extension("uimage")
    }

    fn arguments(&self, qemu: &Qemu, serial: &Serial) -> Vec<OsString> {
        let (busy, machine) = match self.kind {
            Kind::Board(board) => (board.busy_processors, strings(["-M", &board.machine])),
            Kind::Virt => (1, strings(["-M", "virt", "-cpu", "cortex-a53", "-smp", "2", "-m", "1G"])),
        };
        let mut args = qemu.common(busy);
        args.extend(machine);
        match self.start {
            Start::Kernel => {
                args.extend(["-kernel".into(), (&self.boot.kernel).into()]);
                args.extend(["-initrd".into(), (&self.boot.initrd).into()]);
            }
            Start::Loader if self.loader_address().is_some() => {
                args.extend(["-kernel".into(), self.placed_loader().into()]);
            }
            Start::Loader => args.extend(["-kernel".into(), (&self.boot.loader).into()]),
        }
        if let Kind::Board(_) = self.kind {
            args.extend(["-dtb".into(), (&self.boot.device_tree).into()]);
        }
        args.extend(["-append".into(), self.command_line().into()]);
        args.extend(self.drive());
        if let (Kind::Virt, Some(clock)) = (self.kind, self.clock) {
            args.extend(["-rtc".into(), format!("base={clock}").into()]);
        }
        if self.kind == Kind::Virt {
            args.extend(strings(["-device", "virtio-blk-pci,drive=card", "-device", "virtio-rng-pci"]));
        }
        if let Some(wire) = self.wire {
            args.extend(wire.arguments());
            args.extend([
                "-device".into(),
                match self.kind {
                    Kind::Board(_) => format!("usb-net,netdev=wire,mac={MAC}"),
                    Kind::Virt => format!("virtio-net-pci,netdev=wire,mac={MAC},romfile="),
                }
                .into(),
            ]);
        }
        args.extend(serial.chardev());
        args.extend(serial.monitor());
        let before = if let Kind::Board(board) = self.kind { board.console.saturating_sub(1) } else { 0 };
        for _ in 0..before {
            args.extend(strings(["-serial", "null"]));
        }
        args.extend(strings(["-serial", "chardev:console"]));
        args
    }

    fn command_line(&self) -> String {
        let machine = match self.kind {
            Kind::Board(board) => &board.command_line,
            // The last console named is /dev/console.
            Kind::Virt => "console=ttyAMA0",
        };
        let words = [self.boot.command_line.as_str(), machine, self.append];
        words.join(" ").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_firmware_s_part_is_done_from_config_txt() {
        let folder = tempfile::tempdir().unwrap();
        let config = b"arm_64bit=1\nkernel=u-boot.bin\r\ngpu_mem=16\n".as_slice();
        let card = |name: &str| match name {
            "config.txt" => Ok(config.to_vec()),
            "cmdline.txt" => Ok(b"console=ttyS1 quiet\n".to_vec()),
            "u-boot.bin" | "vmlinuz" | "initrd.img" | "bcm2837-rpi-3-b.dtb" => Ok(name.as_bytes().to_vec()),
            other => Err(QemuError::Card {
                card: "card".into(),
                name: other.to_owned(),
                reason: "no such file".to_owned(),
            }),
        };
        let boot = BootFiles::extract(card, "broadcom/bcm2837-rpi-3-b.dtb", folder.path()).unwrap();
        assert_eq!(fs::read(&boot.loader).unwrap(), b"u-boot.bin");
        assert_eq!(fs::read(&boot.kernel).unwrap(), b"vmlinuz");
        assert_eq!(fs::read(&boot.device_tree).unwrap(), b"bcm2837-rpi-3-b.dtb");
        assert_eq!(boot.command_line, "console=ttyS1 quiet");
        let fault = BootFiles::extract(card, "bcm2837-other.dtb", folder.path()).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "could not read bcm2837-other.dtb from the boot partition of card: no such file"
        );
    }
}
