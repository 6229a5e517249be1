//! A user's name and password from whoever sits at the terminal, or from standard input.

use std::io::{self, BufRead, IsTerminal as _, Write as _};

use anyhow::{Context as _, ensure};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Asks for both. The password is not shown, and is in no argument, where others would see it.
pub(crate) fn read(device: &str) -> anyhow::Result<(String, String)> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return two(&mut stdin.lock());
    }
    let ask = |what: &str| {
        eprint!("{what}");
        io::stderr().flush()
    };
    ask(&format!("user of {device}: "))?;
    let user = line(&mut stdin.lock())?;
    ask("password (does not show): ")?;
    let silent = Silent::begin(&stdin).context("cannot keep the terminal from showing the password")?;
    let password = line(&mut stdin.lock());
    drop(silent);
    eprintln!();
    Ok((user, password?))
}

fn two(input: &mut impl BufRead) -> anyhow::Result<(String, String)> {
    let both = line(input).and_then(|user| Ok((user, line(input)?)));
    both.context("the user's name and the password are read from standard input, each on a line of its own")
}

fn line(input: &mut impl BufRead) -> anyhow::Result<String> {
    let mut text = String::new();
    input.read_line(&mut text)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    ensure!(!text.is_empty(), "nothing was given");
    Ok(text.to_owned())
}

/// A terminal that does not show what is typed.
struct Silent<'a> {
    terminal: &'a io::Stdin,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn begin(terminal: &'a io::Stdin) -> rustix::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &modes)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines() {
        let read = |text: &str| two(&mut text.as_bytes()).ok();
        let both = Some(("admin".to_owned(), "p w".to_owned()));
        assert_eq!(read("admin\np w\n"), both);
        assert_eq!(read("admin\r\np w"), both);
        for wrong in ["", "admin", "admin\n", "\nsecret\n"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
