//! What the machines of a herd say without an address: DHCP in frames of their own, and ARP for the addresses that they
//! have, as the kernel must not answer for a machine that has none yet.

use std::{
    io::{self, Read as _},
    net::Ipv4Addr,
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};
use nix::{ifaddrs::getifaddrs, sys::socket::LinkAddr};
use pilotlight_lab::MacAddr;
use pilotlight_machines::dhcp::{CLIENT_PORT, SERVER_PORT};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const EVERYBODY: [u8; 6] = [0xff; 6];
const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;

/// Two sockets on the clients' end of the cable: one for DHCP, one for ARP.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) dhcp: Socket,
    pub(super) arp: Socket,
    /// The hardware address of the interface, which is where the kernel takes datagrams.
    own: MacAddr,
}

/// A datagram for the DHCP port of the machine with this hardware address; of all of them when there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard<'a> {
    pub(super) machine: Option<MacAddr>,
    pub(super) payload: &'a [u8],
}

/// Who asks, and whose address is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    asks: (MacAddr, Ipv4Addr),
    pub(super) address: Ipv4Addr,
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
        self.dhcp.send(&question(mac, payload)).map(drop)
    }

    /// The next datagram of a DHCP server; none when there is no more.
    pub(super) fn hear<'a>(&self, buffer: &'a mut [u8]) -> Option<Option<Heard<'a>>> {
        let length = (&self.dhcp).read(buffer).ok()?;
        Some(datagram(buffer.get(..length)?))
    }

    /// The next question for an address; none when there is no more.
    pub(super) fn asked(&self, buffer: &mut [u8]) -> Option<Option<Question>> {
        let length = (&self.arp).read(buffer).ok()?;
        Some(who_has(buffer.get(..length)?))
    }

    /// Says that the address that was asked for is here.
    pub(super) fn tell(&self, question: Question) -> io::Result<()> {
        self.arp.send(&is_here(self.own, question)).map(drop)
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

/// Ethernet, IPv4 and UDP headers from 0.0.0.0 to everybody, and the payload.
fn question(mac: MacAddr, payload: &[u8]) -> Vec<u8> {
    let length = |header: usize| ((header + payload.len()) as u16).to_be_bytes();
    let mut frame = [&EVERYBODY[..], &mac.0, &ETHERTYPE_IPV4.to_be_bytes()].concat();
    frame.extend([0x45, 0]);
    frame.extend(length(IP + UDP));
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    let sum = checksum(&frame[ETHERNET..]);
    frame[ETHERNET + 10..][..2].copy_from_slice(&sum.to_be_bytes());
    frame.extend(CLIENT_PORT.to_be_bytes());
    frame.extend(SERVER_PORT.to_be_bytes());
    frame.extend(length(UDP));
    // No checksum (RFC 768), as most firmware does it.
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

fn checksum(header: &[u8]) -> u16 {
    let words = header.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let sum: u32 = words.sum();
    let folded = (sum >> 16) + (sum & 0xffff);
    !((folded + (folded >> 16)) as u16)
}

fn datagram(frame: &[u8]) -> Option<Heard<'_>> {
    let to: [u8; 6] = *frame.first_chunk()?;
    let ip = frame.get(ETHERNET..)?;
    let header = usize::from(ip.first()? & 15) * 4;
    let length = usize::from(u16::from_be_bytes(*ip.get(header + 4..)?.first_chunk()?));
    let payload = ip.get(header + UDP..header + length)?;
    Some(Heard { machine: (to != EVERYBODY).then_some(MacAddr(to)), payload })
}

fn who_has(frame: &[u8]) -> Option<Question> {
    let arp = frame.get(12..)?.strip_prefix(&[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1])?;
    let (mac, rest) = arp.split_first_chunk::<6>()?;
    let (asks, rest) = rest.split_first_chunk::<4>()?;
    let address: [u8; 4] = *rest.get(6..)?.first_chunk()?;
    Some(Question { asks: (MacAddr(*mac), Ipv4Addr::from(*asks)), address: Ipv4Addr::from(address) })
}

fn is_here(own: MacAddr, Question { asks: (mac, asks), address }: Question) -> Vec<u8> {
    let head = [&mac.0[..], &own.0, &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
    [&head, &own.0[..], &address.octets(), &mac.0, &asks.octets()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    #[test]
    fn frames_are_laid_out_as_the_standards_say() {
        let frame = question(ONE, b"hello");
        assert_eq!(frame[..16], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0]);
        assert_eq!(checksum(&frame[ETHERNET..ETHERNET + IP]), 0);
        assert_eq!(frame[ETHERNET + IP..ETHERNET + IP + 6], [0, 68, 0, 67, 0, 13]);
        assert_eq!(datagram(&frame), Some(Heard { machine: None, payload: b"hello" }));
        let mut padded = frame;
        padded[..6].copy_from_slice(&OTHER.0);
        padded.extend([0; 20]);
        assert_eq!(datagram(&padded), Some(Heard { machine: Some(OTHER), payload: b"hello" }));
    }

    #[test]
    fn an_address_is_asked_for_and_found() {
        let (one, two) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut asked = [&EVERYBODY[..], &ONE.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &ONE.0].concat();
        asked.extend([10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        let question = who_has(&asked).unwrap();
        assert_eq!(question, Question { asks: (ONE, one), address: two });
        let told = is_here(OTHER, question);
        assert_eq!(told[..6], ONE.0);
        assert_eq!(told[20..], [0, 2, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
        assert_eq!(who_has(&told), None);
    }
}
