//! What somebody types, or a pipe says, that is not to stand on a screen or a command line.

use std::io::{self, BufRead};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// One line without its end, and not a byte of what comes behind it.
pub(crate) fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    input.read_line(&mut text)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// The terminal at standard input, which does not show what is typed until this is dropped.
pub(crate) struct Silent(Termios);

impl Silent {
    pub(crate) fn begin() -> rustix::io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &modes)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // Nothing is left to be done about it.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
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
            assert_eq!(line(&mut from).unwrap(), expected);
            assert_eq!(from, rest.as_bytes());
        }
    }
}
