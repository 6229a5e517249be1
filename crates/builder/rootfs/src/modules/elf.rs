//! What a kernel module says about itself: its `.modinfo` section and the symbols that it exports. Reads 32-bit
//! and 64-bit little-endian ELF; any bytes at all give an answer or an error, never a panic.

/// What of a module concerns the indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// `alias=`, in order.
    pub aliases: Vec<String>,
    /// `depends=`: names of modules that have to be loaded before.
    pub depends: Vec<String>,
    /// `softdep=`, as they stand: `pre: a b post: c`.
    pub softdeps: Vec<String>,
    /// `weakdep=`, as they stand.
    pub weakdeps: Vec<String>,
    /// Names of exported symbols.
    pub symbols: Vec<String>,
}

/// Reads an unpacked module.
///
/// # Errors
/// What is wrong, in words.
pub fn read(elf: &[u8]) -> Result<Info, String> {
    let sections = Sections::of(elf).ok_or("it is no little-endian ELF file with section headers")?;
    let modinfo = sections.named(b".modinfo").ok_or("it has no .modinfo section")?;
    let mut info = Info::default();
    for (key, value) in pairs(modinfo) {
        match key {
            "alias" => info.aliases.push(value.to_owned()),
            "depends" => {
                info.depends.extend(value.split(',').filter(|name| !name.is_empty()).map(super::normal_name));
            }
            "softdep" => info.softdeps.push(value.to_owned()),
            "weakdep" => info.weakdeps.push(value.to_owned()),
            _ => {}
        }
    }
    info.symbols = sections.exported();
    Ok(info)
}

/// The `key=value` strings of a .modinfo section; what is not UTF-8 concerns no index.
pub(super) fn pairs(section: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    section.split(|byte| *byte == 0).filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('='))
}

struct Section<'a> {
    name: usize,
    kind: u32,
    link: usize,
    content: &'a [u8],
}

struct Sections<'a> {
    wide: bool,
    names: &'a [u8],
    all: Vec<Section<'a>>,
}

const SYMBOL_TABLE: u32 = 2;
const NO_BITS: u32 = 8;

impl<'a> Sections<'a> {
    fn of(elf: &'a [u8]) -> Option<Self> {
        let wide = match elf.get(..6)? {
            [0x7f, b'E', b'L', b'F', 2, 1] => true,
            [0x7f, b'E', b'L', b'F', 1, 1] => false,
            _ => return None,
        };
        let (table, size, count, names_at) = if wide {
            (word(elf, 0x28, true)?, half(elf, 0x3a)?, half(elf, 0x3c)?, half(elf, 0x3e)?)
        } else {
            (word(elf, 0x20, false)?, half(elf, 0x2e)?, half(elf, 0x30)?, half(elf, 0x32)?)
        };
        let mut all = Vec::with_capacity(count);
        for at in 0..count {
            let start = table.checked_add(at.checked_mul(size)?)?;
            let header = elf.get(start..start.checked_add(size)?)?;
            let (offset, length, link) = if wide {
                (word(header, 0x18, true)?, word(header, 0x20, true)?, word(header, 0x28, false)?)
            } else {
                (word(header, 0x10, false)?, word(header, 0x14, false)?, word(header, 0x18, false)?)
            };
            let kind = u32::try_from(word(header, 4, false)?).ok()?;
            let content =
                if kind == NO_BITS { &[][..] } else { elf.get(offset..offset.checked_add(length)?)? };
            all.push(Section { name: word(header, 0, false)?, kind, link, content });
        }
        let names = all.get(names_at)?.content;
        Some(Self { wide, names, all })
    }

    fn named(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.all
            .iter()
            .find(|section| string(self.names, section.name) == Some(name))
            .map(|section| section.content)
    }

    fn exported(&self) -> Vec<String> {
        let Some(table) = self.all.iter().find(|section| section.kind == SYMBOL_TABLE) else {
            return Vec::new();
        };
        let Some(strings) = self.all.get(table.link) else { return Vec::new() };
        let entries = table.content.chunks_exact(if self.wide { 24 } else { 16 });
        let names = entries.filter_map(|entry| {
            let name = string(strings.content, word(entry, 0, false)?)?.strip_prefix(b"__ksymtab_")?;
            (name != b"strings").then(|| String::from_utf8(name.to_vec()).ok())?
        });
        names.collect()
    }
}

fn string(table: &[u8], at: usize) -> Option<&[u8]> {
    let rest = table.get(at..)?;
    Some(&rest[..rest.iter().position(|byte| *byte == 0)?])
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn word(bytes: &[u8], at: usize, wide: bool) -> Option<usize> {
    if wide {
        usize::try_from(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)).ok()
    } else {
        usize::try_from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)).ok()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A 64-bit module with the given .modinfo strings and nothing else.
    pub(crate) fn module(strings: &[&str]) -> Vec<u8> {
        let modinfo: Vec<u8> = strings.iter().flat_map(|one| one.bytes().chain([0])).collect();
        let names = b"\0.modinfo\0";
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        elf.extend(&modinfo);
        elf.extend(names);
        let table = elf.len() as u64;
        elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
        elf[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
        elf[0x3c..0x3e].copy_from_slice(&2u16.to_le_bytes());
        elf[0x3e..0x40].copy_from_slice(&1u16.to_le_bytes());
        for (name, offset, length) in [(1u32, 64, modinfo.len()), (0, 64 + modinfo.len(), names.len())] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[4..8].copy_from_slice(&1u32.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(length as u64).to_le_bytes());
            elf.extend(header);
        }
        elf
    }

    #[test]
    fn modinfo_is_read() {
        let info =
            read(&module(&["license=GPL", "alias=usb:v0424p*", "depends=usbnet,lib-x", "softdep=pre: y"]))
                .unwrap();
        assert_eq!(info.aliases, ["usb:v0424p*"]);
        assert_eq!(info.depends, ["usbnet", "lib_x"]);
        assert_eq!(info.softdeps, ["pre: y"]);
    }

    #[test]
    fn no_bytes_panic() {
        let whole = module(&["alias=a", "depends=b"]);
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "cut at {end}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = read(&changed);
            }
        }
    }
}
