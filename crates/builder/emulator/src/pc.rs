//! PCs that boot from the network, as their firmware does it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Machine, Qemu, QemuError, Serial,
    qemu::{escaped, netdev, strings},
};

/// A PC's firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS and the iPXE ROM of an Intel 82540EM card, as in most BIOS machines of QEMU's.
    Bios,
    /// OVMF with its own network stack on a virtio card: the PXE client of EDK II, not iPXE.
    Uefi,
    /// The same, told to leave PXE alone: it takes its loader by HTTP (UEFI 2.10 § 24.7).
    UefiHttp,
}

/// A PC to be started.
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
    /// Its disk, a raw image that is written to; none is a machine without one.
    pub disk: Option<&'a Path>,
}

impl Pc<'_> {
    /// Starts it; a UEFI machine keeps its variables in the folder `state`.
    pub fn start(&self, qemu: &Qemu, state: &Path, serial: &Serial) -> Result<Machine, QemuError> {
        let args = self.arguments(qemu, state, serial)?;
        Machine::start(qemu, &qemu.x86_64, self.name, &args, serial)
    }

    fn arguments(&self, qemu: &Qemu, state: &Path, serial: &Serial) -> Result<Vec<OsString>, QemuError> {
        let mut args = qemu.common();
        // Without graphics SeaBIOS and iPXE talk on the serial port. rdrand: OVMF has no network without a
        // source of randomness.
        args.extend(strings(["-M", "q35,graphics=off", "-cpu", "qemu64,+rdrand"]));
        args.extend(["-m".into(), self.memory_mib.to_string().into()]);
        let card = match self.firmware {
            Firmware::Bios => "e1000,netdev=wire,bootindex=0,mac=",
            // Without its ROM, or iPXE would take the place of the firmware's own PXE client.
            Firmware::Uefi | Firmware::UefiHttp => "virtio-net-pci,netdev=wire,bootindex=0,romfile=,mac=",
        };
        args.extend(netdev(self.hub));
        args.extend(["-device".into(), format!("{card}{}", self.mac).into()]);
        if self.firmware == Firmware::UefiHttp {
            // OVMF's own switches (OvmfPkg/RUNTIME_CONFIG.md).
            for version in ["IPv4PXESupport", "IPv6PXESupport"] {
                let switch = format!("name=opt/org.tianocore/{version},string=no");
                args.extend(["-fw_cfg".into(), switch.into()]);
            }
        }
        if self.firmware != Firmware::Bios {
            args.extend(strings(["-device", "virtio-rng-pci"]));
            args.extend(["-drive".into(), pflash("on", &qemu.ovmf_code)]);
            args.extend(["-drive".into(), pflash("off", &self.variables(qemu, state)?)]);
        }
        if let Some(disk) = self.disk {
            let mut drive = OsString::from("if=virtio,format=raw,cache=unsafe,file=");
            drive.push(escaped(disk));
            args.extend(["-drive".into(), drive]);
        }
        args.extend(serial.chardev());
        args.extend(serial.monitor());
        args.extend(strings(["-serial", "chardev:console"]));
        Ok(args)
    }

    /// A variable store of this machine's own.
    fn variables(&self, qemu: &Qemu, state: &Path) -> Result<PathBuf, QemuError> {
        let path = state.join(format!("{}.vars.fd", self.name));
        let content = fs::read(&qemu.ovmf_vars).map_err(QemuError::file("read", &qemu.ovmf_vars))?;
        fs::write(&path, content).map_err(QemuError::file("write", &path))?;
        Ok(path)
    }
}

fn pflash(read_only: &str, path: &Path) -> OsString {
    let mut drive = OsString::from(format!("if=pflash,format=raw,readonly={read_only},file="));
    drive.push(escaped(path));
    drive
}
