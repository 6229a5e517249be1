//! Names of files: the long one, and the short one that goes with it.

use std::collections::BTreeSet;

/// A name as a folder stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// Eight bytes and three, filled with spaces.
    pub(super) short: [u8; 11],
    /// The long name in UTF-16; empty where the short one says it all.
    pub(super) long: Vec<u16>,
}

/// Why a name cannot stand in a FAT.
pub(super) const BAD_NAME: &str = "its name holds characters that a FAT cannot store";
const TOO_LONG: &str = "its name is longer than 255 characters";
const TAKEN: &str = "another name in its folder differs from it only in case";
const NO_SHORT: &str = "too many names in its folder look alike";

/// The names that a folder holds so far.
#[derive(Default)]
pub(super) struct Names {
    short: BTreeSet<[u8; 11]>,
    folded: BTreeSet<String>,
}

impl Names {
    /// Finds a short name for `name`, and remembers both.
    pub(super) fn add(&mut self, name: &[u8]) -> Result<Name, &'static str> {
        let text = std::str::from_utf8(name).map_err(|_| BAD_NAME)?;
        let forbidden = |c: char| c.is_control() || "\"*/:<>?\\|".contains(c);
        if text.is_empty() || text.contains(forbidden) || text.ends_with(['.', ' ']) || text.starts_with(' ')
        {
            return Err(BAD_NAME);
        }
        let long: Vec<u16> = text.encode_utf16().collect();
        if long.len() > 255 {
            return Err(TOO_LONG);
        }
        if !self.folded.insert(text.to_uppercase()) {
            return Err(TAKEN);
        }
        let (base, extension, exact) = shorten(text);
        let mut short = pack(&base, &extension);
        if exact && self.short.insert(short) {
            let says_it_all = base.len() <= 8 && text.bytes().all(|byte| !byte.is_ascii_lowercase());
            return Ok(Name { short, long: if says_it_all { Vec::new() } else { long } });
        }
        for number in 1..1_000_000_u32 {
            let tail = format!("~{number}");
            let kept = base.len().min(8 - tail.len());
            short = pack(&[&base[..kept], tail.as_bytes()].concat(), &extension);
            if self.short.insert(short) {
                return Ok(Name { short, long });
            }
        }
        Err(NO_SHORT)
    }
}

/// The base and the extension of a short name for `text`, and whether they lose nothing but case.
fn shorten(text: &str) -> (Vec<u8>, Vec<u8>, bool) {
    let trimmed = text.trim_start_matches('.');
    let (base, extension) = trimmed.rsplit_once('.').unwrap_or((trimmed, ""));
    let mut exact = trimmed.len() == text.len();
    let mut squeeze = |part: &str, room: usize| {
        let mut bytes = Vec::new();
        for c in part.chars() {
            match c {
                ' ' | '.' => exact = false,
                c if c.is_ascii_alphanumeric() || "!#$%&'()-@^_`{}~".contains(c) => {
                    bytes.push(c.to_ascii_uppercase() as u8);
                }
                _ => {
                    exact = false;
                    bytes.push(b'_');
                }
            }
        }
        exact &= bytes.len() <= room;
        bytes.truncate(room);
        bytes
    };
    let (base, extension) = (squeeze(base, 8), squeeze(extension, 3));
    if base.is_empty() { (b"_".to_vec(), extension, false) } else { (base, extension, exact) }
}

fn pack(base: &[u8], extension: &[u8]) -> [u8; 11] {
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base);
    short[8..8 + extension.len()].copy_from_slice(extension);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names() {
        let mut names = Names::default();
        let mut check = |name: &str, expect: Result<(&str, bool), &str>| {
            let found = names.add(name.as_bytes());
            let found =
                found.map(|name| (String::from_utf8(name.short.to_vec()).unwrap(), !name.long.is_empty()));
            assert_eq!(found, expect.map(|(short, long)| (short.to_owned(), long)), "{name}");
        };
        check("README", Ok(("README     ", false)));
        check("start.elf", Ok(("START   ELF", true)));
        check("bootcode.bin", Ok(("BOOTCODEBIN", true)));
        check("config.txt", Ok(("CONFIG  TXT", true)));
        check("bcm2837-rpi-3-b.dtb", Ok(("BCM283~1DTB", true)));
        check("bcm2837-rpi-3-b-plus.dtb", Ok(("BCM283~2DTB", true)));
        check("fixup_cd.dat", Ok(("FIXUP_CDDAT", true)));
        check(".profile", Ok(("PROFIL~1   ", true)));
        check("a.b.c", Ok(("AB~1    C  ", true)));
        check("naïve+.t", Ok(("NA_VE_~1T  ", true)));
        check("START.ELF", Err(TAKEN));
        check("a:b", Err(BAD_NAME));
        check("dot.", Err(BAD_NAME));
        check(&"x".repeat(256), Err(TOO_LONG));
    }
}
