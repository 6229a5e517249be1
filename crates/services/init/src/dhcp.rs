//! As much of a DHCP client as it takes to fetch a root (RFC 2131 § 4.4, RFC 2132): four messages, no renewal. The system
//! that is started asks again by itself.

use std::net::Ipv4Addr;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
/// The options behind the fixed part and the cookie.
const OPTIONS: usize = 240;
/// What relays and old servers take for the least (RFC 1542 § 2.1).
const LEAST: usize = 300;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The interface's hardware address.
    pub mac: [u8; 6],
    /// The number that answers repeat.
    pub transaction: u32,
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It offers this.
    Offer(Lease),
    /// It gives this.
    Ack(Lease),
    /// It gives nothing: all is to begin anew.
    Nak,
}

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The client's address.
    pub address: Ipv4Addr,
    /// The network's prefix length.
    pub prefix: u8,
    /// The server that gives it.
    pub server: Ipv4Addr,
}

impl Client {
    /// "Who gives addresses?"
    pub fn discover(self) -> Vec<u8> {
        self.message(DISCOVER, &[])
    }

    /// "I take this offer."
    pub fn request(self, offer: Lease) -> Vec<u8> {
        let mut choice = vec![54, 4];
        choice.extend(offer.server.octets());
        choice.extend([50, 4]);
        choice.extend(offer.address.octets());
        self.message(REQUEST, &choice)
    }

    fn message(self, kind: u8, more: &[u8]) -> Vec<u8> {
        // A request from Ethernet, whose answer is to be broadcast: there is no address yet to send one to.
        let mut message = vec![1, 1, 6, 0];
        message.extend(self.transaction.to_be_bytes());
        message.extend([0, 0, 0x80, 0]);
        message.extend([0; 16]);
        message.extend(self.mac);
        message.resize(OPTIONS - COOKIE.len(), 0);
        message.extend(COOKIE);
        message.extend([53, 1, kind, 55, 2, 1, 3]);
        message.extend(more);
        message.push(0xff);
        message.resize(message.len().max(LEAST), 0);
        message
    }

    /// What `bytes` answer to this client; none when they do not.
    pub fn answer(self, bytes: &[u8]) -> Option<Answer> {
        let at = |start: usize, length: usize| bytes.get(start..start.checked_add(length)?);
        let address = |bytes: &[u8]| bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
        let ours = at(4, 4)? == self.transaction.to_be_bytes() && at(28, 6)? == self.mac;
        if at(0, 1)? != [2] || !ours || at(OPTIONS - COOKIE.len(), COOKIE.len())? != COOKIE {
            return None;
        }
        let (mut kind, mut mask, mut server) = (None, None, None);
        let mut options = bytes.get(OPTIONS..)?;
        while let Some((code, rest)) = options.split_first() {
            options = rest;
            let (length, rest) = match code {
                0 => continue,
                0xff => break,
                _ => rest.split_first()?,
            };
            let (value, rest) = rest.split_at_checked(usize::from(*length))?;
            match code {
                1 => mask = address(value),
                53 => kind = value.first().copied(),
                54 => server = address(value),
                _ => {}
            }
            options = rest;
        }
        let lease = || {
            let mask: u32 = mask.map_or(u32::MAX, Ipv4Addr::to_bits);
            let prefix = mask.leading_ones() as u8;
            Some(Lease { address: address(at(16, 4)?)?, prefix, server: server? })
        };
        match kind? {
            OFFER => lease().map(Answer::Offer),
            ACK => lease().map(Answer::Ack),
            NAK => Some(Answer::Nak),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLIENT: Client = Client { mac: [0x52, 0x54, 0, 0, 0, 0x11], transaction: 0x0102_0304 };

    fn answered(kind: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = CLIENT.message(kind, options);
        bytes[0] = 2;
        bytes[16..20].copy_from_slice(&[10, 77, 0, 11]);
        bytes
    }

    #[test]
    fn an_address_is_asked_for_and_taken() {
        let options = [1, 4, 255, 255, 255, 0, 0, 54, 4, 10, 77, 0, 1];
        let lease =
            Lease { address: Ipv4Addr::new(10, 77, 0, 11), prefix: 24, server: Ipv4Addr::new(10, 77, 0, 1) };
        assert_eq!(CLIENT.answer(&answered(OFFER, &options)), Some(Answer::Offer(lease)));
        assert_eq!(CLIENT.answer(&answered(ACK, &options)), Some(Answer::Ack(lease)));
        assert_eq!(CLIENT.answer(&answered(NAK, &[])), Some(Answer::Nak));
        assert_eq!(CLIENT.answer(&answered(OFFER, &[])), None, "a server that does not say who it is");
        assert_eq!(CLIENT.answer(&CLIENT.discover()), None, "the question");
        let other = Client { transaction: 5, ..CLIENT };
        assert_eq!(other.answer(&answered(ACK, &options)), None);
        let request = CLIENT.request(lease);
        assert!(request.windows(6).any(|part| part == [50, 4, 10, 77, 0, 11]));
        assert_eq!((request.len(), CLIENT.discover().len()), (LEAST, LEAST));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(
            options in proptest::collection::vec(any::<u8>(), 0..60), cut in 0usize..360,
        ) {
            let bytes = answered(OFFER, &options);
            let _ = CLIENT.answer(&bytes[..cut.min(bytes.len())]);
        }
    }
}
