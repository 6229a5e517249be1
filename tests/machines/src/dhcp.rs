//! DHCP as a boot firmware writes and reads it: a codec of its own, so that a mistake of the server's codec cannot hide
//! behind itself.
//!
//! It is as strict as firmware may be and then some: what RFC 2131 or PXE 2.1 does not allow in an answer is a fault
//! that is named, not a packet that is overlooked.

use std::net::Ipv4Addr;

use pilotlight_lab::MacAddr;

/// The server's UDP port.
pub const SERVER_PORT: u16 = 67;
/// The client's UDP port.
pub const CLIENT_PORT: u16 = 68;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// The fixed part with the cookie, in bytes.
const FIXED: usize = 240;
/// The shortest message that old relays pass on, in bytes (RFC 1542 § 2.1).
const SHORTEST: usize = 300;
/// The flag by which a client that cannot take unicast yet asks for a broadcast.
const BROADCAST: u16 = 0x8000;

/// The message types of RFC 2132 § 9.6 that a booting machine says or hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who has an address for me?
    Discover,
    /// I have.
    Offer,
    /// I take it.
    Request,
    /// It is yours.
    Ack,
    /// It is not.
    Nak,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Ack => 5,
            Self::Nak => 6,
        }
    }
}

/// What a machine asks.
#[derive(Debug, Clone)]
pub struct Question {
    /// DISCOVER or REQUEST.
    pub kind: Kind,
    /// Who asks.
    pub mac: MacAddr,
    /// The number of the exchange.
    pub xid: u32,
    /// Seconds since it began to ask.
    pub secs: u16,
    /// Whether it wants the answer by broadcast.
    pub broadcast: bool,
    /// The options but for the message type, in this order.
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Question {
    /// The UDP payload.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&self.xid.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.secs.to_be_bytes());
        let flags = if self.broadcast { BROADCAST } else { 0 };
        bytes[10..12].copy_from_slice(&flags.to_be_bytes());
        bytes[28..34].copy_from_slice(&self.mac.0);
        bytes[236..].copy_from_slice(&COOKIE);
        bytes.extend([53, 1, self.kind.number()]);
        for (code, value) in &self.options {
            // Firmware has no option longer than this.
            bytes.extend([*code, value.len() as u8]);
            bytes.extend(value);
        }
        bytes.push(255);
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes
    }
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not a DHCP message to a client on Ethernet.
    #[error("not an answer of a DHCP server: {0}")]
    NoAnswer(&'static str),
    /// An option runs past the end, or there is no end.
    #[error("the options have no end")]
    Endless,
    /// An option comes twice.
    #[error("option {0} comes twice")]
    Twice(u8),
    /// Options in `file` or `sname`: firmware reads `file` as a file.
    #[error("options in the boot file's field (option 52)")]
    Overloaded,
    /// A field that every answer has is missing or has a value that it must not have.
    #[error("{0}")]
    Field(&'static str),
}

/// An answer that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// OFFER, ACK or NAK.
    pub kind: Kind,
    /// The machine that it is for.
    pub mac: MacAddr,
    /// The number of the exchange.
    pub xid: u32,
    /// The address given; none in a NAK.
    pub address: Ipv4Addr,
    /// The server that has the boot file.
    pub next_server: Ipv4Addr,
    /// The boot file by the field, and by option 67.
    pub file: String,
    /// The DHCP server (option 54).
    pub server: Ipv4Addr,
    /// The lease in seconds; 0 in a NAK.
    pub lease_s: u32,
    options: Vec<(u8, Vec<u8>)>,
}

impl Answer {
    /// Reads the UDP payload of an answer.
    ///
    /// # Errors
    /// [`Fault`] names the first thing that is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
            return Err(Fault::NoAnswer("it is too short"));
        };
        if fixed[..3] != [2, 1, 6] {
            return Err(Fault::NoAnswer("not a reply over Ethernet"));
        }
        if fixed[236..] != COOKIE {
            return Err(Fault::NoAnswer("no magic cookie"));
        }
        if bytes.len() < SHORTEST {
            return Err(Fault::Field("shorter than 300 bytes (RFC 1542 § 2.1)"));
        }
        let options = options(rest)?;
        let find = |code: u8| options.iter().find(|(known, _)| *known == code).map(|(_, value)| &value[..]);
        if find(52).is_some() {
            return Err(Fault::Overloaded);
        }
        let kind = match find(53) {
            Some([2]) => Kind::Offer,
            Some([5]) => Kind::Ack,
            Some([6]) => Kind::Nak,
            _ => return Err(Fault::NoAnswer("its message type is none of a server's")),
        };
        let field = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
        let end = fixed[108..236].iter().position(|byte| *byte == 0).map(|length| 108 + length);
        let end = end.ok_or(Fault::Field("the boot file has no closing zero"))?;
        let file = String::from_utf8_lossy(&fixed[108..end]).into_owned();
        let mut mac = [0; 6];
        mac.copy_from_slice(&fixed[28..34]);
        let server = match find(54) {
            Some([a, b, c, d]) => Ipv4Addr::new(*a, *b, *c, *d),
            _ => return Err(Fault::Field("no server identifier (RFC 2131 § 4.3.1, table 3)")),
        };
        let lease_s = match (kind, find(51)) {
            (Kind::Nak, Some(_)) => return Err(Fault::Field("a lease in a NAK")),
            (Kind::Nak, None) => 0,
            (_, Some([a, b, c, d])) => u32::from_be_bytes([*a, *b, *c, *d]),
            _ => return Err(Fault::Field("no lease time (RFC 2131 § 4.3.1, table 3)")),
        };
        let answer = Self {
            kind,
            mac: MacAddr(mac),
            xid: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            address: field(16),
            next_server: field(20),
            file,
            server,
            lease_s,
            options,
        };
        answer.checked()
    }

    fn checked(self) -> Result<Self, Fault> {
        if (self.kind == Kind::Nak) != self.address.is_unspecified() {
            return Err(Fault::Field("an OFFER or an ACK gives an address, and a NAK none"));
        }
        let named = self.option(67).map(|name| String::from_utf8_lossy(name).into_owned());
        if named.is_some_and(|named| named != self.file) {
            return Err(Fault::Field("the boot file is another one in its field than in option 67"));
        }
        if self.option(60).is_some_and(|class| class == b"PXEClient") && self.option(43).is_none() {
            return Err(Fault::Field("PXEClient without option 43: the firmware would ask port 4011"));
        }
        Ok(self)
    }

    /// An option's bytes.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(known, _)| *known == code).map(|(_, value)| &value[..])
    }

    /// Whether it says that nobody else need be waited for: a PXE firmware by item 6 of option 43 (PXE 2.1 § 2.4.5),
    /// an iPXE by item 0xb0 of its own option 175.
    pub fn at_once(&self) -> bool {
        let is_set = |code: u8, item: u8, bit: u8| {
            let mut rest = self.option(code).unwrap_or_default();
            while let [found, length, after @ ..] = rest {
                let Some((value, after)) = after.split_at_checked(usize::from(*length)) else { return false };
                if *found == item {
                    return value.first().is_some_and(|value| value & bit == bit);
                }
                rest = after;
            }
            false
        };
        is_set(43, 6, 8) || is_set(175, 0xb0, 1)
    }
}

fn options(mut rest: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, Fault> {
    let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
    loop {
        match rest {
            [] => return Err(Fault::Endless),
            [0, after @ ..] => rest = after,
            [255, padding @ ..] => {
                let clean = padding.iter().all(|byte| *byte == 0);
                return if clean { Ok(options) } else { Err(Fault::Field("bytes behind the end")) };
            }
            [code, length, after @ ..] => {
                let (value, after) = after.split_at_checked(usize::from(*length)).ok_or(Fault::Endless)?;
                let again = options.iter().any(|(known, _)| known == code);
                match options.last_mut() {
                    // RFC 3396: the pieces of one that is longer than 255 bytes.
                    Some((last, whole)) if last == code && whole.len() % 255 == 0 => whole.extend(value),
                    _ if again => return Err(Fault::Twice(*code)),
                    _ => options.push((*code, value.to_vec())),
                }
                rest = after;
            }
            [_] => return Err(Fault::Endless),
        }
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::{Decodable as _, Decoder, v4};
    use proptest::prelude::*;

    use super::*;

    fn question() -> Question {
        Question {
            kind: Kind::Request,
            mac: MacAddr([0x52, 0x54, 0, 0, 0, 9]),
            xid: 0x0102_0304,
            secs: 7,
            broadcast: true,
            options: vec![(50, vec![10, 77, 0, 9]), (93, vec![0, 7]), (97, vec![0; 17])],
        }
    }

    #[test]
    fn another_reader_reads_what_is_written() {
        let bytes = question().write();
        assert_eq!(bytes.len(), SHORTEST);
        let read = v4::Message::decode(&mut Decoder::new(&bytes)).unwrap();
        assert_eq!(read.opts().msg_type(), Some(v4::MessageType::Request));
        assert_eq!((read.xid(), read.secs(), read.chaddr()), (0x0102_0304, 7, &question().mac.0[..]));
        assert!(read.flags().broadcast());
        let requested = read.opts().get(v4::OptionCode::RequestedIpAddress);
        assert_eq!(requested, Some(&v4::DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 77, 0, 9))));
    }

    /// An answer, by hand.
    fn answer(kind: u8, options: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[..3].copy_from_slice(&[2, 1, 6]);
        bytes[16..20].copy_from_slice(&[10, 77, 0, 9]);
        bytes[20..24].copy_from_slice(&[10, 77, 0, 1]);
        bytes[108..116].copy_from_slice(b"ipxe.efi");
        bytes[236..].copy_from_slice(&COOKIE);
        bytes.extend([53, 1, kind, 54, 4, 10, 77, 0, 1, 51, 4, 0, 0, 0, 120]);
        options.iter().for_each(|option| bytes.extend(*option));
        bytes.push(255);
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes
    }

    #[test]
    fn a_good_answer_is_read() {
        let bytes = answer(2, &[b"\x43\x08ipxe.efi", b"\x3c\x09PXEClient", &[43, 4, 6, 1, 8, 255]]);
        let read = Answer::read(&bytes).unwrap();
        assert_eq!((read.kind, read.address, read.lease_s), (Kind::Offer, Ipv4Addr::new(10, 77, 0, 9), 120));
        assert_eq!(read.file, "ipxe.efi");
        assert!(read.at_once());
        let ipxe = Answer::read(&answer(5, &[&[175, 3, 0xb0, 1, 1]])).unwrap();
        assert!(ipxe.at_once() && ipxe.kind == Kind::Ack);
    }

    #[test]
    fn each_fault_has_its_name() {
        for (bytes, fault) in [
            (answer(2, &[])[..239].to_vec(), Fault::NoAnswer("it is too short")),
            (question().write(), Fault::NoAnswer("not a reply over Ethernet")),
            (answer(1, &[]), Fault::NoAnswer("its message type is none of a server's")),
            (answer(2, &[&[52, 1, 1]]), Fault::Overloaded),
            (answer(2, &[&[3, 4, 1, 2, 3, 4], &[6, 1, 1], &[3, 1, 1]]), Fault::Twice(3)),
            (answer(2, &[&[3, 200]]), Fault::Endless),
            (
                answer(2, &[b"\x43\x02it"]),
                Fault::Field("the boot file is another one in its field than in option 67"),
            ),
            (
                answer(2, &[b"\x3c\x09PXEClient"]),
                Fault::Field("PXEClient without option 43: the firmware would ask port 4011"),
            ),
            (answer(6, &[]), Fault::Field("a lease in a NAK")),
        ] {
            assert_eq!(Answer::read(&bytes).unwrap_err(), fault);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Answer::read(&bytes);
            let mut answer = answer(2, &[]);
            answer.truncate(FIXED);
            answer.extend(bytes);
            if let Ok(read) = Answer::read(&answer) {
                read.at_once();
            }
        }
    }
}
