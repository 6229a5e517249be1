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
    // Days since 1970 with years counted from March, so that the leap day is a year's last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days = shifted_year * 365 + leap_days + (153 * shifted_month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
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
