//! What the two sides say to each other: frames of one kind byte, four bytes of length (big-endian) and that many
//! bytes. A frame is JSON, but for the pieces themselves.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Manifest, manifest::MOST_PIECES};

/// The version of this exchange. Both sides must have the same one.
pub const VERSION: u32 = 1;
/// The longest frame in bytes: a manifest of a whole slot is shorter.
pub const LONGEST: u32 = 16 << 20;

const JSON: u8 = b'j';
const PIECE: u8 = b'p';

/// What the desk says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Message {
    /// It has come; this is its [`VERSION`].
    Hello(u32),
    /// The system that it brings.
    Offer(Manifest),
}

/// What the Pi says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// How it is.
    Status(Status),
    /// The pieces that it has not got, by their number in the manifest, ascending.
    Need(Vec<u32>),
    /// Everything is written and read back; the Pi restarts into it now, once.
    Armed,
    /// It will not, or cannot; this is why.
    Refused(String),
}

/// How a Pi is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Its [`VERSION`].
    pub version: u32,
    /// The board that its system was made for.
    pub board: String,
    /// The card's disk signature: eight hexadecimal digits.
    pub signature: String,
    /// The slot that runs: `a` or `b`.
    pub slot: String,
    /// Whether it is on trial.
    pub trial: bool,
    /// The lab on its boot partition, which a new system takes over; none where it cannot be read.
    pub lab: Option<String>,
    /// What became of the last update, in words; none where there was none.
    pub last: Option<String>,
}

/// Why a frame cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The line is broken.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// The other side ended it, in a frame or between two.
    #[error("the connection was closed")]
    Closed,
    /// A frame that is longer than [`LONGEST`].
    #[error("a frame of {0} bytes came; {LONGEST} are the most")]
    TooLong(u32),
    /// Another kind of frame.
    #[error("a frame of kind {found:?} came where {expected:?} was awaited")]
    Kind {
        /// The kind that came.
        found: char,
        /// The one that was awaited.
        expected: char,
    },
    /// JSON that says nothing known.
    #[error("the other side speaks another language")]
    Json(#[from] serde_json::Error),
}

impl From<io::Error> for FrameError {
    fn from(fault: io::Error) -> Self {
        match fault.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(fault),
        }
    }
}

/// Sends a message or reply.
///
/// # Errors
/// The connection broke.
pub fn send(to: &mut impl Write, what: &impl Serialize) -> Result<(), FrameError> {
    frame(to, JSON, &serde_json::to_vec(what)?)
}

/// Sends a piece.
///
/// # Errors
/// The connection broke.
pub fn send_piece(to: &mut impl Write, bytes: &[u8]) -> Result<(), FrameError> {
    frame(to, PIECE, bytes)
}

fn frame(to: &mut impl Write, kind: u8, bytes: &[u8]) -> Result<(), FrameError> {
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&[kind])?;
    to.write_all(&len.to_be_bytes())?;
    to.write_all(bytes)?;
    // A row of pieces goes out together; whoever asks waits for the answer.
    if kind == JSON {
        to.flush()?
    }
    Ok(())
}

/// Reads a message or reply.
///
/// # Errors
/// The connection broke, or something else came.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(&payload(from, JSON, LONGEST)?)?)
}

/// Reads a piece of at most `longest` bytes.
pub(crate) fn read_piece(from: &mut impl Read, longest: u32) -> Result<Vec<u8>, FrameError> {
    payload(from, PIECE, longest)
}

fn payload(from: &mut impl Read, expected: u8, longest: u32) -> Result<Vec<u8>, FrameError> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length);
    if kind != expected {
        return Err(FrameError::Kind { found: kind.into(), expected: expected.into() });
    }
    if length > longest {
        return Err(FrameError::TooLong(length));
    }
    // What was announced need not come: memory grows with what is there.
    let mut bytes = Vec::new();
    let read = from.take(u64::from(length)).read_to_end(&mut bytes)?;
    if read < length as usize {
        return Err(FrameError::Closed);
    }
    Ok(bytes)
}

const _: () = assert!(MOST_PIECES * 200 < LONGEST as usize, "a full manifest must fit a frame");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_sent_is_read() {
        let mut line = Vec::new();
        send(&mut line, &Message::Hello(VERSION)).unwrap();
        send_piece(&mut line, b"piece").unwrap();
        send(&mut line, &Reply::Need(vec![1, 5])).unwrap();
        let mut from = line.as_slice();
        assert_eq!(read::<Message>(&mut from).unwrap(), Message::Hello(VERSION));
        assert_eq!(read_piece(&mut from, 5).unwrap(), b"piece");
        assert_eq!(read::<Reply>(&mut from).unwrap(), Reply::Need(vec![1, 5]));
        assert!(from.is_empty());
    }

    #[test]
    fn what_is_not_awaited_is_refused() {
        let check = |bytes: &[u8], expect: &str| {
            let said = read_piece(&mut &*bytes, 4).unwrap_err().to_string();
            assert!(said.contains(expect), "{said}");
        };
        check(b"", "the connection was closed");
        check(b"p\0\0\0\x05piece", "a frame of 5 bytes came");
        check(b"p\xff\xff\xff\xff", "a frame of 4294967295 bytes came");
        check(b"j\0\0\0\x02{}", "a frame of kind 'j' came where 'p' was awaited");
        check(b"p\0\0\0\x03pi", "the connection was closed");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = read::<Message>(&mut bytes.as_slice());
            let _ = read::<Reply>(&mut [b"j\0\0\0\x10", bytes.as_slice()].concat().as_slice());
            let _ = serde_json::from_slice::<Manifest>(&bytes).map(|manifest| manifest.check());
        }
    }
}
