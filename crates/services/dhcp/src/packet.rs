//! DHCP messages on the wire: checked before they are believed, written so that old firmware reads them.
//!
//! `dhcproto` is the codec for the fixed part and for long options. Options stay the bytes that they were:
//! what a client sends is compared and echoed, and one option that nobody can read must not hide the others.

use std::{collections::BTreeMap, net::Ipv4Addr};

use dhcproto::v4::{
    self, Encodable as _, Encoder, Flags, HType, MAGIC, MessageType, Opcode, OptionCode,
    encode_long_opt_bytes,
};
use pilotlight_lab::MacAddr;

/// The UDP port of a boot server (PXE 2.1 § 2.2.1).
pub const BOOT_PORT: u16 = 4011;
/// The server's UDP port.
pub const SERVER_PORT: u16 = 67;
/// The client's UDP port.
pub const CLIENT_PORT: u16 = 68;

/// The fixed part of a message with the cookie, in bytes.
pub(crate) const FIXED: usize = 240;
/// The shortest message that every relay and client takes, in bytes (RFC 1542 § 2.1).
const SHORTEST: usize = 300;
/// IP and UDP headers, in bytes: option 57 counts them in.
const HEADERS: usize = 28;
/// What a client takes at least, headers included, in bytes (RFC 2131 § 2).
const LEAST_ACCEPTED: u16 = 576;
/// What goes over Ethernet in one piece, in bytes.
const ETHERNET_MTU: u16 = 1500;
/// What the `file` field holds beside its closing NUL, in bytes.
const FILE_ROOM: usize = 127;

/// A message that cannot be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Too short for the fixed part.
    #[error("truncated: {0} bytes, and the shortest DHCP message has 240")]
    Truncated(usize),
    /// Not Ethernet.
    #[error("hardware type {0}, only Ethernet (1) is served")]
    HardwareType(u8),
    /// Not an Ethernet address.
    #[error("hlen {0}, an Ethernet address has 6 bytes")]
    HardwareLength(u8),
    /// A hardware address that no machine can have.
    #[error("{0} is no machine's hardware address")]
    HardwareAddress(MacAddr),
    /// Plain BOOTP, or no DHCP at all.
    #[error("no DHCP magic cookie")]
    NoCookie,
    /// An option is longer than the message.
    #[error("option {0} runs past the end of the message")]
    OptionOverrun(u8),
    /// Plain BOOTP with vendor options.
    #[error("no message type (option 53)")]
    NoType,
}

impl Malformed {
    /// A short fixed name for counting.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Truncated(_) => "truncated",
            Self::HardwareType(_) => "hardware-type",
            Self::HardwareLength(_) => "hlen",
            Self::HardwareAddress(_) => "hardware-address",
            Self::NoCookie => "no-cookie",
            Self::OptionOverrun(_) => "option-overrun",
            Self::NoType => "no-message-type",
        }
    }
}

/// A message whose fixed part and option framing hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Request or reply.
    pub op: Opcode,
    /// Option 53.
    pub kind: MessageType,
    /// The machine's hardware address.
    pub mac: MacAddr,
    /// The client's number for this exchange.
    pub xid: u32,
    /// The flags, of which only the broadcast bit means something.
    pub flags: Flags,
    /// The address that the client has and answers on, or 0.0.0.0.
    pub ciaddr: Ipv4Addr,
    /// The address that the client is given.
    pub yiaddr: Ipv4Addr,
    /// The next server to boot from.
    pub siaddr: Ipv4Addr,
    /// The relay that passed the message on, or 0.0.0.0.
    pub giaddr: Ipv4Addr,
    /// The options by code, each put together from all its pieces (RFC 3396).
    pub options: BTreeMap<u8, Vec<u8>>,
}

impl Packet {
    /// Reads a message.
    ///
    /// # Errors
    /// [`Malformed`] names the first thing that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let truncated = |_| Malformed::Truncated(bytes.len());
        let fixed: &[u8; FIXED] = bytes
            .get(..FIXED)
            .and_then(|fixed| fixed.try_into().ok())
            .ok_or(Malformed::Truncated(bytes.len()))?;
        if fixed[1] != u8::from(HType::Eth) {
            return Err(Malformed::HardwareType(fixed[1]));
        }
        // Before the codec sees it: its `chaddr()` panics on more than 16.
        if fixed[2] != 6 {
            return Err(Malformed::HardwareLength(fixed[2]));
        }
        if fixed[236..] != MAGIC {
            return Err(Malformed::NoCookie);
        }
        let header = v4::borrowed::Message::new(bytes).map_err(truncated)?;
        let mac = MacAddr(header.chaddr().try_into().map_err(|_| Malformed::HardwareLength(fixed[2]))?);
        if mac.is_group() || mac.0 == [0; 6] {
            return Err(Malformed::HardwareAddress(mac));
        }
        let options = all_options(bytes)?;
        let Some([kind]) = options.get(&53).map(Vec::as_slice) else { return Err(Malformed::NoType) };
        Ok(Self {
            op: header.opcode(),
            kind: MessageType::from(*kind),
            mac,
            xid: header.xid(),
            flags: header.flags(),
            ciaddr: header.ciaddr(),
            yiaddr: header.yiaddr(),
            siaddr: header.siaddr(),
            giaddr: header.giaddr(),
            options,
        })
    }

    /// An option's bytes.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(&code).map(Vec::as_slice)
    }

    /// An option that is one address; none when it is absent or of another length.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(self.option(code)?).ok().map(Ipv4Addr::from)
    }

    /// An option that starts with a number of two bytes.
    pub fn number16(&self, code: u8) -> Option<u16> {
        self.option(code)?.first_chunk().copied().map(u16::from_be_bytes)
    }

    /// An option that is a number of four bytes.
    pub fn number32(&self, code: u8) -> Option<u32> {
        <[u8; 4]>::try_from(self.option(code)?).ok().map(u32::from_be_bytes)
    }

    /// The address that says which network the client is on: what its relay says (RFC 3527), else what the client
    /// says (RFC 3011), else the relay's own; none when it is on the server's wire.
    pub fn link(&self) -> Option<Ipv4Addr> {
        let relay = (self.giaddr != Ipv4Addr::UNSPECIFIED).then_some(self.giaddr);
        self.relay_address(5).or_else(|| self.address(118)).or(relay)
    }

    /// The address by which the relay wants the server to be known to the client, so that it sees renewals as well
    /// (RFC 5107); none when it says nothing of it.
    pub fn server_override(&self) -> Option<Ipv4Addr> {
        self.relay_address(11)
    }

    /// An address among what the relay added (RFC 3046 § 2.0). Without a relay nobody may have added it (§ 2.1.1).
    fn relay_address(&self, code: u8) -> Option<Ipv4Addr> {
        if self.giaddr == Ipv4Addr::UNSPECIFIED {
            return None;
        }
        let mut rest = self.option(82)?;
        while let [found, length, after @ ..] = rest {
            let (value, after) = after.split_at_checked(usize::from(*length))?;
            if *found == code {
                return <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
            }
            rest = after;
        }
        None
    }

    /// Whether the client wants this option, which it does for all of them when it names none (option 55).
    pub fn wants(&self, code: u8) -> bool {
        self.option(55).is_none_or(|wanted| wanted.contains(&code))
    }

    /// The longest message that the client takes, in bytes without IP and UDP headers (option 57).
    pub fn room(&self) -> usize {
        let accepted = self.number16(57).unwrap_or(LEAST_ACCEPTED).clamp(LEAST_ACCEPTED, ETHERNET_MTU);
        usize::from(accepted) - HEADERS
    }
}

/// The options of a whole message: those at its end, then those that option 52 puts into `file` and `sname`.
fn all_options(bytes: &[u8]) -> Result<BTreeMap<u8, Vec<u8>>, Malformed> {
    let mut options = BTreeMap::new();
    add_options(&bytes[FIXED..], &mut options)?;
    let overload = options.get(&52).and_then(|value: &Vec<u8>| value.first().copied()).unwrap_or(0);
    if overload & 1 != 0 {
        add_options(&bytes[108..236], &mut options)?;
    }
    if overload & 2 != 0 {
        add_options(&bytes[44..108], &mut options)?;
    }
    Ok(options)
}

fn add_options(mut rest: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) -> Result<(), Malformed> {
    while let [code, after @ ..] = rest {
        rest = after;
        match *code {
            0 => continue,
            255 => break,
            code => {
                let [length, after @ ..] = rest else { return Err(Malformed::OptionOverrun(code)) };
                let Some((value, after)) = after.split_at_checked(usize::from(*length)) else {
                    return Err(Malformed::OptionOverrun(code));
                };
                options.entry(code).or_default().extend_from_slice(value);
                rest = after;
            }
        }
    }
    Ok(())
}

/// A message to write.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Request or reply.
    pub op: Opcode,
    /// The exchange it belongs to.
    pub xid: u32,
    /// The flags.
    pub flags: Flags,
    /// The address that the client has.
    pub ciaddr: Ipv4Addr,
    /// The address that the client is given.
    pub yiaddr: Ipv4Addr,
    /// The next server to boot from.
    pub siaddr: Ipv4Addr,
    /// The relay.
    pub giaddr: Ipv4Addr,
    /// The machine.
    pub mac: MacAddr,
    /// The boot file, for the `file` field; one that is too long for it is left to option 67.
    pub file: String,
    /// The options, the most important one first. Those that do not fit are left out; empty ones too.
    pub options: Vec<(u8, Vec<u8>)>,
    /// Option 82 of the request: room is kept for it, and it comes last (RFC 3046 § 2.2).
    pub relay_information: Option<Vec<u8>>,
}

impl Draft {
    /// Writes the message in at most `room` bytes and at least 300. Never uses option 52: firmware reads
    /// `file` as a file.
    ///
    /// # Errors
    /// The codec's, none of which these values bring about.
    pub fn write(&self, room: usize) -> Result<Vec<u8>, v4::EncodeError> {
        let mut bytes = Vec::with_capacity(room.max(SHORTEST));
        self.header().encode(&mut Encoder::new(&mut bytes))?;
        let last = match &self.relay_information {
            Some(information) => encoded(82, information)?,
            None => Vec::new(),
        };
        // One byte for the end mark.
        let room = room.max(SHORTEST).saturating_sub(last.len() + 1);
        for (code, value) in &self.options {
            let option = encoded(*code, value)?;
            if bytes.len() + option.len() <= room {
                bytes.extend(option);
            }
        }
        bytes.extend(last);
        bytes.push(u8::from(OptionCode::End));
        bytes.resize(bytes.len().max(SHORTEST), 0);
        Ok(bytes)
    }

    fn header(&self) -> v4::Message {
        let mut header = v4::Message::new_with_id(
            self.xid,
            self.ciaddr,
            self.yiaddr,
            self.siaddr,
            self.giaddr,
            &self.mac.0,
        );
        header.set_opcode(self.op).set_flags(self.flags);
        if self.file.len() <= FILE_ROOM {
            header.set_fname_str(&self.file);
        }
        header
    }
}

fn encoded(code: u8, value: &[u8]) -> Result<Vec<u8>, v4::EncodeError> {
    let mut bytes = Vec::with_capacity(value.len() + 2);
    encode_long_opt_bytes(OptionCode::from(code), value, &mut Encoder::new(&mut bytes))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhcproto::{Decodable as _, Decoder};
    use proptest::prelude::*;

    fn draft() -> Draft {
        Draft {
            op: Opcode::BootRequest,
            xid: 0x1234_5678,
            flags: Flags::default(),
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            mac: MacAddr([0x52, 0x54, 0, 1, 2, 3]),
            file: String::new(),
            options: vec![(53, vec![1]), (55, vec![1, 3, 6]), (60, b"PXEClient:Arch:00000".to_vec())],
            relay_information: None,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bytes = draft().write(548).unwrap();
        assert_eq!(bytes.len(), SHORTEST, "RFC 1542 § 2.1: padded to 300");
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.kind, packet.mac, packet.xid), (MessageType::Discover, draft().mac, 0x1234_5678));
        assert!(packet.wants(3) && !packet.wants(12));
        let other = v4::Message::decode(&mut Decoder::new(&bytes)).unwrap();
        assert_eq!(other.opts().msg_type(), Some(MessageType::Discover), "another reader agrees");
    }

    #[test]
    fn each_fault_has_its_name() {
        let good = draft().write(548).unwrap();
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        for (bytes, fault) in [
            (Vec::new(), Malformed::Truncated(0)),
            (good[..239].to_vec(), Malformed::Truncated(239)),
            (with(1, 6), Malformed::HardwareType(6)),
            (with(2, 255), Malformed::HardwareLength(255)),
            (with(2, 16), Malformed::HardwareLength(16)),
            (with(2, 0), Malformed::HardwareLength(0)),
            (with(28, 0xff), Malformed::HardwareAddress(MacAddr([0xff, 0x54, 0, 1, 2, 3]))),
            (with(236, 0), Malformed::NoCookie),
            (with(241, 255), Malformed::OptionOverrun(53)),
            (good[..241].to_vec(), Malformed::OptionOverrun(53)),
            (with(240, 54), Malformed::NoType),
            (good[..240].to_vec(), Malformed::NoType),
        ] {
            assert_eq!(Packet::parse(&bytes).unwrap_err(), fault);
        }
    }

    #[test]
    fn rfc3396_pieces_are_put_together_and_long_options_split() {
        let long: Vec<u8> = (0..=255).chain(0..44).collect();
        let mut draft = draft();
        draft.options.push((43, long.clone()));
        draft.options.push((77, b"iP".to_vec()));
        draft.options.push((12, b"n".to_vec()));
        draft.options.push((77, b"XE".to_vec()));
        let packet = Packet::parse(&draft.write(1472).unwrap()).unwrap();
        assert_eq!(packet.option(43), Some(long.as_slice()));
        assert_eq!(
            packet.option(77),
            Some(b"iPXE".as_slice()),
            "RFC 3396 § 7: pieces need not be neighbours"
        );
    }

    #[test]
    fn rfc2131_options_in_file_and_sname_are_read() {
        let mut bytes = draft().write(548).unwrap();
        bytes[240..].fill(0);
        bytes[240..247].copy_from_slice(&[53, 1, 3, 52, 1, 3, 255]);
        bytes[108..115].copy_from_slice(&[50, 4, 10, 0, 0, 9, 255]);
        bytes[44..48].copy_from_slice(&[12, 1, b'a', 255]);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.address(50), Some(Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!(packet.option(12), Some(b"a".as_slice()));
    }

    #[test]
    fn option_57_bounds_the_reply_and_82_stays() {
        let mut draft = draft();
        draft.options.push((43, vec![7; 600]));
        draft.options.push((12, b"node".to_vec()));
        draft.relay_information = Some(vec![1, 2, b'p', b'1']);
        let bytes = draft.write(548).unwrap();
        let packet = Packet::parse(&bytes).unwrap();
        assert!(bytes.len() <= 548);
        assert_eq!((packet.option(43), packet.option(12)), (None, Some(b"node".as_slice())));
        let end = bytes.iter().rposition(|byte| *byte == 255).unwrap();
        assert_eq!(bytes[end - 6..end], [82, 4, 1, 2, b'p', b'1'], "RFC 3046 § 2.2: last");
    }

    #[test]
    fn option_57_is_held_within_bounds() {
        for (asked, room) in
            [(None, 548), (Some(0u16), 548), (Some(576), 548), (Some(1260), 1232), (Some(65535), 1472)]
        {
            let mut draft = draft();
            draft.options.extend(asked.map(|asked| (57, asked.to_be_bytes().to_vec())));
            assert_eq!(Packet::parse(&draft.write(548).unwrap()).unwrap().room(), room, "{asked:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn no_options_make_the_reader_panic(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = draft().write(548).unwrap();
            bytes.truncate(243);
            bytes.extend(tail);
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn no_draft_makes_the_writer_panic(
            file in "\\PC{0,200}", room in 0usize..2000, code in 1u8..255,
            value in proptest::collection::vec(any::<u8>(), 0..70000),
        ) {
            let mut draft = draft();
            draft.file = file;
            draft.options.push((code, value.clone()));
            draft.relay_information = Some(value);
            prop_assert!(draft.write(room).is_ok());
        }
    }
}
