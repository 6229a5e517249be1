//! A question to a service over its socket, and its answer.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use pilotlight_kit::line;

/// The longest answer that is taken, in bytes.
const LONGEST: u64 = 1 << 20;

/// Asks `question`, a line, or nothing where the service speaks by itself, and prints the answer. `silence` says what it
/// means when none comes, `who` who is asked.
pub(crate) fn ask(
    who: &str,
    socket: &Path,
    question: Option<&str>,
    patience: Duration,
    silence: &str,
) -> anyhow::Result<()> {
    let answer = line::exchange(socket, question.map(str::as_bytes), patience, LONGEST);
    let answer = answer.with_context(|| format!("{who} does not answer at {}", socket.display()))?;
    match String::from_utf8_lossy(&answer).trim_end() {
        "" => bail!("{silence}"),
        refused if refused.starts_with("refused: ") => bail!("{refused}"),
        good => println!("{good}"),
    }
    Ok(())
}
