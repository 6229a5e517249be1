//! The messages of rtnetlink(7) that it takes to bring an interface up with an address, and down again: what is asked, and
//! what the kernel says to it.

use std::net::Ipv4Addr;

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const ERROR: u16 = 2;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST: u16 = 0x1 | 0x4;
/// `NLM_F_REPLACE | NLM_F_CREATE`.
const PUT: u16 = 0x100 | 0x400;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
const INET: u8 = 2;
const UP: u32 = 1;
/// `IFA_ADDRESS`, `IFA_LOCAL`, `IFA_BROADCAST`.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const BROADCAST: u16 = 4;

/// Switch the interface with this index on.
pub fn up(index: u32) -> Vec<u8> {
    // struct ifinfomsg: any family, any type, the index, the flags and which of them are meant.
    let body = [0, index, UP, UP].map(u32::to_ne_bytes).concat();
    message(NEW_LINK, REQUEST, &body)
}

/// Switch it off.
pub fn down(index: u32) -> Vec<u8> {
    let body = [0, index, 0, UP].map(u32::to_ne_bytes).concat();
    message(NEW_LINK, REQUEST, &body)
}

/// Give it this address, with what follows from the prefix; one that is there already stays.
pub fn address(index: u32, address: Ipv4Addr, prefix: u8) -> Vec<u8> {
    // struct ifaddrmsg: family, prefix, no flags, valid everywhere, the index.
    let mut body = vec![INET, prefix, 0, 0];
    body.extend(index.to_ne_bytes());
    let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let broadcast = Ipv4Addr::from_bits(address.to_bits() | host_bits);
    for (kind, value) in [(ADDRESS, address), (LOCAL, address), (BROADCAST, broadcast)] {
        // struct rtattr: its length with this header, its kind.
        body.extend([8_u16, kind].map(u16::to_ne_bytes).concat());
        body.extend(value.octets());
    }
    message(NEW_ADDRESS, REQUEST | PUT, &body)
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = (HEADER + body.len()) as u32;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend([kind, flags].map(u16::to_ne_bytes).concat());
    // No sequence number, no port: there is one question at a time, and the kernel fills in whose.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// What the kernel says to a message: the error's number, 0 for none. Nothing if `bytes` are no such answer.
pub fn answer(bytes: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let error = i32::from_ne_bytes(bytes.get(HEADER..HEADER + 4)?.try_into().ok()?);
    (kind == ERROR).then_some(error.wrapping_neg())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_as_the_kernel_reads_them() {
        let up = up(2);
        assert_eq!(up.len(), 32);
        assert_eq!(up[..8], [32, 0, 0, 0, 16, 0, 5, 0]);
        assert_eq!(up[16..], [0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(down(2)[16..], [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        let address = address(3, Ipv4Addr::new(10, 77, 0, 1), 24);
        assert_eq!(address[..8], [48, 0, 0, 0, 20, 0, 5, 5]);
        assert_eq!(address[16..24], [2, 24, 0, 0, 3, 0, 0, 0]);
        assert_eq!(address[24..32], [8, 0, 1, 0, 10, 77, 0, 1]);
        assert_eq!(address[32..40], [8, 0, 2, 0, 10, 77, 0, 1]);
        assert_eq!(address[40..], [8, 0, 4, 0, 10, 77, 0, 255]);
    }

    #[test]
    fn answers_are_told_from_other_messages() {
        let said = |kind: u16, error: i32| {
            let mut bytes = message(kind, 0, &error.to_ne_bytes());
            bytes.extend([0; 16]);
            answer(&bytes)
        };
        assert_eq!(said(ERROR, 0), Some(0));
        assert_eq!(said(ERROR, -17), Some(17));
        assert_eq!(said(NEW_LINK, 0), None);
        assert_eq!(answer(&[0; 19]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = answer(&bytes);
        }
    }
}
