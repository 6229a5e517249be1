//! A user's name and password from whoever sits at the terminal, or from standard input.

use std::io::{self, BufRead, IsTerminal as _, Write as _};

use anyhow::{Context as _, ensure};

use crate::typed::{Silent, line};

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
    let user = given(&mut stdin.lock())?;
    ask("password (does not show): ")?;
    let silent = Silent::begin().context("cannot keep the terminal from showing the password")?;
    let password = given(&mut stdin.lock());
    drop(silent);
    eprintln!();
    Ok((user, password?))
}

fn two(input: &mut impl BufRead) -> anyhow::Result<(String, String)> {
    let both = given(input).and_then(|user| Ok((user, given(input)?)));
    both.context("the user's name and the password are read from standard input, each on a line of its own")
}

fn given(input: &mut impl BufRead) -> anyhow::Result<String> {
    let text = line(input)?;
    ensure!(!text.is_empty(), "nothing was given");
    Ok(text)
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
