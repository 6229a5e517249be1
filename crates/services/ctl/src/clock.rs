//! `pilotctl clock`: asked of the time server, which alone may set it.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use pilotlight_lab::paths::CLOCK_SOCKET;

use crate::ask::ask;

/// The time server answers at once, or is not there.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(set: Option<&str>) -> anyhow::Result<()> {
    let request = match set {
        None => "status".to_owned(),
        Some(text) => {
            let seconds = pilotlight_ntp::civil(text);
            let seconds = seconds.with_context(|| {
                format!("{text:?} is no time: write it as 2026-11-23T23:20:00Z, or as @ and the seconds since 1970")
            })?;
            format!("set {seconds}")
        }
    };
    let silence = "the time server said nothing";
    ask("the time server", Path::new(CLOCK_SOCKET), Some(&request), PATIENCE, silence)
}
