//! What a machine is known by where the lab does not name its hardware address: the UUID or the serial number of its board.
//! Which hardware address goes with it shows once the machine asks for something.

use std::{fmt, str::FromStr};

use crate::{MacAddr, check, section::Refused};

/// The UUID of a machine (SMBIOS 3.7 § 7.2.1, "System — UUID").
///
/// Its first three fields are stored with the lowest byte first, but old firmware had them the other way round, and what is
/// printed on a machine or shown by its setup may be either. So the two are taken for one UUID: [`Uuid`]s that differ in
/// nothing else are equal.
#[derive(Debug, Clone, Copy)]
pub struct Uuid([u8; 16]);

impl PartialEq for Uuid {
    fn eq(&self, other: &Self) -> bool {
        self.sorted().0 == other.sorted().0
    }
}

impl Eq for Uuid {}

/// A text that is no UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no UUID: 32 hexadecimal digits in five groups are wanted, as in 4c4c4544-0042-3510-8052-b4c04f564433"
)]
pub struct UuidError(String);

impl Uuid {
    /// What boards have whose maker has not given them any: nothing set, everything set, and an example that many carry.
    const NOBODYS: [[u8; 16]; 3] = [[0; 16], [0xff; 16], [3, 0, 2, 0, 4, 0, 5, 0, 0, 6, 0, 7, 0, 8, 0, 9]];

    /// The UUID of these bytes, in either order.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The same one in the order of bytes that comes first: one text for all that are equal.
    pub(crate) fn sorted(self) -> Self {
        let mut swapped = self.0;
        [0..4, 4..6, 6..8].into_iter().for_each(|field| swapped[field].reverse());
        Self(self.0.min(swapped))
    }

    /// Whether boards have it whose maker has given them none: it tells no machine from another.
    pub fn is_nobodys(self) -> bool {
        Self::NOBODYS.into_iter().any(|bytes| Self::new(bytes) == self)
    }
}

impl FromStr for Uuid {
    type Err = UuidError;

    /// Reads five groups of hexadecimal digits in either case, in braces or not.
    fn from_str(text: &str) -> Result<Self, UuidError> {
        let fault = || UuidError(text.to_owned());
        let bare = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
        let groups: Vec<&str> = bare.split('-').collect();
        if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
            return Err(fault());
        }
        let digits: Vec<u32> = groups.concat().chars().filter_map(|digit| digit.to_digit(16)).collect();
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
        bytes.try_into().map(Self::new).map_err(|_| fault())
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let hyphen = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(out, "{hyphen}{byte:02x}")?;
        }
        Ok(())
    }
}

/// What a node's machine is known by besides a hardware address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Its UUID: the firmware of every PC says it when it asks for an address to boot with (option 97, RFC 4578 § 2.3).
    Uuid(Uuid),
    /// Its serial number (SMBIOS 3.7 § 7.2, "System — Serial Number"): iPXE says it when it asks for its script.
    Serial(String),
}

/// What a machine says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// Its UUID.
    pub uuid: Option<Uuid>,
    /// Its serial number.
    pub serial: Option<String>,
}

impl Identity {
    /// The UUID in `text`.
    ///
    /// # Errors
    /// Why no lab may have it.
    pub fn uuid(text: &str) -> Result<Self, String> {
        check::uuid(text).map(Self::Uuid).map_err(Refused::into_message)
    }

    /// The serial number in `text`.
    ///
    /// # Errors
    /// Why no lab may have it.
    pub fn serial(text: &str) -> Result<Self, String> {
        check::machine_serial(text).map(Self::Serial).map_err(Refused::into_message)
    }

    /// Whether a machine that says this of itself is the one.
    pub fn is_of(&self, marks: &Marks) -> bool {
        match self {
            Self::Uuid(uuid) => marks.uuid == Some(*uuid),
            Self::Serial(serial) => marks.serial.as_ref() == Some(serial),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => write!(out, "UUID {uuid}"),
            Self::Serial(serial) => write!(out, "serial number {serial}"),
        }
    }
}

/// Whom a machine was recognised as by what it says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognised<'a> {
    /// This node, of which no hardware address is known yet.
    AsNew(&'a crate::Node),
    /// This node, which is known with another hardware address: it has another network card, or two machines say the same
    /// of themselves.
    AsAnother(&'a crate::Node),
}

impl crate::Lab {
    /// Whom the machine with this hardware address is recognised as by its marks. A hardware address that is a node's counts
    /// more than any mark.
    pub fn recognise(&self, mac: MacAddr, marks: &Marks) -> Option<Recognised<'_>> {
        if self.node_by_mac(mac).is_some() {
            return None;
        }
        let node = self.node_by_marks(marks)?;
        Some(if node.is_met() { Recognised::AsAnother(node) } else { Recognised::AsNew(node) })
    }

    /// The node that the lab knows by one of these marks, whether its machine was met or not.
    pub fn node_by_marks(&self, marks: &Marks) -> Option<&crate::Node> {
        self.nodes.iter().find(|node| node.identity.as_ref().is_some_and(|one| one.is_of(marks)))
    }

    /// Whether the lab knows any machine by something else than its hardware address.
    pub fn recognises(&self) -> bool {
        self.nodes.iter().any(|node| node.identity.is_some())
    }
}

impl Recognised<'_> {
    /// What is to be told of a machine that is recognised as a node which has another hardware address.
    ///
    /// `None` where nothing is in doubt.
    pub fn doubt(&self) -> Option<String> {
        let Self::AsAnother(node) = self else { return None };
        let identity = node.identity.as_ref()?;
        Some(format!(
            "it has the {identity} of {name}, which is known as {mac}: `pilotctl forget {name}` if {name} has another \
             network card now",
            name = node.name,
            mac = node.mac,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_of_bytes_are_one_uuid() {
        let text = "4c4c4544-0042-3510-8052-b4c04f564433";
        let uuid: Uuid = text.parse().unwrap();
        for same in [
            "44454c4c-4200-1035-8052-b4c04f564433",
            "4C4C4544-0042-3510-8052-B4C04F564433",
            "{4c4c4544-0042-3510-8052-b4c04f564433}",
        ] {
            assert_eq!(same.parse(), Ok(uuid), "{same}");
        }
        assert_ne!("4c4c4544-0042-3510-8052-b4c04f564434".parse(), Ok(uuid));
        assert_eq!(uuid.to_string().parse(), Ok(uuid));
        assert!(!uuid.is_nobodys());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "4c4c454400423510805 2b4c04f564433",
            "4c4c4544-0042-3510-8052-b4c04f56443",
            "4c4c4544-0042-3510-8052-b4c04f56443g",
            "4c4c4544-0042-3510-80-52b4c04f564433",
            "4c4c4544-0042-3510-8052-b4c04f5644é",
        ] {
            assert!(text.parse::<Uuid>().is_err(), "{text}");
        }
    }

    #[test]
    fn uuids_that_many_boards_share() {
        for text in [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "03000200-0400-0500-0006-000700080009",
            "00020003-0004-0005-0006-000700080009",
        ] {
            assert!(text.parse::<Uuid>().unwrap().is_nobodys(), "{text}");
        }
    }
}
