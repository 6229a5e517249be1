//! Which part of a file a GET asks for: RFC 9110 § 13 (conditions) and § 14 (ranges).

use std::ops::Range;

/// What to answer with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// 200 with all of it.
    Whole,
    /// 206 with these bytes; never empty, never beyond the end.
    Part(Range<u64>),
    /// 304: the client has it already.
    NotModified,
    /// 416: the range lies behind the end.
    Unsatisfiable,
}

/// The headers of a GET that matter here, as far as they are text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions<'a> {
    /// `Range`.
    pub range: Option<&'a str>,
    /// `If-Range`.
    pub if_range: Option<&'a str>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
}

/// Chooses for a file of `length` bytes with the strong entity tag `etag`, quotes included.
///
/// Several ranges in one request are answered with the whole file, as § 14.2 allows; so is a malformed one.
pub fn select(conditions: Conditions<'_>, etag: &str, length: u64) -> Selection {
    if conditions.if_none_match.is_some_and(|tags| matches(tags, etag)) {
        return Selection::NotModified;
    }
    // If-Range compares strongly, and this server gives no dates: anything but our own tag means no.
    if conditions.if_range.is_some_and(|tag| tag.trim() != etag) {
        return Selection::Whole;
    }
    match conditions.range.and_then(parse) {
        None => Selection::Whole,
        Some(Asked::From(first)) if first < length => Selection::Part(first..length),
        Some(Asked::Between(first, last)) if first < length => {
            Selection::Part(first..last.saturating_add(1).min(length))
        }
        Some(Asked::Last(count)) if count > 0 && length > 0 => {
            Selection::Part(length.saturating_sub(count)..length)
        }
        Some(_) => Selection::Unsatisfiable,
    }
}

fn matches(tags: &str, etag: &str) -> bool {
    // Our tags hold no comma, so that a comma always separates. The comparison is the weak one.
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

enum Asked {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

fn parse(range: &str) -> Option<Asked> {
    let (unit, set) = range.trim().split_once('=')?;
    let (first, last) = set.trim().split_once('-')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    match (first, last) {
        ("", last) => Some(Asked::Last(number(last)?)),
        (first, "") => Some(Asked::From(number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Asked::Between(first, last))
        }
    }
}

/// Digits alone. A number that no file can reach counts as the highest there is.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAG: &str = "\"a-1\"";

    #[test]
    fn ranges() {
        use Selection::{Part, Unsatisfiable, Whole};
        let check = |range, length, expect| {
            let conditions = Conditions { range: Some(range), ..Conditions::default() };
            assert_eq!(select(conditions, TAG, length), expect, "{range} of {length}");
        };
        check("bytes=0-0", 10, Part(0..1));
        check("bytes=0-9", 10, Part(0..10));
        check("BYTES=3-", 10, Part(3..10));
        check("bytes=9-99", 10, Part(9..10));
        check("bytes=-3", 10, Part(7..10));
        check("bytes=-99", 10, Part(0..10));
        check("bytes=0-99999999999999999999999", 10, Part(0..10));
        check("bytes=10-", 10, Unsatisfiable);
        check("bytes=99999999999999999999999-", 10, Unsatisfiable);
        check("bytes=-0", 10, Unsatisfiable);
        check("bytes=0-", 0, Unsatisfiable);
        check("bytes=-1", 0, Unsatisfiable);
        for odd in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-3",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=0-1,3-4",
            "lines=0-1",
        ] {
            check(odd, 10, Whole);
        }
    }

    #[test]
    fn conditions() {
        use Selection::{NotModified, Part, Whole};
        let check = |if_none_match, if_range, expect| {
            let conditions = Conditions { range: Some("bytes=1-2"), if_range, if_none_match };
            assert_eq!(select(conditions, TAG, 10), expect, "{conditions:?}");
        };
        check(None, Some("\"a-1\""), Part(1..3));
        check(None, Some("W/\"a-1\""), Whole);
        check(None, Some("\"other\""), Whole);
        check(None, Some("Sun, 06 Nov 1994 08:49:37 GMT"), Whole);
        check(Some("\"a-1\""), None, NotModified);
        check(Some("\"x\", W/\"a-1\""), None, NotModified);
        check(Some("*"), None, NotModified);
        check(Some("\"x\""), None, Part(1..3));
    }

    proptest! {
        #[test]
        fn a_part_lies_within(range in "(bytes=)?[0-9]{0,22}-?[0-9]{0,22}(,.{0,5})?|.{0,30}", length in any::<u64>()) {
            let conditions = Conditions { range: Some(&range), ..Conditions::default() };
            if let Selection::Part(part) = select(conditions, TAG, length) {
                prop_assert!(part.start < part.end && part.end <= length);
            }
        }
    }
}
