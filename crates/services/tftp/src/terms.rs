//! What client and server agree on before the first block (RFC 2347 to 2349, 7440).

use std::time::Duration;

use crate::packet::{self, Asked};

/// Without an option (RFC 1350).
const DEFAULT_BLOCK: u16 = 512;
/// The most blocks in a window, whatever is asked: a ROM's receive ring is far shorter, and a lost block costs
/// its whole window again.
pub const MOST_BLOCKS: u16 = 64;
/// The most bytes in a window: what a socket with Linux's default receive buffer (208 KiB with overhead) can
/// take in one burst.
const MOST_BYTES: u32 = 128 * 1024;

/// The most bytes in the windows of all transfers together, as far as blocks allow: what a wire of 100 Mbit/s carries in
/// 0.1 s. With more on its way, packets would be sent again that only wait for their turn on the wire.
const ALL_BYTES: u32 = 1024 * 1024;

/// The terms of one transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Bytes in every block but the last, 8 to 65464.
    pub block_size: u16,
    /// Blocks sent before an answer is awaited, 1 to [`MOST_BLOCKS`].
    pub window: u16,
    /// The client's own wait before it sends again, when it asked for one.
    pub timeout: Option<Duration>,
    /// The OACK that states the terms; none when the client asked for nothing that is granted, and the first
    /// block is the answer.
    pub oack: Option<Vec<u8>>,
}

impl Terms {
    /// Grants what was asked, or less, and nothing else. `length` is the number of bytes that will travel,
    /// where it is known beforehand; `others` is how many transfers there are beside this one.
    pub fn agree(asked: &Asked, length: Option<u64>, others: usize) -> Self {
        let block_size = asked.blksize.unwrap_or(DEFAULT_BLOCK);
        let share = ALL_BYTES / u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1);
        let fits = share.min(MOST_BYTES) / u32::from(block_size).max(1);
        let fits = fits.clamp(1, u32::from(MOST_BLOCKS)) as u16;
        let window = asked.windowsize.map_or(1, |blocks| blocks.min(fits));
        let granted: Vec<(&str, u64)> = [
            ("tsize", length.filter(|_| asked.tsize)),
            ("blksize", asked.blksize.map(u64::from)),
            ("timeout", asked.timeout.map(u64::from)),
            ("windowsize", asked.windowsize.map(|_| u64::from(window))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        Self {
            block_size,
            window,
            timeout: asked.timeout.map(|seconds| Duration::from_secs(seconds.into())),
            oack: (!granted.is_empty()).then(|| packet::oack(&granted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_and_never_more() {
        let check = |asked: Asked, length, expect: (u16, u16, Option<&str>)| {
            let terms = Terms::agree(&asked, length, 0);
            let oack =
                terms.oack.as_deref().map(|oack| oack[2..].escape_ascii().to_string().replace("\\x00", " "));
            assert_eq!((terms.block_size, terms.window, oack.as_deref()), expect, "{asked:?}");
        };
        let none = Asked::default();
        check(none, Some(9), (512, 1, None));
        check(Asked { tsize: true, ..none }, Some(9), (512, 1, Some("tsize 9 ")));
        check(Asked { tsize: true, ..none }, None, (512, 1, None));
        check(Asked { blksize: Some(8), ..none }, Some(9), (8, 1, Some("blksize 8 ")));
        check(Asked { timeout: Some(255), ..none }, Some(9), (512, 1, Some("timeout 255 ")));
        check(Asked { windowsize: Some(4), ..none }, Some(9), (512, 4, Some("windowsize 4 ")));
        check(Asked { windowsize: Some(65535), ..none }, Some(9), (512, 64, Some("windowsize 64 ")));
        check(
            Asked { windowsize: Some(16), blksize: Some(65464), ..none },
            Some(9),
            (65464, 2, Some("blksize 65464 windowsize 2 ")),
        );
        let crowd = |others| Terms::agree(&Asked { windowsize: Some(16), ..none }, None, others).window;
        assert_eq!([0, 100, 200, 400, 2000, usize::MAX].map(crowd), [16, 16, 10, 5, 1, 1]);
        check(
            Asked { windowsize: Some(4), blksize: Some(1468), tsize: true, timeout: Some(5) },
            Some(u64::MAX),
            (1468, 4, Some("tsize 18446744073709551615 blksize 1468 timeout 5 windowsize 4 ")),
        );
    }
}
