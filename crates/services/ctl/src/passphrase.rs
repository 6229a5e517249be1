//! A passphrase, from whoever sits there or from a pipe; never from the command line, which others can read.

use std::io::{self, BufRead, IsTerminal as _, Write as _};

use anyhow::{Context as _, ensure};
use pilotlight_pki::SHORTEST_PASSPHRASE;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Reads one; at a terminal without showing it. `twice` is for one that nothing can be compared with.
pub(crate) fn ask(twice: bool) -> anyhow::Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(&mut stdin.lock());
    }
    let _hidden = Hidden::begin()?;
    let one = |prompt: &str| {
        eprint!("{prompt}: ");
        let line = line(&mut stdin.lock());
        eprintln!();
        line
    };
    let passphrase = one(&format!("Passphrase, {SHORTEST_PASSPHRASE} characters or more"))?;
    if twice {
        ensure!(one("The same again")? == passphrase, "these were two passphrases");
    }
    Ok(passphrase)
}

/// The first line, and not a byte of what comes behind it.
fn line(from: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line).context("no passphrase came")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> anyhow::Result<Self> {
        let _ = io::stderr().flush();
        let before = tcgetattr(io::stdin()).context("cannot ask the terminal how it is set")?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden).context("cannot keep the terminal silent")?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Nothing is left to be done about it.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn it_is_the_first_line_and_takes_no_more() {
        for (text, expected, rest) in [
            ("correct horse\nbackup", "correct horse", "backup"),
            (" spaces count \r\n", " spaces count ", ""),
            ("no end", "no end", ""),
            ("", "", ""),
        ] {
            let mut from = text.as_bytes();
            assert_eq!(line(&mut from).expect("a line"), expected);
            assert_eq!(from, rest.as_bytes());
        }
    }
}
