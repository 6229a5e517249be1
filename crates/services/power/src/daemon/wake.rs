//! Magic packets.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::Context as _;
use pilotlight_lab::{Lab, MacAddr};
use pilotlight_power::magic_packet;

/// The port that magic packets are sent to by custom: "discard", where nobody takes them for anything else.
const DISCARD: u16 = 9;
/// A network card that sleeps answers nothing, and the wire may lose one.
pub(crate) const COPIES: usize = 3;

/// Sends them.
pub(crate) fn wake(lab: &Lab, mac: MacAddr) -> anyhow::Result<()> {
    let (own, everyone): (Ipv4Addr, Ipv4Addr) = (lab.network.address, lab.network.broadcast());
    let send = || {
        // From the Pi's address on the lab's wire: a machine that sleeps is on no other.
        let socket = UdpSocket::bind((own, 0))?;
        socket.set_broadcast(true)?;
        (0..COPIES).try_for_each(|_| socket.send_to(&magic_packet(mac), (everyone, DISCARD)).map(drop))
    };
    send().with_context(|| format!("could not send magic packets from {own} to {everyone}"))
}
