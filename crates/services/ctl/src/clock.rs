//! `pilotctl clock`: asked of the time server, which alone may set it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context as _, bail};
use pilotlight_lab::paths::CLOCK_SOCKET;

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
    let ask = || {
        let mut stream = UnixStream::connect(CLOCK_SOCKET)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = ask().with_context(|| format!("the time server does not answer at {CLOCK_SOCKET}"))?;
    match answer.trim_end() {
        "" => bail!("the time server said nothing"),
        refused if refused.starts_with("refused: ") => bail!("{refused}"),
        good => println!("{good}"),
    }
    Ok(())
}
