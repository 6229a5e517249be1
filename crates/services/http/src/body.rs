//! Bodies of requests. Nobody here reads one; they are stepped over, so that the next request is found.

use crate::head::LONGEST_BODY;

/// What is left of a request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, as far as they were seen.
    Chunked(Chunks),
    /// More than is stepped over: the connection ends with the answer.
    Unread,
}

/// Where in a chunked body (RFC 9112 § 7.1) one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    place: Place,
    /// Bytes that were stepped over, frames included.
    seen: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a chunk's length, with so many digits read.
    Length { digits: u8, length: u64 },
    /// Behind a chunk's length, in what it may be followed by.
    Extension { length: u64 },
    /// Before the line feed that ends the line of a chunk's length.
    LengthEnd { length: u64 },
    /// In a chunk with so many bytes to come.
    Data { left: u64 },
    /// Behind a chunk's bytes, before the end of line that follows them.
    DataEnd,
    /// Before the line feed of that.
    DataEndFeed,
    /// In the lines behind the last chunk; whether this line has anything in it.
    Trailer { empty: bool },
    /// Before the line feed that ends one of these lines.
    TrailerFeed { empty: bool },
    /// Behind it all.
    End,
}

/// A body whose end cannot be found, or is too far away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("a request with a body that is too long, or not cut as it says")]
pub struct BodyError;

impl Body {
    /// A body in chunks, before the first of them.
    pub fn chunked() -> Self {
        Self::Chunked(Chunks { place: Place::START, seen: 0 })
    }

    /// Steps over what of it is at the start of `bytes`, and says how much that was. When there is nothing more to come, it
    /// has become [`Body::None`].
    ///
    /// # Errors
    /// [`BodyError`] when the next request cannot be found any more.
    pub fn step(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        match self {
            Self::None => Ok(0),
            Self::Unread => Err(BodyError),
            Self::Length(left) => {
                let part = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= part as u64;
                if *left == 0 {
                    *self = Self::None;
                }
                Ok(part)
            }
            Self::Chunked(chunks) => {
                let part = chunks.step(bytes)?;
                if chunks.place == Place::End {
                    *self = Self::None;
                }
                Ok(part)
            }
        }
    }
}

impl Place {
    const START: Self = Self::Length { digits: 0, length: 0 };

    fn after(self, byte: u8) -> Result<Self, BodyError> {
        Ok(match (self, byte) {
            (Self::Length { digits, length }, _) if byte.is_ascii_hexdigit() && digits < 8 => {
                let digit = char::from(byte).to_digit(16).ok_or(BodyError)?;
                Self::Length { digits: digits + 1, length: length << 4 | u64::from(digit) }
            }
            (Self::Length { digits: 1.., length }, b';' | b' ' | b'\t') => Self::Extension { length },
            (Self::Length { digits: 1.., length } | Self::Extension { length }, b'\r') => {
                Self::LengthEnd { length }
            }
            (Self::Extension { length }, b' '..=b'~' | b'\t' | 0x80..) => Self::Extension { length },
            (Self::LengthEnd { length: 0 }, b'\n') => Self::Trailer { empty: true },
            (Self::LengthEnd { length }, b'\n') => Self::Data { left: length },
            (Self::Data { left: 1 }, _) => Self::DataEnd,
            (Self::Data { left }, _) => Self::Data { left: left - 1 },
            (Self::DataEnd, b'\r') => Self::DataEndFeed,
            (Self::DataEndFeed, b'\n') => Self::START,
            (Self::Trailer { empty }, b'\r') => Self::TrailerFeed { empty },
            (Self::Trailer { .. }, b' '..=b'~' | b'\t' | 0x80..) => Self::Trailer { empty: false },
            (Self::TrailerFeed { empty: true }, b'\n') => Self::End,
            (Self::TrailerFeed { empty: false }, b'\n') => Self::Trailer { empty: true },
            _ => return Err(BodyError),
        })
    }
}

impl Chunks {
    fn step(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        let mut stepped = 0;
        for byte in bytes {
            if self.place == Place::End {
                break;
            }
            self.place = self.place.after(*byte)?;
            stepped += 1;
            self.seen += 1;
            if self.seen > LONGEST_BODY {
                return Err(BodyError);
            }
        }
        Ok(stepped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps over `text` in pieces of `size` bytes and gives what is left of it once the body is over.
    fn rest(mut body: Body, text: &str, size: usize) -> Result<Option<String>, BodyError> {
        let mut at = 0;
        while body != Body::None {
            let Some(piece) =
                text.as_bytes().get(at..(at + size).min(text.len())).filter(|piece| !piece.is_empty())
            else {
                return Ok(None);
            };
            at += body.step(piece)?;
        }
        Ok(Some(text[at..].to_owned()))
    }

    #[test]
    fn bodies_end_where_they_end() {
        let check = |text: &str, expect: Result<Option<&str>, BodyError>| {
            for size in [1, 2, 3, 7, 1000] {
                let got = rest(Body::chunked(), text, size);
                assert_eq!(
                    got.as_ref().map(Option::as_deref),
                    expect.as_ref().copied(),
                    "{text:?} by {size}"
                );
            }
        };
        check("0\r\n\r\nGET", Ok(Some("GET")));
        check("5\r\nhello\r\n0\r\n\r\n", Ok(Some("")));
        check("005;x=\"y\"\r\nhello\r\n1 \r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\nGET", Ok(Some("GET")));
        check("a\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\nx", Ok(Some("x")));
        for open in ["", "5", "5\r\nhel", "5\r\nhello", "0\r\n", "0\r\nA: b\r\n", "0\r\n\r"] {
            check(open, Ok(None));
        }
        for bad in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "5\nhello",
            "5\r\nhelloX",
            "123456789\r\n",
            ";\r\n",
            "0\r\nA\nb",
            "5\r\r",
        ] {
            check(bad, Err(BodyError));
        }
        check(&"1\r\nx\r\n".repeat(20_000), Err(BodyError));
        for size in [1, 3, 100] {
            assert_eq!(rest(Body::Length(5), "helloGET", size), Ok(Some("GET".to_owned())));
            assert_eq!(rest(Body::Length(5), "hell", size), Ok(None));
        }
        assert_eq!(Body::Unread.step(b"x"), Err(BodyError));
    }
}
