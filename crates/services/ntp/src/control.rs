//! What an operator asks of the clock: a line each way.

use std::time::Duration;

use crate::clock::SENSIBLE;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// How the clock is.
    Status,
    /// To set it to this time since 1970.
    Set(Duration),
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not one of them.
    #[error("{0:?} is no request: say `status`, or `set` and the seconds since 1970")]
    Unknown(String),
    /// A time that cannot be meant.
    #[error("{0} s since 1970 is before 2025 or after 2099")]
    Senseless(u64),
}

/// Reads a request: `status`, or `set SECONDS`, without the line's end.
///
/// # Errors
/// Anything else.
pub fn read_request(line: &str) -> Result<Request, RequestError> {
    if line == "status" {
        return Ok(Request::Status);
    }
    let seconds = line.strip_prefix("set ").and_then(|text| text.parse().ok());
    match seconds {
        Some(seconds) if SENSIBLE.contains(&seconds) => Ok(Request::Set(Duration::from_secs(seconds))),
        Some(seconds) => Err(RequestError::Senseless(seconds)),
        None => Err(RequestError::Unknown(line.chars().take(40).collect())),
    }
}

/// The seconds since 1970 of a date and time of UTC, `2026-11-23T23:20:00Z`, or as `@SECONDS`; none for anything else.
pub fn civil(text: &str) -> Option<u64> {
    if let Some(seconds) = text.strip_prefix('@') {
        return seconds.parse().ok();
    }
    let (date, time) = text.strip_suffix('Z')?.split_once(['T', ' '])?;
    let three = |text: &str, sign: char| -> Option<[u64; 3]> {
        let parts: Option<Vec<u64>> = text.split(sign).map(|part| part.parse().ok()).collect();
        parts?.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (three(date, '-')?, three(time, ':')?);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *months.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if !(1970..2100).contains(&year)
        || !(1..=length).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let days = years + months.iter().zip(1..month).map(|(length, _)| length).sum::<u64>() + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        assert_eq!(read_request("status"), Ok(Request::Status));
        assert_eq!(read_request("set 1800000000"), Ok(Request::Set(Duration::from_secs(1_800_000_000))));
        for line in ["", "set", "set x", "set -1", "set 1 2", "stop"] {
            assert_eq!(read_request(line), Err(RequestError::Unknown(line.to_owned())));
        }
        for seconds in [0, 1_735_689_599, 4_102_444_800, u64::MAX] {
            assert_eq!(read_request(&format!("set {seconds}")), Err(RequestError::Senseless(seconds)));
        }
    }

    #[test]
    fn dates_are_read() {
        for (text, expect) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-23T23:20:00Z", Some(1_795_476_000)),
            ("2028-02-29 12:00:01Z", Some(1_835_438_401)),
            ("2099-12-31T23:59:59Z", Some(4_102_444_799)),
            ("@1800000000", Some(1_800_000_000)),
            ("2027-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-11-23T24:00:00Z", None),
            ("2026-11-23T23:20:00", None),
            ("2026-11-23", None),
            ("now", None),
        ] {
            assert_eq!(civil(text), expect, "{text}");
        }
    }
}
