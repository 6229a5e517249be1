//! A program as U-Boot's old image format holds it (U-Boot, include/image.h, `struct legacy_img_hdr`).
//!
//! QEMU puts a 32-bit kernel where Linux likes to be. Of the ways to have it elsewhere this is the one that still hands
//! over the device tree, as a Pi's firmware does.

use crc32fast::hash as crc32;

const MAGIC: u32 = 0x2705_1956;
const OS_LINUX: u8 = 5;
const ARCHITECTURE_ARM: u8 = 2;
const TYPE_KERNEL: u8 = 2;
const NOT_PACKED: u8 = 0;

/// `program` with a header that says that it is to be loaded at `address`, and started there.
pub(crate) fn at(address: u32, program: &[u8]) -> Vec<u8> {
    let len = u32::try_from(program.len()).unwrap_or(u32::MAX);
    let mut header = Vec::with_capacity(64 + program.len());
    // The header's own sum is over itself with a zero in that place.
    for word in [MAGIC, 0, 0, len, address, address, crc32(program)] {
        header.extend(word.to_be_bytes());
    }
    header.extend([OS_LINUX, ARCHITECTURE_ARM, TYPE_KERNEL, NOT_PACKED]);
    header.resize(64, 0);
    let sum = crc32(&header);
    header[4..8].copy_from_slice(&sum.to_be_bytes());
    header.extend(program);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_where_and_what() {
        let image = at(0x8000, b"program");
        assert_eq!(image.len(), 64 + 7);
        assert_eq!(image[..4], [0x27, 0x05, 0x19, 0x56]);
        assert_eq!(image[12..24], [0, 0, 0, 7, 0, 0, 0x80, 0, 0, 0, 0x80, 0]);
        assert_eq!(image[28..32], [5, 2, 2, 0]);
        let mut unsummed = image[..64].to_vec();
        unsummed[4..8].fill(0);
        assert_eq!(image[4..8], crc32(&unsummed).to_be_bytes());
    }
}
