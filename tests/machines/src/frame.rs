//! Frames of machines without an address: DHCP from 0.0.0.0 to everybody, and ARP for what they have.

use std::net::Ipv4Addr;

use pilotlight_lab::MacAddr;

use crate::dhcp::{CLIENT_PORT, SERVER_PORT};

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// The length of an Ethernet header.
pub const ETHERNET: usize = 14;
const EVERYBODY: [u8; 6] = [0xff; 6];
const IP: usize = 20;
const UDP: usize = 8;

/// A datagram for the DHCP port of the machine with this hardware address; of all of them when there is none.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard<'a> {
    /// The machine.
    pub machine: Option<MacAddr>,
    /// What was in it.
    pub payload: &'a [u8],
}

/// Somebody asks who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    asks: (MacAddr, Ipv4Addr),
    /// That address.
    pub address: Ipv4Addr,
}

/// Ethernet, IPv4 and UDP headers from 0.0.0.0 to everybody, and the payload.
pub fn question(mac: MacAddr, payload: &[u8]) -> Vec<u8> {
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

/// What a frame to a DHCP client holds; none when it is cut short.
pub fn datagram(frame: &[u8]) -> Option<Heard<'_>> {
    let to: [u8; 6] = *frame.first_chunk()?;
    let ip = frame.get(ETHERNET..)?;
    let header = usize::from(ip.first()? & 15) * 4;
    let length = usize::from(u16::from_be_bytes(*ip.get(header + 4..)?.first_chunk()?));
    let payload = ip.get(header + UDP..header + length)?;
    Some(Heard { machine: (to != EVERYBODY).then_some(MacAddr(to)), payload })
}

/// What a frame asks for; none when it is no such question.
pub fn who_has(frame: &[u8]) -> Option<Question> {
    let arp = frame.get(12..)?.strip_prefix(&[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1])?;
    let (mac, rest) = arp.split_first_chunk::<6>()?;
    let (asks, rest) = rest.split_first_chunk::<4>()?;
    let address: [u8; 4] = *rest.get(6..)?.first_chunk()?;
    Some(Question { asks: (MacAddr(*mac), Ipv4Addr::from(*asks)), address: Ipv4Addr::from(address) })
}

/// The frame that says that the address is at the hardware address `own`.
pub fn is_here(own: MacAddr, Question { asks: (mac, asks), address }: Question) -> Vec<u8> {
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
