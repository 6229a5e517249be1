//! The story in words.

use std::fmt;

use pilotlight_kit::{Event, Outcome};
use pilotlight_lab::Lab;

use crate::{
    Judgement, Machine, State, Step, Told, What, When,
    judge::{Setting, judge, searched},
    read::{is_searched, steps},
};

/// How many machines without a name are mentioned.
const MOST_STRANGERS: usize = 5;

/// The story of one machine's last boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// The machine.
    pub machine: Machine,
    /// What happened, oldest first.
    pub steps: Vec<Step>,
    /// Where it stands.
    pub judgement: Judgement,
}

impl Story {
    /// Reads the story of `machine` out of all `events`, oldest first, as it stands at `now`.
    pub fn of(machine: Machine, events: &[Event], lab: &Lab, now: When) -> Self {
        let steps = steps(events, &machine);
        let strangers = strangers(events, lab);
        let setting = Setting { lab, machine: &machine, now, silent: silence(events), strangers: &strangers };
        let judgement = judge(&steps, &setting);
        Self { machine, steps, judgement }
    }
}

/// Why the Pi answers nobody, when that is the last that was said of it.
fn silence(events: &[Event]) -> Option<&str> {
    let told = |event: &&Event| event.service == "dhcp" && matches!(&*event.stage, "silent" | "probe");
    let last = events.iter().rfind(told).filter(|event| event.outcome != Outcome::Ok)?;
    last.reason.as_deref()
}

/// Machines that asked for an address and have no name, the last ones first.
fn strangers(events: &[Event], lab: &Lab) -> Vec<String> {
    let mut strangers: Vec<String> = Vec::new();
    for event in events.iter().rev().filter(|event| event.service == "dhcp") {
        let Some(mac) = event.mac.as_deref() else { continue };
        let named = mac.parse().is_ok_and(|mac| lab.node_by_mac(mac).is_some());
        if !named && !strangers.iter().any(|stranger| stranger == mac) {
            strangers.push(mac.to_owned());
        }
        if strangers.len() == MOST_STRANGERS {
            break;
        }
    }
    strangers
}

impl fmt::Display for Story {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.machine)?;
        if let Some(first) = self.steps.first() {
            let up = seconds(first.first.boot_ms);
            writeln!(out, ": boot of {} UTC, {up} s after the Pi's power-on", utc(first.first.unix_ms))?;
            for step in &self.steps {
                let after = seconds(step.first.since(first.first));
                writeln!(out, "{after:>11} s  {:<14} {}", step.stage.name(), step_words(step))?;
            }
        } else {
            writeln!(out)?;
        }
        let Judgement { state, words, advice } = &self.judgement;
        match state {
            State::Stopped(stage) => writeln!(out, "stopped at the stage {:?}: {words}", stage.name())?,
            State::Unheard | State::UnderWay | State::Left | State::Ready => writeln!(out, "{words}")?,
        }
        advice.iter().try_for_each(|advice| writeln!(out, "look here: {advice}"))
    }
}

/// A step as it is printed.
pub(crate) fn step_words(step: &Step) -> String {
    let words = match &step.what {
        What::Unanswered { reason, .. } if reason.starts_with("not answered") => reason.clone(),
        What::Unanswered { reason, .. } => format!("not answered: {reason}"),
        What::Offered(address, told) => {
            let offered = address.as_ref().map(|address| format!("offered {address}"));
            format!(
                "{}{}",
                offered.unwrap_or_else(|| "another server's to give".to_owned()),
                told_words(told)
            )
        }
        What::Given(address, told) => {
            format!("given {}{}", address.as_deref().unwrap_or("all but an address"), told_words(told))
        }
        What::Refused(address, message) => format!("refused {address}: {message}"),
        What::Trouble(reason) => reason.clone(),
        What::Begun(file, bytes) => match bytes {
            Some(bytes) => format!("asked for {file}, {} bytes", thousands(*bytes)),
            None => format!("asked for {file}"),
        },
        What::Disk(said) => said.clone(),
        What::Reported(said) if said.is_empty() => "reported itself ready".to_owned(),
        What::Reported(said) => format!("reported itself ready: {said}"),
        What::Fetched(file, bytes, ms) => {
            format!("has {file}, {} bytes in {} s", thousands(*bytes), seconds(*ms))
        }
        What::Broken(file, reason) => format!("has a part of {file}: {reason}"),
        What::Missing(file, reason) if is_searched(file) => {
            return format!("looked for {}: {reason}", searched(file, step.times));
        }
        What::Missing(file, reason) => format!("was refused {file}: {reason}"),
    };
    if step.times < 2 {
        return words;
    }
    let took = seconds(step.last.since(step.first));
    format!("{words} ({} times in {took} s)", step.times)
}

fn told_words(told: &Told) -> String {
    match told {
        Told::Nothing => String::new(),
        Told::Loader(file) | Told::Script(file) => format!(", told to fetch {file}"),
        Told::NoLoader(number) => format!(", no loader for architecture {number}"),
        Told::RaspberryPi => ", told where its files are".to_owned(),
    }
}

/// Seconds with three digits behind the point, from milliseconds.
pub(crate) fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Date and time of day in UTC, from milliseconds since 1970.
pub fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, of_day) = (seconds / 86400, seconds % 86400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    // Years are counted from 1 March, so that the day of the leap comes last: 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_calendar_has_them() {
        let check = |seconds: u64, expect| assert_eq!(utc(seconds * 1000), expect);
        check(0, "1970-01-01 00:00:00");
        check(951_782_399, "2000-02-28 23:59:59");
        check(951_782_400, "2000-02-29 00:00:00");
        check(1_709_251_199, "2024-02-29 23:59:59");
        check(1_709_251_200, "2024-03-01 00:00:00");
        check(1_795_342_736, "2026-11-22 10:18:56");
        check(4_107_542_400, "2100-03-01 00:00:00");
    }

    #[test]
    fn long_numbers_are_grouped() {
        for (number, expect) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), expect);
        }
    }
}
