//! What the kernel's command line tells `init` about the card.

use std::fmt;

use crate::Slot;

const DISK: &str = "pilotlight.disk=";
const SLOT: &str = "pilotlight.slot=";

/// Which disk and which slot the running kernel came from. Shown as the words of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// The disk signature in the MBR of the card.
    pub disk: u32,
    /// The slot whose boot partition held this command line.
    pub slot: Slot,
}

/// What a command line lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// No `pilotlight.disk=`.
    #[error("the kernel command line has no `pilotlight.disk=`; it should name the card's disk signature")]
    NoDisk,
    /// `pilotlight.disk=` is not eight hexadecimal digits.
    #[error("`pilotlight.disk={0}` on the kernel command line is not eight hexadecimal digits")]
    BadDisk(String),
    /// No `pilotlight.slot=`.
    #[error("the kernel command line has no `pilotlight.slot=`; it should be `a` or `b`")]
    NoSlot,
    /// `pilotlight.slot=` is neither `a` nor `b`.
    #[error("`pilotlight.slot={0}` on the kernel command line is neither `a` nor `b`")]
    BadSlot(String),
}

impl Params {
    /// Reads a kernel command line, as in `/proc/cmdline` or `cmdline.txt`. Where a word stands twice, the last
    /// one counts, as it does for the kernel's own.
    ///
    /// # Errors
    /// A word that is missing or malformed.
    pub fn parse(command_line: &str) -> Result<Self, ParamError> {
        let last = |key| command_line.split_ascii_whitespace().rev().find_map(|word| word.strip_prefix(key));
        let disk = last(DISK).ok_or(ParamError::NoDisk)?;
        let slot = last(SLOT).ok_or(ParamError::NoSlot)?;
        Ok(Self {
            disk: parse_disk(disk).ok_or_else(|| ParamError::BadDisk(disk.to_owned()))?,
            slot: Slot::from_name(slot).ok_or_else(|| ParamError::BadSlot(slot.to_owned()))?,
        })
    }

    /// The disk signature as it stands on the command line: eight lower-case hexadecimal digits.
    pub fn disk_hex(&self) -> String {
        format!("{:08x}", self.disk)
    }
}

impl fmt::Display for Params {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{DISK}{} {SLOT}{}", self.disk_hex(), self.slot)
    }
}

fn parse_disk(text: &str) -> Option<u32> {
    // `from_str_radix` alone would take a sign.
    let eight_digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if eight_digits { u32::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn command_lines() {
        let check = |line: &str, expect: Result<Params, ParamError>| {
            assert_eq!(Params::parse(line), expect, "{line}")
        };
        let ok = |disk, slot| Ok(Params { disk, slot });
        check("quiet pilotlight.disk=00c0ffee pilotlight.slot=a\n", ok(0x00c0_ffee, Slot::A));
        check("pilotlight.slot=b\tpilotlight.disk=C0FFEE00", ok(0xc0ff_ee00, Slot::B));
        check("pilotlight.slot=a pilotlight.disk=00000001 pilotlight.slot=b", ok(1, Slot::B));
        check("", Err(ParamError::NoDisk));
        check("pilotlight.disk=00000001", Err(ParamError::NoSlot));
        check("pilotlight.disk=1 pilotlight.slot=a", Err(ParamError::BadDisk("1".into())));
        check("pilotlight.disk=+0000001 pilotlight.slot=a", Err(ParamError::BadDisk("+0000001".into())));
        check("pilotlight.disk=00000001 pilotlight.slot=A", Err(ParamError::BadSlot("A".into())));
        check("xpilotlight.disk=00000001 pilotlight.slot=a", Err(ParamError::NoDisk));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_what_is_read(disk: u32, b: bool) {
            let params = Params { disk, slot: if b { Slot::B } else { Slot::A } };
            prop_assert_eq!(Params::parse(&params.to_string()), Ok(params));
        }

        #[test]
        fn any_line_is_read_without_a_panic(line: String) {
            let _ = Params::parse(&line);
        }
    }
}
