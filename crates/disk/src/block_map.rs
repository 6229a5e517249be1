//! The map of the blocks that an image holds, in the form that `bmaptool` reads (version 2.0), so that writing a
//! card costs only what is in the image.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The unit of the map in bytes.
pub const BLOCK: u64 = 4096;

/// Which blocks of an image hold something, with a checksum of each run. Blocks outside may be left as they are
/// on the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockMap {
    /// The length of the image in bytes.
    pub image_len: u64,
    /// The runs, ascending, without overlap.
    pub ranges: Vec<Range>,
}

/// A run of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The number of its first block.
    pub first: u64,
    /// The number of its last block, not below the first.
    pub last: u64,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
}

impl Range {
    /// How many blocks it has.
    pub fn blocks(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// Why a text is no block map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockMapError {
    /// An element is missing or its content is malformed.
    #[error("the block map has no usable `{0}`")]
    Element(&'static str),
    /// Another version, block size or kind of checksum.
    #[error("the block map's `{element}` is `{found}`; only `{expected}` is understood")]
    Unsupported {
        /// The element.
        element: &'static str,
        /// What it says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// A run that is malformed, out of order or beyond the image's end.
    #[error("the block map's run `{0}` is malformed, out of order or beyond the image's end")]
    Range(String),
    /// The map's own checksum does not match: it was changed or cut.
    #[error("the block map does not match its own checksum: it was changed or cut short")]
    Checksum,
}

impl BlockMap {
    /// How many bytes the runs hold, the image's end counted as a whole block.
    pub fn mapped_bytes(&self) -> u64 {
        self.ranges.iter().map(Range::blocks).sum::<u64>().saturating_mul(BLOCK)
    }

    /// SHA-256 over the place and the checksum of every run: one number for what the image holds. Unlike the
    /// checksum of the whole file it costs nothing once the runs are known.
    pub fn content_sha256(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.image_len.to_le_bytes());
        for range in &self.ranges {
            hash.update(range.first.to_le_bytes());
            hash.update(range.last.to_le_bytes());
            hash.update(range.sha256);
        }
        hash.finalize().into()
    }

    /// The map as `bmaptool` reads it.
    pub fn to_xml(&self) -> String {
        let unsigned = self.render(&"0".repeat(64));
        self.render(&hex(&Sha256::digest(unsigned.as_bytes()).into()))
    }

    fn render(&self, checksum: &str) -> String {
        let mut xml = format!(
            "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n    \
             <ImageSize> {} </ImageSize>\n    <BlockSize> {BLOCK} </BlockSize>\n    \
             <BlocksCount> {} </BlocksCount>\n    <MappedBlocksCount> {} </MappedBlocksCount>\n    \
             <ChecksumType> sha256 </ChecksumType>\n    <BmapFileChecksum> {checksum} </BmapFileChecksum>\n    \
             <BlockMap>\n",
            self.image_len,
            self.image_len.div_ceil(BLOCK),
            self.ranges.iter().map(Range::blocks).sum::<u64>(),
        );
        for range in &self.ranges {
            let Range { first, last, sha256 } = range;
            // Writing to a String cannot fail.
            let _ = writeln!(xml, "        <Range chksum=\"{}\"> {first}-{last} </Range>", hex(sha256));
        }
        xml.push_str("    </BlockMap>\n</bmap>\n");
        xml
    }

    /// Reads a map that [`BlockMap::to_xml`] wrote; of what else XML allows, only other white space.
    ///
    /// # Errors
    /// Anything missing, malformed or not matching the map's checksum.
    pub fn parse(xml: &str) -> Result<Self, BlockMapError> {
        for (element, expected) in [("BlockSize", "4096"), ("ChecksumType", "sha256")] {
            let found = element_text(xml, element)?;
            if found != expected {
                return Err(BlockMapError::Unsupported { element, found: found.to_owned(), expected });
            }
        }
        let checksum = element_text(xml, "BmapFileChecksum")?;
        let unsigned = xml.replacen(checksum, &"0".repeat(64), 1);
        if checksum.len() != 64 || hex(&Sha256::digest(unsigned.as_bytes()).into()) != checksum {
            return Err(BlockMapError::Checksum);
        }
        let image_len =
            element_text(xml, "ImageSize")?.parse().map_err(|_| BlockMapError::Element("ImageSize"))?;
        let mut ranges: Vec<Range> = Vec::new();
        for piece in xml.split("<Range chksum=\"").skip(1) {
            let range = parse_range(piece).ok_or_else(|| BlockMapError::Range(first_line(piece)))?;
            let in_order = ranges.last().is_none_or(|before| before.last < range.first);
            if !in_order || range.last < range.first || range.last >= u64::div_ceil(image_len, BLOCK) {
                return Err(BlockMapError::Range(first_line(piece)));
            }
            ranges.push(range);
        }
        Ok(Self { image_len, ranges })
    }
}

fn element_text<'a>(xml: &'a str, element: &'static str) -> Result<&'a str, BlockMapError> {
    let start = xml.split_once(&format!("<{element}>")).map(|(_, rest)| rest);
    let text = start.and_then(|rest| rest.split_once("</")).map(|(text, _)| text.trim());
    text.filter(|text| !text.is_empty()).ok_or(BlockMapError::Element(element))
}

/// Reads what follows `<Range chksum="`.
fn parse_range(piece: &str) -> Option<Range> {
    let (checksum, rest) = piece.split_once("\">")?;
    let (span, _) = rest.split_once("</Range>")?;
    let (first, last) = span.split_once('-').unwrap_or((span, span));
    let number = |text: &str| text.trim().parse().ok();
    Some(Range { first: number(first)?, last: number(last)?, sha256: unhex(checksum)? })
}

fn first_line(piece: &str) -> String {
    piece.lines().next().unwrap_or_default().chars().take(100).collect()
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> BlockMap {
        let ranges = vec![
            Range { first: 0, last: 0, sha256: [1; 32] },
            Range { first: 9, last: 12, sha256: [0xab; 32] },
        ];
        BlockMap { image_len: 20 * BLOCK, ranges }
    }

    #[test]
    fn a_map_survives_its_encoding() {
        let map = example();
        assert_eq!(map.mapped_bytes(), 5 * BLOCK);
        assert_eq!(BlockMap::parse(&map.to_xml()), Ok(map));
    }

    #[test]
    fn every_change_is_noticed() {
        let xml = example().to_xml();
        for (from, to) in
            [(" 81920 ", " 81921 "), ("9-12", "9-13"), ("0101", "0102"), ("</bmap>\n", "</bmap>")]
        {
            assert_eq!(BlockMap::parse(&xml.replacen(from, to, 1)), Err(BlockMapError::Checksum), "{from}");
        }
        assert_eq!(BlockMap::parse(""), Err(BlockMapError::Element("BlockSize")));
        let other =
            BlockMapError::Unsupported { element: "BlockSize", found: "512".into(), expected: "4096" };
        assert_eq!(BlockMap::parse(&xml.replace("> 4096 <", "> 512 <")), Err(other));
    }

    #[test]
    fn runs_stay_in_order_and_inside() {
        for ranges in [[(3, 2), (5, 6)], [(3, 4), (4, 5)], [(0, 1), (5, 20)]] {
            let ranges = ranges.map(|(first, last)| Range { first, last, sha256: [0; 32] }).to_vec();
            let map = BlockMap { image_len: 20 * BLOCK, ranges };
            assert!(matches!(BlockMap::parse(&map.to_xml()), Err(BlockMapError::Range(_))), "{map:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text: String, at in 0..900_usize) {
            let _ = BlockMap::parse(&text);
            let mut xml = example().to_xml();
            xml.insert_str(at.min(xml.len()), &text);
            let _ = BlockMap::parse(&xml);
        }
    }
}
