//! How a desk hands a lab's releases to a Pi that cannot fetch them itself: a lock, what of it is lacking, those files.
//!
//! ```text
//! desk  look                     or   take LENGTH, and so many bytes of a lock
//! Pi    lines of what came of it      need COUNT, and so many lines with the path of a file
//! desk                                the files' bytes, one after the other
//! Pi                                  lines of what came of it
//! ```
//! Whoever may speak so is an operator, whose lock is believed; the bytes are, by their digests. The last lines begin with
//! `refused: ` where nothing came of it.

use std::io::{self, BufRead, Read as _, Write};

use crate::{Lock, LockError};

/// The longest lock that is taken, in bytes: one with every file of a hundred releases.
pub const LONGEST: u64 = 1 << 20;
/// The longest line.
const LONGEST_LINE: u64 = 400;
/// More files are in no lock that is taken.
const MOST_FILES: usize = 10_000;

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// That the Pi looks for what is new.
    Look,
    /// That it takes the files of this lock.
    Take(Lock),
}

/// Why a question or an answer is none.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The connection.
    #[error("the other side went away")]
    Io(#[from] io::Error),
    /// A line that means nothing here.
    #[error("{0:?} means nothing here: the two are of different versions")]
    Unknown(String),
    /// A lock that is none.
    #[error("the lock is none")]
    Lock(#[from] LockError),
    /// What the Pi said instead.
    #[error("{0}")]
    Refused(String),
}

/// Reads what an operator wants.
///
/// # Errors
/// Anything else.
pub fn read_question(from: &mut impl BufRead) -> Result<Question, HandoverError> {
    let line = line(from)?;
    if line == "look" {
        return Ok(Question::Look);
    }
    let length = line.strip_prefix("take ").and_then(|length| length.parse().ok());
    let Some(length) = length.filter(|length| *length <= LONGEST) else {
        return Err(HandoverError::Unknown(line));
    };
    let mut text = String::new();
    from.take(length).read_to_string(&mut text)?;
    Ok(Question::Take(Lock::parse(&text)?))
}

/// Offers a lock.
///
/// # Errors
/// The connection.
pub fn offer(to: &mut impl Write, lock: &Lock) -> io::Result<()> {
    let text = lock.text();
    write!(to, "take {}\n{text}", text.len())?;
    to.flush()
}

/// Says which files are lacking, by their paths.
///
/// # Errors
/// The connection.
pub fn send_need<'a>(to: &mut impl Write, paths: impl ExactSizeIterator<Item = &'a str>) -> io::Result<()> {
    writeln!(to, "need {}", paths.len())?;
    for path in paths {
        writeln!(to, "{path}")?;
    }
    to.flush()
}

/// Reads which files are lacking.
///
/// # Errors
/// The connection, a refusal, and what is no such answer.
pub fn read_need(from: &mut impl BufRead) -> Result<Vec<String>, HandoverError> {
    let first = line(from)?;
    if first.starts_with("refused: ") {
        return Err(HandoverError::Refused(first));
    }
    let count = first.strip_prefix("need ").and_then(|count| count.parse().ok());
    match count.filter(|count| *count <= MOST_FILES) {
        Some(count) => (0..count).map(|_| line(from)).collect(),
        None => Err(HandoverError::Unknown(first)),
    }
}

fn line(from: &mut impl BufRead) -> Result<String, HandoverError> {
    let mut line = String::new();
    from.take(LONGEST_LINE).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None if line.is_empty() => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        None => Err(HandoverError::Unknown(line)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        assert_eq!(read_question(&mut &b"look\n"[..]).unwrap(), Question::Look);
        let mut said = Vec::new();
        offer(&mut said, &Lock::default()).unwrap();
        assert_eq!(read_question(&mut &said[..]).unwrap(), Question::Take(Lock::default()));
        let mut said = Vec::new();
        send_need(&mut said, ["a/b", "c"].into_iter()).unwrap();
        assert_eq!(read_need(&mut &said[..]).unwrap(), ["a/b", "c"]);
        let refused = read_need(&mut &b"refused: no room\n"[..]).unwrap_err();
        assert_eq!(refused.to_string(), "refused: no room");
        for text in ["", "look", "take\n", "take -1\n", "take 1048577\n", "take 5\n", "take 3\nabc"] {
            assert!(read_question(&mut text.as_bytes()).is_err(), "{text:?}");
        }
        for text in ["", "need 2\na\n", "need 10001\n", "need\n", "need 1\na"] {
            assert!(read_need(&mut text.as_bytes()).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_understood_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_question(&mut &bytes[..]);
            let _ = read_need(&mut &bytes[..]);
        }
    }
}
