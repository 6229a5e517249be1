//! `InRelease`: the signed table of an archive's suite. Only text that a pinned key signed is ever parsed.

use std::collections::BTreeMap;

use crate::{date, deb822};
use pilotlight_fetch::{Digest, Keyring, SignatureError};

/// What a verified Release says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its `Date`, as it stands there.
    pub date: String,
    /// Whether indexes can be fetched by their hash, so that a mirror in mid-update does no harm.
    pub by_hash: bool,
    /// Size and digest of every index by its path below the suite.
    pub indexes: BTreeMap<String, (u64, Digest)>,
}

/// Why a Release is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Its signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A good signature, but over another suite.
    #[error("is of the suite {found:?}, asked was {asked:?}: the mirror hands out the wrong one")]
    Suite {
        /// What was asked for.
        asked: String,
        /// Its `Codename`, else its `Suite`.
        found: String,
    },
    /// Too old to lock from.
    #[error("was valid until {0} only: the mirror is stale, or this machine's clock is wrong")]
    Stale(String),
    /// A field that is missing or unreadable.
    #[error("has no readable {0}")]
    Field(&'static str),
}

/// Verifies the bytes of an `InRelease` at the time `now` (seconds since 1970) and reads it.
///
/// # Errors
/// No good signature, another suite than `suite`, past its `Valid-Until`, or unreadable.
pub(crate) fn open(bytes: &[u8], keyring: &Keyring, suite: &str, now: i64) -> Result<Release, ReleaseError> {
    parse(&keyring.verify(bytes, now)?, suite, now)
}

fn parse(text: &str, suite: &str, now: i64) -> Result<Release, ReleaseError> {
    let paragraph = deb822::paragraphs(text).next().ok_or(ReleaseError::Field("field"))?;
    let (codename, alias) = (paragraph.get("Codename"), paragraph.get("Suite"));
    if codename != Some(suite) && alias != Some(suite) {
        let found = codename.or(alias).unwrap_or_default().to_owned();
        return Err(ReleaseError::Suite { asked: suite.into(), found });
    }
    if let Some(until) = paragraph.get("Valid-Until")
        && date::parse(until).ok_or(ReleaseError::Field("Valid-Until"))? < now
    {
        return Err(ReleaseError::Stale(until.into()));
    }
    let date = paragraph
        .get("Date")
        .filter(|date| date::parse(date).is_some())
        .ok_or(ReleaseError::Field("Date"))?;
    let table = paragraph.get("SHA256").ok_or(ReleaseError::Field("SHA256"))?;
    let rows = table.lines().filter(|line| !line.trim().is_empty()).map(row);
    Ok(Release {
        date: date.into(),
        by_hash: paragraph.get("Acquire-By-Hash") == Some("yes"),
        indexes: rows.collect::<Option<_>>().ok_or(ReleaseError::Field("SHA256"))?,
    })
}

fn row(line: &str) -> Option<(String, (u64, Digest))> {
    let mut words = line.split_whitespace();
    let (digest, size, path) = (words.next()?, words.next()?, words.next()?);
    Some((path.into(), (size.parse().ok()?, digest.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000;

    fn text(extra: &str) -> String {
        let digest = Digest::of("");
        format!(
            "Origin: Debian\nSuite: stable-security\nCodename: trixie-security\nDate: Sat, 21 Nov 2026 00:53:03 UTC\n\
             {extra}Acquire-By-Hash: yes\nSHA256:\n {digest}     0 main/binary-armhf/Packages\n {digest} 7 \
             main/binary-armhf/Packages.xz\n"
        )
    }

    #[test]
    fn a_release_reads() {
        let release = parse(&text(""), "trixie-security", NOW).unwrap();
        assert!(release.by_hash);
        assert_eq!(release.date, "Sat, 21 Nov 2026 00:53:03 UTC");
        assert_eq!(release.indexes["main/binary-armhf/Packages.xz"], (7, Digest::of("")));
        assert_eq!(parse(&text(""), "stable-security", NOW).unwrap(), release);
    }

    #[test]
    fn others_are_refused() {
        let check = |text: &str, suite: &str, expect: &str| {
            let message = parse(text, suite, NOW).unwrap_err().to_string();
            assert!(message.contains(expect), "{message}");
        };
        check(&text(""), "trixie", "\"trixie-security\", asked was \"trixie\"");
        check(&text("Valid-Until: Fri, 13 Nov 2026 00:53:03 UTC\n"), "trixie-security", "stale");
        check(&text("Valid-Until: soon\n"), "trixie-security", "Valid-Until");
        check(&text("").replace("Date", "Dated"), "trixie-security", "Date");
        check(&text("").replace(" 7 ", " x "), "trixie-security", "SHA256");
        check("", "trixie", "field");
    }
}
