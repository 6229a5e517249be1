//! A home router on the wire, as far as DHCP goes: QEMU's own network for guests (SLIRP) without a machine.
//!
//! It gives out addresses and names itself as router, and knows nothing of booting. Where a way out is wanted, what goes
//! through it comes out of QEMU as this machine's own packets.

use std::{ffi::OsString, path::Path};

use crate::{
    Machine, Qemu, QemuError, Serial,
    qemu::{netdev, strings},
};

/// Its name in the scene.
pub const NAME: &str = "router";

/// Starts it on the hub at `hub`: it is 10.77.0.2 and gives out 10.77.0.150 and the fifteen after it. `is_way_out`: whether
/// it sends packets on to where this machine can.
pub(crate) fn start(
    qemu: &Qemu,
    hub: &Path,
    is_way_out: bool,
    serial: &Serial,
) -> Result<Machine, QemuError> {
    let mut args: Vec<OsString> = qemu.common(1);
    args.extend(strings(["-M", "none"]));
    args.extend(netdev(hub));
    let restrict = if is_way_out { "off" } else { "on" };
    let dhcp = format!(
        "user,id=dhcp,ipv6=off,restrict={restrict},net=10.77.0.0/24,host=10.77.0.2,dns=10.77.0.3,dhcpstart=10.77.0.150"
    );
    args.extend(["-netdev".into(), dhcp.into()]);
    for port in ["wire", "dhcp"] {
        args.extend(["-netdev".into(), format!("hubport,id={port}-port,hubid=0,netdev={port}").into()]);
    }
    args.extend(serial.chardev());
    Machine::start(qemu, &qemu.x86_64, NAME, &args, serial)
}
