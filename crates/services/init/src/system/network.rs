//! The Pi's interface, up and with its address as soon as there is one. systemd-networkd comes later, finds both as
//! it would have made them, and looks after the interface from then on.

use std::{
    fs,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    process::Command,
    time::{Duration, Instant},
};

use pilotlight_init::rtnetlink;
use pilotlight_lab::Network;
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
        netdevice::name_to_index,
        netlink::SocketAddrNetlink,
        recv, send, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

use super::Fault;

/// The word by which this program knows itself as the one that waits for the interface.
pub(crate) const WAIT: &str = "wait-for-interface";
/// How long it is waited for. By then systemd-networkd has long been there.
const PATIENCE: Duration = Duration::from_secs(60);
/// `RTMGRP_LINK`: interfaces come and go.
const LINKS: u32 = 1;

/// The interface and what it is to have.
#[derive(Debug, Clone, Copy)]
struct Wish<'a> {
    interface: &'a str,
    address: Ipv4Addr,
    prefix: u8,
}

/// Has interfaces come without IPv6 addresses of the kernel's own making, as the network file says it: no link-local one
/// (`IN6_ADDR_GEN_MODE_NONE`), none from routers.
pub(crate) fn ask_nothing_of_the_wire() -> Result<(), Fault> {
    for (setting, value) in [("addr_gen_mode", "1"), ("accept_ra", "0")] {
        let path = format!("/proc/sys/net/ipv6/conf/default/{setting}");
        fs::write(&path, value).map_err(Fault::file("write", path))?;
    }
    Ok(())
}

/// Brings the interface up, or leaves a process behind that does so when it appears: an adapter on USB takes its time,
/// and nothing else has to wait for it.
pub(crate) fn bring_up(network: &Network) -> Result<(), Fault> {
    let wish = Wish { interface: &network.interface, address: network.address, prefix: network.prefix };
    if wish.fulfil()? {
        return Ok(());
    }
    let program = "/init";
    Command::new(program)
        .args([WAIT, wish.interface, &wish.address.to_string(), &wish.prefix.to_string()])
        .spawn()
        .map(drop)
        .map_err(Fault::file("start", program))
}

/// Switches the interface on.
pub(crate) fn switch_on(interface: &str) -> Result<(), Fault> {
    told(interface, rtnetlink::up).map_err(Fault::file("switch on", interface))
}

/// Switches the interface off: Linux before 6.2 gives no other name to one that is on, as udev will want to.
pub(crate) fn switch_off(interface: &str) -> Result<(), Fault> {
    told(interface, rtnetlink::down).map_err(Fault::file("switch off", interface))
}

fn told(interface: &str, what: fn(u32) -> Vec<u8>) -> Result<(), Errno> {
    let kernel = open(0).map_err(|_| Errno::NODEV)?;
    let index = name_to_index(&kernel, interface)?;
    ask(&kernel, &what(index))
}

/// Gives the interface its address.
pub(crate) fn give_address(interface: &str, address: Ipv4Addr, prefix: u8) -> Result<(), Fault> {
    match (Wish { interface, address, prefix }).fulfil()? {
        true => Ok(()),
        false => Err(Fault::file("give its address to", interface)(Errno::NODEV)),
    }
}

/// What the process that was left behind does. `arguments` are those that [`bring_up`] gives it.
pub(crate) fn wait(arguments: &[String]) -> Result<(), Fault> {
    let [interface, address, prefix] = arguments else { return Ok(()) };
    let (Ok(address), Ok(prefix)) = (address.parse(), prefix.parse()) else { return Ok(()) };
    let wish = Wish { interface, address, prefix };
    // Watched before it is looked for, or it could appear in between.
    let changes = open(LINKS)?;
    let end = Instant::now() + PATIENCE;
    while !wish.fulfil()? {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        set_socket_timeout(&changes, Timeout::Recv, Some(left)).map_err(fault("wait for"))?;
        match recv(&changes, &mut [0; 4096], RecvFlags::empty()) {
            // Lost messages are as good as received ones: all mean a change.
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => {}
            Err(errno) => return Err(fault("wait for")(errno)),
        }
    }
    Ok(())
}

impl Wish<'_> {
    /// Whether the interface was there.
    fn fulfil(self) -> Result<bool, Fault> {
        let kernel = open(0)?;
        let index = match name_to_index(&kernel, self.interface) {
            Ok(index) => index,
            Err(Errno::NODEV) => return Ok(false),
            Err(errno) => return Err(Fault::file("look for the interface", self.interface)(errno)),
        };
        for question in [rtnetlink::up(index), rtnetlink::address(index, self.address, self.prefix)] {
            match ask(&kernel, &question) {
                Ok(()) => {}
                // It went again.
                Err(Errno::NODEV) => return Ok(false),
                Err(errno) => return Err(Fault::file("give its address to", self.interface)(errno)),
            }
        }
        Ok(true)
    }
}

fn ask(kernel: &OwnedFd, question: &[u8]) -> Result<(), Errno> {
    send(kernel, question, SendFlags::empty())?;
    loop {
        let mut answer = [0; 4096];
        let (_, length) = match recv(kernel, &mut answer, RecvFlags::empty()) {
            Err(Errno::INTR) => continue,
            received => received?,
        };
        match rtnetlink::answer(&answer[..length.min(answer.len())]) {
            None => {}
            Some(0) => return Ok(()),
            Some(error) => return Err(Errno::from_raw_os_error(error)),
        }
    }
}

fn open(groups: u32) -> Result<OwnedFd, Fault> {
    // Netlink's protocol 0 is rtnetlink.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .map_err(fault("open"))?;
    bind(&socket, &SocketAddrNetlink::new(0, groups)).map_err(fault("open"))?;
    Ok(socket)
}

fn fault(what: &'static str) -> impl FnOnce(Errno) -> Fault {
    Fault::file(what, "the kernel's network interfaces")
}
