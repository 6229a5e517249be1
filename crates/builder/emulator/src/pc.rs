//! Machines that boot from the network, as their firmware does it: PCs, and others that QEMU plays.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Machine, Qemu, QemuError, Serial,
    qemu::{Uefi, escaped, netdev, strings},
};

/// A machine's firmware, which also says what kind of machine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS and the iPXE ROM of an Intel 82540EM card, as in most BIOS machines of QEMU's.
    Bios,
    /// OVMF with its own network stack on a virtio card: the PXE client of EDK II, not iPXE.
    Uefi,
    /// The same, told to leave PXE alone: it takes its loader by HTTP (UEFI 2.10 § 24.7).
    UefiHttp,
    /// EDK II on 64-bit Arm, with its PXE client.
    UefiArm64,
    /// U-Boot on 64-bit Arm, which does as it is set up to by Debian.
    UBootArm64,
}

/// What QEMU plays a firmware on.
struct Board<'a> {
    program: &'a Path,
    /// Machine and processor.
    machine: [&'static str; 4],
    /// The network card, up to its hardware address. Without a ROM but for the BIOS, or iPXE would take the place of
    /// the firmware's own client.
    card: &'static str,
    code: Code<'a>,
}

/// Where a firmware comes from.
enum Code<'a> {
    /// QEMU has it with it.
    Own,
    /// In flash, beside its variables.
    Flash(&'a Uefi),
    /// Where the processor starts.
    Bare(&'a Path),
}

impl Firmware {
    fn board(self, qemu: &Qemu) -> Board<'_> {
        const VIRTIO: &str = "virtio-net-pci,netdev=wire,bootindex=0,romfile=,mac=";
        // Without graphics SeaBIOS and iPXE talk on the serial port. rdrand: OVMF has no network without a
        // source of randomness.
        let pc = |card, code| Board {
            program: &qemu.x86_64,
            machine: ["-M", "q35,graphics=off", "-cpu", "qemu64,+rdrand"],
            card,
            code,
        };
        let arm = |processor, code| Board {
            program: &qemu.aarch64,
            machine: ["-M", "virt", "-cpu", processor],
            card: VIRTIO,
            code,
        };
        match self {
            Self::Bios => pc("e1000,netdev=wire,bootindex=0,mac=", Code::Own),
            Self::Uefi | Self::UefiHttp => pc(VIRTIO, Code::Flash(&qemu.ovmf)),
            // As with `rdrand`: EDK II takes its randomness from the processor, and the models by name have none.
            // Signatures of pointers cost too much when they are played to the letter.
            Self::UefiArm64 => arm("max,pauth-impdef=on", Code::Flash(&qemu.aavmf)),
            Self::UBootArm64 => arm("cortex-a57", Code::Bare(&qemu.u_boot_arm64)),
        }
    }
}

/// A machine to be started.
#[derive(Debug, Clone)]
pub struct Pc<'a> {
    /// Its name in the scene, also of its log.
    pub name: &'a str,
    /// Its firmware.
    pub firmware: Firmware,
    /// Its memory in MiB; the Debian installer wants 1024.
    pub memory_mib: u32,
    /// The hub's socket.
    pub hub: &'a Path,
    /// Its hardware address, six pairs joined by colons.
    pub mac: &'a str,
    /// Its disks, in the order in which it finds them.
    pub disks: &'a [Disk],
    /// What its board says it is.
    pub marks: Marks<'a>,
}

/// What tells a machine from others of its kind (SMBIOS 3.7 § 7.2); what is left out is QEMU's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks<'a> {
    /// Its UUID.
    pub uuid: Option<&'a str>,
    /// Its serial number, without a comma.
    pub serial: Option<&'a str>,
}

/// A disk of a machine.
#[derive(Debug, Clone)]
pub struct Disk {
    /// A raw image, which is written to.
    pub path: PathBuf,
    /// What it reports as its serial number: no more than 20 characters.
    pub serial: String,
}

impl Pc<'_> {
    /// Starts it; a UEFI machine keeps its variables in the folder `state`.
    pub fn start(&self, qemu: &Qemu, state: &Path, serial: &Serial) -> Result<Machine, QemuError> {
        let board = self.firmware.board(qemu);
        let args = self.arguments(&board, qemu, state, serial)?;
        Machine::start(qemu, board.program, self.name, &args, serial)
    }

    fn arguments(
        &self,
        board: &Board<'_>,
        qemu: &Qemu,
        state: &Path,
        serial: &Serial,
    ) -> Result<Vec<OsString>, QemuError> {
        let mut args = qemu.common(1);
        args.extend(strings(board.machine));
        args.extend(["-m".into(), self.memory_mib.to_string().into()]);
        if let Some(uuid) = self.marks.uuid {
            args.extend(strings(["-uuid", uuid]));
        }
        if let Some(serial) = self.marks.serial {
            args.extend(["-smbios".into(), format!("type=1,serial={serial}").into()]);
        }
        args.extend(netdev(self.hub));
        args.extend(["-device".into(), format!("{}{}", board.card, self.mac).into()]);
        if self.firmware == Firmware::UefiHttp {
            // OVMF's own switches (OvmfPkg/RUNTIME_CONFIG.md).
            for version in ["IPv4PXESupport", "IPv6PXESupport"] {
                let switch = format!("name=opt/org.tianocore/{version},string=no");
                args.extend(["-fw_cfg".into(), switch.into()]);
            }
        }
        match board.code {
            Code::Own => {}
            Code::Flash(uefi) => {
                args.extend(strings(["-device", "virtio-rng-pci"]));
                args.extend(["-drive".into(), pflash("on", &uefi.code)]);
                args.extend(["-drive".into(), pflash("off", &self.variables(uefi, state)?)]);
            }
            Code::Bare(code) => args.extend(["-bios".into(), code.into()]),
        }
        for (number, disk) in self.disks.iter().enumerate() {
            let mut drive = OsString::from(format!("if=none,id=disk{number},format=raw,cache=unsafe,file="));
            drive.push(escaped(&disk.path));
            let device = format!("virtio-blk-pci,drive=disk{number},serial={}", disk.serial);
            args.extend(["-drive".into(), drive, "-device".into(), device.into()]);
        }
        args.extend(serial.chardev());
        args.extend(serial.monitor());
        args.extend(strings(["-serial", "chardev:console"]));
        Ok(args)
    }

    /// A variable store of this machine's own.
    fn variables(&self, uefi: &Uefi, state: &Path) -> Result<PathBuf, QemuError> {
        let path = state.join(format!("{}.vars.fd", self.name));
        let content = fs::read(&uefi.vars).map_err(QemuError::file("read", &uefi.vars))?;
        fs::write(&path, content).map_err(QemuError::file("write", &path))?;
        Ok(path)
    }
}

fn pflash(read_only: &str, path: &Path) -> OsString {
    let mut drive = OsString::from(format!("if=pflash,format=raw,readonly={read_only},file="));
    drive.push(escaped(path));
    drive
}
