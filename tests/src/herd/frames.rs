//! What the machines of a herd say without an address: DHCP in frames of their own, and ARP for the addresses that they
//! have, as the kernel must not answer for a machine that has none yet.

use std::{
    io::{self, Read as _},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};
use nix::{ifaddrs::getifaddrs, sys::socket::LinkAddr};
use pilotlight_lab::MacAddr;
use pilotlight_machines::{
    dhcp::CLIENT_PORT,
    frame::{self, ETHERNET, ETHERTYPE_ARP, ETHERTYPE_IPV4, Heard, Question},
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// Two sockets on the clients' end of the cable: one for DHCP, one for ARP.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) dhcp: Socket,
    pub(super) arp: Socket,
    /// The hardware address of the interface, which is where the kernel takes datagrams.
    own: MacAddr,
}

impl Frames {
    pub(super) fn open(interface: &str) -> Result<Self> {
        let link = getifaddrs()?.find_map(|entry| {
            let link = entry.address.as_ref().and_then(|address| address.as_link_addr()).copied();
            link.filter(|_| entry.interface_name == interface)
        });
        let link = link.with_context(|| format!("there is no interface {interface}"))?;
        let own = MacAddr(link.addr().with_context(|| format!("{interface} has no hardware address"))?);
        let dhcp = packet_socket(ETHERTYPE_IPV4, &link).context("could not open the socket for DHCP")?;
        dhcp.attach_filter(&ONLY_DHCP).context("could not choose what the socket for DHCP takes")?;
        let arp = packet_socket(ETHERTYPE_ARP, &link).context("could not open the socket for ARP")?;
        Ok(Self { dhcp, arp, own })
    }

    /// A machine says this to the DHCP servers.
    pub(super) fn ask(&self, mac: MacAddr, payload: &[u8]) -> io::Result<()> {
        self.dhcp.send(&frame::question(mac, payload)).map(drop)
    }

    /// The next datagram of a DHCP server; none when there is no more.
    pub(super) fn hear<'a>(&self, buffer: &'a mut [u8]) -> Option<Option<Heard<'a>>> {
        let length = (&self.dhcp).read(buffer).ok()?;
        Some(frame::datagram(buffer.get(..length)?))
    }

    /// The next question for an address; none when there is no more.
    pub(super) fn asked(&self, buffer: &mut [u8]) -> Option<Option<Question>> {
        let length = (&self.arp).read(buffer).ok()?;
        Some(frame::who_has(buffer.get(..length)?))
    }

    /// Says that the address that was asked for is here.
    pub(super) fn tell(&self, question: Question) -> io::Result<()> {
        self.arp.send(&frame::is_here(self.own, question)).map(drop)
    }
}

/// UDP to the port of DHCP clients, in one piece.
const ONLY_DHCP: [SockFilter; 7] = [
    // The protocol.
    SockFilter::new(0x30, 0, 0, (ETHERNET + 9) as u32),
    SockFilter::new(0x15, 0, 4, 17),
    // The length of the IP header, and the port behind it.
    SockFilter::new(0xb1, 0, 0, ETHERNET as u32),
    SockFilter::new(0x48, 0, 0, (ETHERNET + 2) as u32),
    SockFilter::new(0x15, 0, 1, CLIENT_PORT as u32),
    SockFilter::new(0x06, 0, 0, 0xffff),
    SockFilter::new(0x06, 0, 0, 0),
];

fn packet_socket(ethertype: u16, link: &LinkAddr) -> io::Result<Socket> {
    let protocol = Protocol::from(i32::from(ethertype.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // All machines of a herd hear through this one socket.
    socket.set_recv_buffer_size(4 << 20)?;
    nix::sys::socket::bind(socket.as_raw_fd(), link)?;
    Ok(socket)
}
