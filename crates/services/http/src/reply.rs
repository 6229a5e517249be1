//! The head of an answer.
//!
//! There is no `Date`: a server whose clock may be wrong must not send one (RFC 9110 § 6.6.1), and a Pi has none of its own.

use std::{fmt::Write as _, ops::Range};

/// What an answer says before its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The length of the body, or of the one that GET would have been given; none with a 304.
    pub length: Option<u64>,
    /// What the body is.
    pub content: Option<&'static str>,
    /// The strong tag of a file, quotes included.
    pub etag: Option<String>,
    /// Which part it is, and of how much.
    pub part: Option<(Range<u64>, u64)>,
    /// How long a file is of which there is no such part.
    pub beyond: Option<u64>,
    /// Whether it is to be asked for again each time.
    pub fleeting: bool,
    /// What can be done with the page, in an answer of the status 405 (RFC 9110 § 15.5.6).
    pub allow: Option<&'static str>,
}

/// What becomes of the connection once an answer has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is kept, as HTTP/1.1 takes for granted.
    Keep,
    /// It is kept, which HTTP/1.0 has to be told.
    KeepOld,
    /// It ends.
    Close,
}

impl Reply {
    /// An answer with this status and a body of `length` bytes.
    pub fn new(status: u16, length: u64) -> Self {
        Self {
            status,
            length: Some(length),
            content: None,
            etag: None,
            part: None,
            beyond: None,
            fleeting: false,
            allow: None,
        }
    }

    /// The head as it is sent, empty line included.
    pub fn render(&self, then: Then) -> String {
        let mut out = String::with_capacity(256);
        // Writing to a string cannot fail.
        let _ = self.write(&mut out, then);
        out
    }

    fn write(&self, out: &mut String, then: Then) -> std::fmt::Result {
        write!(out, "HTTP/1.1 {} {}\r\n", self.status, phrase(self.status))?;
        if let Some(content) = self.content {
            write!(out, "Content-Type: {content}\r\n")?;
        }
        if let Some(length) = self.length {
            // GRUB 2.12 knows it in this spelling alone, and without it takes a kernel for endless.
            write!(out, "Content-Length: {length}\r\n")?;
        }
        if let Some(etag) = &self.etag {
            write!(out, "ETag: {etag}\r\nAccept-Ranges: bytes\r\n")?;
        }
        if let Some((part, length)) = &self.part {
            write!(out, "Content-Range: bytes {}-{}/{length}\r\n", part.start, part.end.saturating_sub(1))?;
        }
        if let Some(length) = self.beyond {
            write!(out, "Content-Range: bytes */{length}\r\n")?;
        }
        if let Some(allow) = self.allow {
            write!(out, "Allow: {allow}\r\n")?;
        }
        if self.fleeting {
            out.push_str("Cache-Control: no-store\r\n");
        }
        out.push_str(match then {
            Then::Keep => "\r\n",
            Then::KeepOld => "Connection: keep-alive\r\n\r\n",
            Then::Close => "Connection: close\r\n\r\n",
        });
        Ok(())
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_answers() {
        let check = |reply: Reply, then, expect: &str| {
            assert_eq!(reply.render(then), expect.replace('\n', "\r\n"));
        };
        let text = Reply { content: Some("text/plain"), fleeting: true, ..Reply::new(404, 13) };
        check(
            text,
            Then::Close,
            "HTTP/1.1 404 Not Found\nContent-Type: text/plain\nContent-Length: 13\nCache-Control: no-store\nConnection: close\n\n",
        );
        let etag = Some("\"a-1\"".to_owned());
        let part = Reply { etag: etag.clone(), part: Some((3..10, 20)), ..Reply::new(206, 7) };
        check(
            part,
            Then::Keep,
            "HTTP/1.1 206 Partial Content\nContent-Length: 7\nETag: \"a-1\"\nAccept-Ranges: bytes\nContent-Range: bytes 3-9/20\n\n",
        );
        let same = Reply { etag, length: None, ..Reply::new(304, 0) };
        check(
            same,
            Then::KeepOld,
            "HTTP/1.1 304 Not Modified\nETag: \"a-1\"\nAccept-Ranges: bytes\nConnection: keep-alive\n\n",
        );
        let beyond = Reply { beyond: Some(20), ..Reply::new(416, 0) };
        check(
            beyond,
            Then::Keep,
            "HTTP/1.1 416 Range Not Satisfiable\nContent-Length: 0\nContent-Range: bytes */20\n\n",
        );
        check(
            Reply { allow: Some("GET, HEAD"), ..Reply::new(405, 0) },
            Then::Keep,
            "HTTP/1.1 405 Method Not Allowed\nContent-Length: 0\nAllow: GET, HEAD\n\n",
        );
    }
}
