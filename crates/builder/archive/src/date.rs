//! The dates of a Release: `Sat, 28 Nov 2026 02:10:46 UTC`.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970-01-01T00:00:00Z, or none when the text is no such date.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let words: Vec<_> = text.split_whitespace().collect();
    let [_, day, month, year, time, "UTC" | "GMT" | "+0000"] = words[..] else { return None };
    let day: i64 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let year: i64 = year.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let parts: Vec<i64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hour @ 0..24, minute @ 0..60, second @ 0..61] = parts[..] else { return None };
    Some(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Seconds since 1970-01-01T00:00:00Z at the beginning of a day, `2026-11-28` in UTC, or none when the text is no such day.
pub fn day(text: &str) -> Option<i64> {
    let parts: Vec<i64> = text.split('-').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [year @ 1970..10_000, month @ 1..13, day @ 1..32] = parts[..] else { return None };
    let seconds = days(year, month, day) * 86_400;
    // A day that its month has not got is another day, and reads otherwise when it is written.
    stamp(seconds).starts_with(&format!("{year:04}{month:02}{day:02}T")).then_some(seconds)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    // Days since 1970 with years counted from March, so that the leap day is a year's last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    shifted_year * 365 + leap_days + (153 * shifted_month + 2) / 5 + day - 1 - 719_468
}

/// Seconds since 1970-01-01T00:00:00Z as snapshot archives write them in their addresses: `20261128T021046Z`.
pub fn stamp(seconds: i64) -> String {
    let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Back again: 400 years have 146,097 days, and years are counted from March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn stamps() {
        let check = |text: &str, expect: &str| {
            assert_eq!(super::stamp(super::parse(text).unwrap()), expect, "{text}");
        };
        check("Thu, 01 Jan 1970 00:00:00 UTC", "19700101T000000Z");
        check("Tue, 29 Feb 2000 12:00:01 UTC", "20000229T120001Z");
        check("Wed, 01 Mar 2000 00:00:00 UTC", "20000301T000000Z");
        check("Thu, 31 Dec 2026 23:59:59 UTC", "20261231T235959Z");
        check("Sat, 12 Sep 2026 07:55:41 UTC", "20260912T075541Z");
    }

    #[test]
    fn days() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(super::day(text), expect, "{text}");
        check("1970-01-01", Some(0));
        check("2026-11-28", Some(1_795_824_000));
        check("2024-02-29", Some(1_709_164_800));
        check("2026-02-29", None);
        check("2026-11-31", None);
        check("26-11-28", None);
        check("2026-11", None);
        check("", None);
    }

    #[test]
    fn dates() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(super::parse(text), expect, "{text}");
        check("Thu, 01 Jan 1970 00:00:00 UTC", Some(0));
        check("Tue, 29 Feb 2000 12:00:01 UTC", Some(951_825_601));
        check("Sat, 28 Nov 2026 02:10:46 UTC", Some(1_795_831_846));
        check("Sat, 28 Nov 2026 02:10:46", None);
        check("Sat, 28 Nov 2026 24:10:46 UTC", None);
        check("", None);
    }
}
