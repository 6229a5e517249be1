//! Ethernet frames built by hand, for machines that cannot answer ARP yet: an OFFER goes to an address that
//! its machine does not have (RFC 2131 § 4.1). And ARP itself, to see whether somebody has that address (RFC 826).

use std::net::Ipv4Addr;

use pilotlight_lab::MacAddr;

use crate::packet::{CLIENT_PORT, SERVER_PORT};

/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// An ARP packet for IPv4 over Ethernet begins with this: both kinds of address, and their lengths.
const ARP_OVER_ETHERNET: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u8 = 17;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const TIME_TO_LIVE: u8 = 64;

/// One end of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The hardware address.
    pub mac: MacAddr,
    /// The IPv4 address.
    pub address: Ipv4Addr,
}

/// The frame (Ethernet, IPv4 and UDP headers, payload) that carries `payload` from the server's port to the
/// client's. None when the payload does not fit into one IPv4 packet.
pub fn frame(from: End, to: End, payload: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(UDP_HEADER + payload.len()).ok()?;
    let ip_length = udp_length.checked_add(IP_HEADER as u16)?;

    let mut ip = [0; IP_HEADER];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&ip_length.to_be_bytes());
    ip[8] = TIME_TO_LIVE;
    ip[9] = UDP;
    ip[12..16].copy_from_slice(&from.address.octets());
    ip[16..20].copy_from_slice(&to.address.octets());
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());

    let mut udp = [0; UDP_HEADER];
    udp[0..2].copy_from_slice(&SERVER_PORT.to_be_bytes());
    udp[2..4].copy_from_slice(&CLIENT_PORT.to_be_bytes());
    udp[4..6].copy_from_slice(&udp_length.to_be_bytes());
    let pseudo = [&ip[12..20], &[0, UDP], &udp_length.to_be_bytes()].concat();
    // RFC 768: a sum of zero is sent as all ones, for zero means that there is none.
    let sum = match checksum(&[&pseudo, &udp, payload]) {
        0 => u16::MAX,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());

    Some([&to.mac.0[..], &from.mac.0, &ETHERTYPE_IPV4, &ip, &udp, payload].concat())
}

/// The frame that asks everybody on the wire who has `address`.
pub fn who_has(from: End, address: Ipv4Addr) -> Vec<u8> {
    let (everybody, nobody, request) = ([0xff; 6], [0; 6], [0, 1]);
    let own = [&from.mac.0[..], &from.address.octets()].concat();
    let wanted = [&nobody[..], &address.octets()].concat();
    [&everybody[..], &from.mac.0, &ARP.to_be_bytes(), &ARP_OVER_ETHERNET, &request, &own, &wanted].concat()
}

/// Who says by this frame that it has which address; none when it is no such frame, or says nothing of the kind.
pub fn has(frame: &[u8]) -> Option<End> {
    let arp = frame.get(12..)?.strip_prefix(&ARP.to_be_bytes())?.strip_prefix(&ARP_OVER_ETHERNET)?;
    // Question and answer alike begin with who speaks, behind the two bytes that tell them apart.
    let (mac, rest) = arp.get(2..)?.split_first_chunk()?;
    let address = Ipv4Addr::from(*rest.first_chunk::<4>()?);
    let mac = MacAddr(*mac);
    (!address.is_unspecified() && !mac.is_group()).then_some(End { mac, address })
}

/// The Internet checksum (RFC 1071) over the parts one after another. All parts but the last have an even
/// length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum = words.fold(0u64, |sum, word| {
        let low = word.get(1).copied().unwrap_or(0);
        sum + u64::from(u16::from_be_bytes([word[0], low]))
    });
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SERVER: End = End { mac: MacAddr([2, 0, 0, 0, 0, 1]), address: Ipv4Addr::new(10, 77, 0, 1) };
    const CLIENT: End = End { mac: MacAddr([2, 0, 0, 0, 0, 2]), address: Ipv4Addr::new(10, 77, 0, 9) };

    #[test]
    fn rfc1071_example_sums_up() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }

    #[test]
    fn a_frame_is_laid_out_as_the_standards_say() {
        let frame = frame(SERVER, CLIENT, b"odd").unwrap();
        assert_eq!(frame.len(), 14 + 20 + 8 + 3);
        assert_eq!(frame[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
        assert_eq!(frame[14..24], [0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17]);
        assert_eq!(frame[34..40], [0, 67, 0, 68, 0, 11]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(frame(SERVER, CLIENT, &vec![0; 65536]), None);
        assert_eq!(frame(SERVER, CLIENT, &vec![0; 65508]), None);
        assert!(frame(SERVER, CLIENT, &vec![0; 65507]).is_some());
    }

    #[test]
    fn arp_is_laid_out_as_rfc826_says() {
        let asked = who_has(SERVER, CLIENT.address);
        assert_eq!(
            asked[..22],
            [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]
        );
        assert_eq!(asked[22..], [2, 0, 0, 0, 0, 1, 10, 77, 0, 1, 0, 0, 0, 0, 0, 0, 10, 77, 0, 9]);
        assert_eq!(has(&asked), Some(SERVER), "who asks has an address too");
    }

    #[test]
    fn only_who_says_so_has_an_address() {
        let mut answer = who_has(CLIENT, SERVER.address);
        answer[21] = 2;
        assert_eq!(has(&answer), Some(CLIENT));
        for (at, value, what) in [
            (12, 0x86, "another protocol"),
            (15, 6, "other hardware"),
            (17, 1, "other addresses"),
            (18, 8, "longer ones"),
            (22, 3, "a group's hardware address"),
        ] {
            let mut bytes = answer.clone();
            bytes[at] = value;
            assert_eq!(has(&bytes), None, "{what}");
        }
        let probe = who_has(End { address: Ipv4Addr::UNSPECIFIED, ..CLIENT }, SERVER.address);
        assert_eq!(has(&probe), None, "RFC 5227 § 1.1: a probe claims nothing");
        assert!((0..32).all(|length| has(&answer[..length]).is_none()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            has(&bytes);
        }

        #[test]
        fn a_receiver_finds_both_checksums_right(payload in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let frame = frame(SERVER, CLIENT, &payload).unwrap();
            let (ip, udp) = (&frame[14..34], &frame[34..]);
            prop_assert_eq!(checksum(&[ip]), 0);
            let length = (udp.len() as u16).to_be_bytes();
            prop_assert_eq!(checksum(&[&ip[12..20], &[0, 17], &length, udp]), 0);
        }
    }
}
