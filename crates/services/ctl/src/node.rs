//! `pilotctl node`: the boot story of one machine, out of the event log.

use std::{
    io::{self, Write as _},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use pilotlight_kit::event::since_power_on_ms;
use pilotlight_story::{Machine, Story, When};

use crate::known::Known;

/// Prints the story of the machine `wanted`, a name or a hardware address.
pub(crate) fn print(wanted: &str, known: &Known) -> anyhow::Result<()> {
    let lab = known.lab()?;
    let machine = Machine::find(wanted, &lab)?;
    let events = known.events()?;
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = When { unix_ms: unix.as_millis() as u64, boot_ms: since_power_on_ms() };
    let story = Story::of(machine, &events, &lab, now).to_string();
    // What came from the wire must not steer a terminal.
    let plain: String = story
        .chars()
        .map(|letter| if letter.is_control() && letter != '\n' { '?' } else { letter })
        .collect();
    match io::stdout().lock().write_all(plain.as_bytes()) {
        // Somebody has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot print"),
    }
}
