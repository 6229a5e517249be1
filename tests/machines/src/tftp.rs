//! TFTP as a client writes and reads it, with a codec of its own.

/// The port of requests.
pub const PORT: u16 = 69;
/// The error by which a client ends a transfer over its options (RFC 2347).
pub const REFUSES_OPTIONS: u16 = 8;
/// The error by which a client tells a stranger off (RFC 1350 § 4).
pub const UNKNOWN_TID: u16 = 5;

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer<'a> {
    /// A block.
    Data(u16, &'a [u8]),
    /// An error, and its words.
    Error(u16, &'a [u8]),
    /// What it grants, by name.
    Oack(Vec<(&'a str, u64)>),
}

impl<'a> FromServer<'a> {
    /// Reads a datagram; none when it is no packet of a server's.
    pub fn read(packet: &'a [u8]) -> Option<Self> {
        match packet {
            [0, 3, high, low, data @ ..] => Some(Self::Data(u16::from_be_bytes([*high, *low]), data)),
            [0, 5, high, low, words @ .., 0] => Some(Self::Error(u16::from_be_bytes([*high, *low]), words)),
            [0, 6, granted @ .., 0] => {
                let words: Option<Vec<&str>> =
                    granted.split(|byte| *byte == 0).map(|word| std::str::from_utf8(word).ok()).collect();
                let (pairs, rest) = words.as_deref()?.as_chunks::<2>();
                let pairs = pairs.iter().map(|[name, value]| Some((*name, value.parse().ok()?)));
                rest.is_empty().then(|| pairs.collect::<Option<_>>().map(Self::Oack))?
            }
            _ => None,
        }
    }
}

/// A request for `file` in octets, with these options.
pub fn read_request(file: &str, options: &[(&str, u64)]) -> Vec<u8> {
    let mut packet = [&[0, 1], file.as_bytes(), b"\0octet\0"].concat();
    for (name, value) in options {
        packet.extend(name.bytes().chain([0]).chain(value.to_string().bytes()).chain([0]));
    }
    packet
}

/// The acknowledgement of `block`.
pub fn acknowledgement(block: u16) -> Vec<u8> {
    [[0, 4], block.to_be_bytes()].concat()
}

/// An error.
pub fn error(code: u16, words: &str) -> Vec<u8> {
    [&[0, 5][..], &code.to_be_bytes(), words.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets() {
        assert_eq!(read_request("a", &[("tsize", 0)]), b"\0\x01a\0octet\0tsize\x000\0");
        assert_eq!(acknowledgement(258), b"\0\x04\x01\x02");
        assert_eq!(error(8, "no"), b"\0\x05\0\x08no\0");
        for (packet, expect) in [
            (&b"\0\x03\x01\x02ab"[..], Some(FromServer::Data(258, b"ab"))),
            (b"\0\x03\0\x01", Some(FromServer::Data(1, b""))),
            (b"\0\x05\0\x01no\0", Some(FromServer::Error(1, b"no"))),
            (b"\0\x06tsize\x005\0", Some(FromServer::Oack(vec![("tsize", 5)]))),
            (b"\0\x06a\x001\0b\x002\0", Some(FromServer::Oack(vec![("a", 1), ("b", 2)]))),
            (b"\0\x06tsize\0", None),
            (b"\0\x06tsize\0x\0", None),
            (b"\0\x06", None),
            (b"\0\x03\0", None),
            (b"\0\x05\0\x01no", None),
            (b"", None),
        ] {
            assert_eq!(FromServer::read(packet), expect, "{}", packet.escape_ascii());
        }
    }
}
