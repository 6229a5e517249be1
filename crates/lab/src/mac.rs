//! Ethernet hardware addresses.

use std::{fmt, str::FromStr};

/// An Ethernet hardware address, EUI-48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

/// A text that is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no hardware address: six pairs of hexadecimal digits are wanted, as in 52:54:00:12:34:56")]
pub struct MacError(pub String);

impl MacAddr {
    /// What stands for no machine, and in a [`Node`](crate::Node) for a hardware address that is not known yet.
    pub const UNKNOWN: Self = Self([0; 6]);

    /// Whether bit 0 of the first octet marks a group address (IEEE 802, broadcast included), which no
    /// machine can have.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Lower-case pairs joined by hyphens, as PXELINUX and iPXE's `${mac:hexhyp}` write it.
    pub fn hyphenated(self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl FromStr for MacAddr {
    type Err = MacError;

    /// Reads `aa:bb:cc:dd:ee:ff`, `aa-bb-cc-dd-ee-ff` or `aabbccddeeff`, in either case.
    fn from_str(text: &str) -> Result<Self, MacError> {
        let fault = || MacError(text.to_owned());
        let separator = text.as_bytes().get(2).copied().filter(|byte| matches!(byte, b':' | b'-'));
        let pairs: Vec<&[u8]> = match separator {
            Some(separator) => text.as_bytes().split(|byte| *byte == separator).collect(),
            None => text.as_bytes().chunks(2).collect(),
        };
        let pairs: [&[u8]; 6] = pairs.try_into().map_err(|_| fault())?;
        let mut octets = [0; 6];
        for (octet, pair) in octets.iter_mut().zip(pairs) {
            let [high, low] = pair else { return Err(fault()) };
            let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(fault);
            *octet = (digit(*high)? << 4 | digit(*low)?) as u8;
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_is_read() {
        let mac = MacAddr([0x52, 0x54, 0, 0xab, 0xcd, 0xef]);
        for text in ["52:54:00:ab:cd:ef", "52-54-00-AB-CD-EF", "525400abcdef"] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:ef");
        assert_eq!(mac.hyphenated(), "52-54-00-ab-cd-ef");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "52:54:00:ab:cd", "52:54:00:ab:cd:ef:00", "52:54-00:ab:cd:ef", "5:54:00:ab:cd:eff", "é"]
        {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }
}
