//! A question to a service over its socket, and its answer.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};

/// Asks `question`, a line, or nothing where the service speaks by itself, and prints the answer. `silence` says what it
/// means when none comes, `who` who is asked.
pub(crate) fn ask(
    who: &str,
    socket: &Path,
    question: Option<&str>,
    patience: Duration,
    silence: &str,
) -> anyhow::Result<()> {
    let ask = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        if let Some(question) = question {
            stream.write_all(format!("{question}\n").as_bytes())?;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = ask().with_context(|| format!("{who} does not answer at {}", socket.display()))?;
    match answer.trim_end() {
        "" => bail!("{silence}"),
        refused if refused.starts_with("refused: ") => bail!("{refused}"),
        good => println!("{good}"),
    }
    Ok(())
}
