//! The packets of RFC 1350 and RFC 2347, read from and written to bytes. Knows nothing of transfers.

/// The port that requests come to.
pub const PORT: u16 = 69;

/// Bytes before a block's data: opcode and block number.
pub const DATA_HEADER: usize = 4;

/// The longest request that is read, in bytes. RFC 2347 § "Packet Formats" ends at 512; a few more do no harm.
pub const LONGEST_REQUEST: usize = 2048;

const RRQ: u16 = 1;
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// Error codes of RFC 1350 (0 to 7) and RFC 2347 (8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// Not defined: the message says what it is.
    Undefined = 0,
    /// File not found.
    NotFound = 1,
    /// Access violation.
    Access = 2,
    /// Illegal operation.
    Illegal = 4,
    /// Unknown transfer ID.
    UnknownTid = 5,
}

/// The client aborts because it does not want the options: what EDK2 sends after it has learnt the size.
pub const ABORTED_OVER_OPTIONS: u16 = 8;

/// A request to read a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The name as it was sent: never empty, no zero byte in it.
    pub file: Vec<u8>,
    /// How the bytes are to travel.
    pub mode: Mode,
    /// What the client asked for.
    pub options: Asked,
}

/// How a file's bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As they are.
    Octet,
    /// As lines of text: LF becomes CR LF, CR becomes CR NUL (RFC 764 by way of RFC 1350 § 1).
    Netascii,
}

/// The options of a request that this server understands and that have a usable value; all others are left
/// out of the answer, as RFC 2347 wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// RFC 2348: bytes in a block, 8 to 65464. What is above comes as 65464: an answer may be smaller.
    pub blksize: Option<u16>,
    /// RFC 7440: blocks in a window, 1 to 65535.
    pub windowsize: Option<u16>,
    /// RFC 2349: the client wants to know the size.
    pub tsize: bool,
    /// RFC 2349: seconds to wait before sending again, 1 to 255.
    pub timeout: Option<u8>,
}

/// Why a packet at the server's own port starts no transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not even an opcode, or an unknown one.
    #[error("not a TFTP packet")]
    Garbage,
    /// A packet of a transfer, sent to the port for requests.
    #[error("a transfer's packet at the port for requests")]
    Stray,
    /// A request to write.
    #[error("a request to write: this server only sends")]
    Write,
    /// A request without a name, without a mode, or cut short.
    #[error("a malformed request")]
    Malformed,
    /// A mode other than octet and netascii.
    #[error("an unknown transfer mode")]
    Mode,
}

impl Refusal {
    /// The error to answer with; none where any answer would be wrong, because an ERROR must never answer
    /// what may be an ERROR, and garbage may come from a forged address.
    pub fn code(self) -> Option<Code> {
        match self {
            Self::Garbage | Self::Stray => None,
            Self::Write => Some(Code::Access),
            Self::Malformed | Self::Mode => Some(Code::Illegal),
        }
    }

    /// [`Refusal`]'s text, as a fixed string for counting.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Garbage => "not a TFTP packet",
            Self::Stray => "a transfer's packet at the port for requests",
            Self::Write => "a request to write: this server only sends",
            Self::Malformed => "a malformed request",
            Self::Mode => "an unknown transfer mode",
        }
    }
}

impl Request {
    /// Reads what came to the port for requests.
    ///
    /// # Errors
    /// [`Refusal`] for all that is no request to read.
    pub fn parse(packet: &[u8]) -> Result<Self, Refusal> {
        let (opcode, body) = opcode(packet).ok_or(Refusal::Garbage)?;
        match opcode {
            RRQ => {}
            WRQ => return Err(Refusal::Write),
            DATA..=OACK => return Err(Refusal::Stray),
            _ => return Err(Refusal::Garbage),
        }
        let (file, body) = string(body).ok_or(Refusal::Malformed)?;
        let (mode, mut body) = string(body).ok_or(Refusal::Malformed)?;
        if file.is_empty() {
            return Err(Refusal::Malformed);
        }
        let mode = match () {
            () if mode.eq_ignore_ascii_case(b"octet") => Mode::Octet,
            () if mode.eq_ignore_ascii_case(b"netascii") => Mode::Netascii,
            () => return Err(Refusal::Mode),
        };
        let mut options = Asked::default();
        // Some ROMs pad a request with zero bytes or cut off the last one: options end where they stop making
        // sense, and what came before still counts.
        while let Some((name, rest)) = string(body).filter(|(name, _)| !name.is_empty()) {
            let Some((value, rest)) = string(rest) else { break };
            options.add(name, value);
            body = rest;
        }
        Ok(Self { file: file.to_vec(), mode, options })
    }
}

impl Asked {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        let Some(value) = number(value) else { return };
        let within = |low: u64, high: u64| (low..=high).contains(&value).then_some(value);
        // An option given twice keeps its first value.
        if name.eq_ignore_ascii_case(b"blksize") {
            let size = within(8, u64::MAX).map(|size| size.min(65464) as u16);
            self.blksize = self.blksize.or(size);
        } else if name.eq_ignore_ascii_case(b"windowsize") {
            self.windowsize = self.windowsize.or(within(1, 65535).map(|size| size as u16));
        } else if name.eq_ignore_ascii_case(b"tsize") {
            self.tsize = true;
        } else if name.eq_ignore_ascii_case(b"timeout") {
            self.timeout = self.timeout.or(within(1, 255).map(|seconds| seconds as u8));
        }
    }
}

/// What a client sends within a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// It has everything up to this block.
    Ack(u16),
    /// It gives up.
    Error {
        /// The code, of which RFC 1350 knows 0 to 7.
        code: u16,
        /// The words that came with it, made printable and at most 128 characters long.
        message: String,
    },
}

impl FromClient {
    /// Reads what came to a transfer's own port; none for what does not belong there.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (opcode, body) = opcode(packet)?;
        let (number, body) = self::opcode(body)?;
        match opcode {
            ACK => Some(Self::Ack(number)),
            ERROR => {
                let text = string(body).map_or(body, |(text, _)| text);
                let printable = String::from_utf8_lossy(text);
                let printable = printable.chars().filter(|letter| !letter.is_control());
                Some(Self::Error { code: number, message: printable.take(128).collect() })
            }
            _ => None,
        }
    }
}

/// The first four bytes of a block's packet.
pub fn data_header(block: u16) -> [u8; DATA_HEADER] {
    let [[a, b], [c, d]] = [DATA.to_be_bytes(), block.to_be_bytes()];
    [a, b, c, d]
}

/// An ERROR packet.
pub fn error(code: Code, message: &str) -> Vec<u8> {
    let mut packet = [ERROR.to_be_bytes(), (code as u16).to_be_bytes()].concat();
    packet.extend(message.bytes().filter(|byte| *byte != 0));
    packet.push(0);
    packet
}

/// An OACK packet with these options.
pub fn oack(options: &[(&str, u64)]) -> Vec<u8> {
    let mut packet = OACK.to_be_bytes().to_vec();
    for (name, value) in options {
        packet.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    packet
}

fn opcode(packet: &[u8]) -> Option<(u16, &[u8])> {
    packet.split_first_chunk().map(|(number, rest)| (u16::from_be_bytes(*number), rest))
}

fn string(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let (text, rest) = body.split_at(end);
    Some((text, rest.get(1..)?))
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(blksize: u16, windowsize: u16, timeout: u8, tsize: bool) -> Asked {
        let given = |value| (value > 0).then_some(value);
        Asked {
            blksize: given(blksize),
            windowsize: given(windowsize),
            tsize,
            timeout: Some(timeout).filter(|seconds| *seconds > 0),
        }
    }

    #[test]
    fn requests() {
        let check = |packet: &[u8], expect: Result<(&str, Mode, Asked), Refusal>| {
            let expect = expect.map(|(file, mode, options)| Request { file: file.into(), mode, options });
            assert_eq!(Request::parse(packet), expect, "{}", packet.escape_ascii());
        };
        use Mode::{Netascii, Octet};
        let none = Asked::default();
        check(b"\0\x01pxelinux.0\0octet\0", Ok(("pxelinux.0", Octet, none)));
        check(b"\0\x01a b\0OCTET\0", Ok(("a b", Octet, none)));
        check(b"\0\x01a\0NetASCII\0", Ok(("a", Netascii, none)));
        // What pxelinux sends.
        check(b"\0\x01a\0octet\0tsize\x000\0blksize\x001408\0", Ok(("a", Octet, asked(1408, 0, 0, true))));
        // What EDK2 sends.
        check(
            b"\0\x01ipxe.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0",
            Ok(("ipxe.efi", Octet, asked(1468, 4, 0, true))),
        );
        // What U-Boot sends.
        check(
            b"\0\x01a\0octet\0timeout\x005\0tsize\x000\0blksize\x001468\0",
            Ok(("a", Octet, asked(1468, 0, 5, true))),
        );
        check(b"\0\x01a\0octet\0BlkSize\x0099999\0", Ok(("a", Octet, asked(65464, 0, 0, false))));
        check(b"\0\x01a\0octet\0blksize\x007\0", Ok(("a", Octet, none)));
        check(b"\0\x01a\0octet\0blksize\0-9\0windowsize\x000\0timeout\x00256\0", Ok(("a", Octet, none)));
        check(b"\0\x01a\0octet\0blksize\0+9\0blksize\0\0blksize\x001e3\0", Ok(("a", Octet, none)));
        check(b"\0\x01a\0octet\0blksize\x00512\0blksize\x00600\0", Ok(("a", Octet, asked(512, 0, 0, false))));
        check(b"\0\x01a\0octet\0multicast\0\0blksize\x00512\0", Ok(("a", Octet, asked(512, 0, 0, false))));
        // Padded, and cut short.
        check(b"\0\x01a\0octet\0\0\0\0\0", Ok(("a", Octet, none)));
        check(b"\0\x01a\0octet\0blksize\x00512\0tsize\x000", Ok(("a", Octet, asked(512, 0, 0, false))));
        check(b"", Err(Refusal::Garbage));
        check(b"\0", Err(Refusal::Garbage));
        check(b"\0\0", Err(Refusal::Garbage));
        check(b"\x01\0a\0octet\0", Err(Refusal::Garbage));
        check(b"\0\x07", Err(Refusal::Garbage));
        check(b"\0\x02a\0octet\0", Err(Refusal::Write));
        check(b"\0\x03\0\x01data", Err(Refusal::Stray));
        check(b"\0\x04\0\x01", Err(Refusal::Stray));
        check(b"\0\x05\0\x01x\0", Err(Refusal::Stray));
        check(b"\0\x06", Err(Refusal::Stray));
        check(b"\0\x01", Err(Refusal::Malformed));
        check(b"\0\x01a", Err(Refusal::Malformed));
        check(b"\0\x01a\0", Err(Refusal::Malformed));
        check(b"\0\x01a\0octet", Err(Refusal::Malformed));
        check(b"\0\x01\0octet\0", Err(Refusal::Malformed));
        check(b"\0\x01a\0mail\0", Err(Refusal::Mode));
        check(b"\0\x01a\0\0", Err(Refusal::Mode));
    }

    #[test]
    fn clients() {
        let check = |packet: &[u8], expect: Option<FromClient>| {
            assert_eq!(FromClient::parse(packet), expect, "{}", packet.escape_ascii());
        };
        let error = |code, text: &str| Some(FromClient::Error { code, message: text.to_owned() });
        check(b"\0\x04\x01\x02", Some(FromClient::Ack(258)));
        check(b"\0\x04\x01\x02more", Some(FromClient::Ack(258)));
        check(b"\0\x04\x01", None);
        check(b"\0\x03\0\x01", None);
        check(b"\0\x05\0\x08User aborted\0", error(8, "User aborted"));
        check(b"\0\x05\0\x08User\x1b[0m\n", error(8, "User[0m"));
        check(b"\0\x05\0\x00", error(0, ""));
        check(b"", None);
    }

    #[test]
    fn answers() {
        assert_eq!(error(Code::NotFound, "no such file"), b"\0\x05\0\x01no such file\0");
        assert_eq!(oack(&[("tsize", 5), ("blksize", 1408)]), b"\0\x06tsize\x005\0blksize\x001408\0");
        assert_eq!(data_header(0xfffe), *b"\0\x03\xff\xfe");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(head in 0u8..8, packet in proptest::collection::vec(any::<u8>(), 0..600)) {
            for packet in [packet.clone(), [&[0, head], &packet[..]].concat()] {
                let _ = FromClient::parse(&packet);
                if let Ok(request) = Request::parse(&packet) {
                    prop_assert!(!request.file.is_empty() && !request.file.contains(&0));
                    prop_assert!(request.options.blksize.is_none_or(|size| (8..=65464).contains(&size)));
                    prop_assert!(request.options.windowsize != Some(0) && request.options.timeout != Some(0));
                }
            }
        }

        #[test]
        fn every_cut_of_a_request_is_read_or_refused(cut in 0usize..64) {
            let packet = b"\0\x01ipxe.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0";
            let _ = Request::parse(&packet[..cut.min(packet.len())]);
        }
    }
}
