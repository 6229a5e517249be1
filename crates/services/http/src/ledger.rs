//! How much of each answer has left through a connection.
//!
//! An HTTP library hands over a body long before its bytes are with the client; a log that trusted it would
//! call a download complete that died half a megabyte short. So the bytes are counted where they leave: the
//! answers of one connection follow one another, each with a head that ends at the first empty line and a body
//! of known length.

use std::collections::VecDeque;

/// The answers of one connection that have not left yet.
#[derive(Debug)]
pub struct Ledger<T> {
    entries: VecDeque<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    record: T,
    length: u64,
    sent: u64,
    /// How much of the empty line that ends the head was seen; all of it once the body has begun.
    line: usize,
}

/// An answer that has left, wholly or as far as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Sent<T> {
    /// What was noted with it.
    pub record: T,
    /// The length of its body in bytes.
    pub length: u64,
    /// How many bytes of its body have left.
    pub sent: u64,
    /// Whether all of it, head included, has left.
    pub complete: bool,
}

const HEAD_END: &[u8] = b"\r\n\r\n";

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new() }
    }
}

impl<T> Ledger<T> {
    /// The next answer has a body of `length` bytes on the wire.
    pub fn expect(&mut self, record: T, length: u64) {
        self.entries.push_back(Entry { record, length, sent: 0, line: 0 });
    }

    /// These bytes have left. Gives the answers that are complete by that. Bytes without an answer to count
    /// them to are the library's own, such as a refusal of what was no HTTP at all.
    pub fn wrote(&mut self, mut bytes: &[u8]) -> Vec<Sent<T>> {
        let mut complete = Vec::new();
        while let Some(entry) = self.entries.front_mut() {
            while entry.line < HEAD_END.len() {
                let Some((byte, rest)) = bytes.split_first() else { return complete };
                bytes = rest;
                entry.line = match HEAD_END.get(entry.line) {
                    Some(expected) if expected == byte => entry.line + 1,
                    _ => usize::from(*byte == b'\r'),
                };
            }
            let part = (bytes.len() as u64).min(entry.length - entry.sent);
            entry.sent += part;
            bytes = bytes.get(part as usize..).unwrap_or_default();
            if entry.sent < entry.length {
                break;
            }
            complete.extend(self.entries.pop_front().map(Entry::close));
        }
        complete
    }

    /// The connection is gone: what has not left never will.
    pub fn close(&mut self) -> Vec<Sent<T>> {
        self.entries.drain(..).map(Entry::close).collect()
    }
}

impl<T> Entry<T> {
    fn close(self) -> Sent<T> {
        let complete = self.line == HEAD_END.len() && self.sent == self.length;
        Sent { record: self.record, length: self.length, sent: self.sent, complete }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(record: u8, length: u64) -> Sent<u8> {
        Sent { record, length, sent: length, complete: true }
    }

    #[test]
    fn answers_are_told_when_they_have_left() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.wrote(b"HTTP/1.1 400 Bad Request\r\n\r\n"), []);
        ledger.expect(1, 3);
        assert_eq!(ledger.wrote(b"HTTP/1.1 200 OK\r\nA: b\r\n\r"), []);
        assert_eq!(ledger.wrote(b"\nab"), []);
        ledger.expect(2, 0);
        ledger.expect(3, 9);
        assert_eq!(ledger.wrote(b"cHTTP/1.1 304\r\r\n\r\nHTTP"), [all(1, 3), all(2, 0)]);
        assert_eq!(ledger.wrote(b"/1.1 200\r\n\r\n12345"), []);
        assert_eq!(ledger.close(), [Sent { record: 3, length: 9, sent: 5, complete: false }]);
        ledger.expect(4, 0);
        assert_eq!(ledger.close(), [Sent { record: 4, length: 0, sent: 0, complete: false }]);
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut(
            lengths in proptest::collection::vec(0u64..40, 1..6),
            cuts in proptest::collection::vec(1usize..30, 1..50),
        ) {
            let mut ledger = Ledger::default();
            let mut stream = Vec::new();
            for (record, length) in lengths.iter().enumerate() {
                ledger.expect(record, *length);
                stream.extend_from_slice(b"HTTP/1.1 200 OK\r\nX: \r\r\n\r\n");
                stream.extend(std::iter::repeat_n(b'\r', *length as usize));
            }
            let mut told = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                told.extend(ledger.wrote(now).into_iter().map(|sent| (sent.record, sent.sent)));
                rest = later;
            }
            prop_assert_eq!(told, lengths.into_iter().enumerate().collect::<Vec<_>>());
        }
    }
}
