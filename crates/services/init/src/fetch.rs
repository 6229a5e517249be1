//! A file over HTTP/1.1, taken up again where it broke off (RFC 9110 § 14): what is asked, and what an answer's head means.

use crate::netroot::Url;

/// The longest head that is read, in bytes.
pub const LONGEST_HEAD: usize = 16 * 1024;
const MOST_FIELDS: usize = 64;

/// What the head of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The head's own length in bytes.
    pub length: usize,
    /// Which byte of the file comes first.
    pub from: u64,
    /// How long the file is.
    pub whole: u64,
}

/// Why an answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not HTTP, or too long a head.
    #[error("the server does not speak HTTP/1.1")]
    Garbage,
    /// Another status.
    #[error("the server answers {status} {phrase}")]
    Status {
        /// The status.
        status: u16,
        /// Its words.
        phrase: String,
    },
    /// Its length cannot be told.
    #[error("the server does not say how long the file is")]
    Length,
}

/// The request for the file at `url` from the byte `from` on.
pub fn request(url: &Url, from: u64) -> String {
    let range = if from == 0 { String::new() } else { format!("Range: bytes={from}-\r\n") };
    format!("GET {} HTTP/1.1\r\nHost: {}\r\n{range}Connection: close\r\n\r\n", url.path, url.server)
}

/// Reads the head at the start of `bytes`; none while it is not whole.
///
/// # Errors
/// [`AnswerError`] for an answer that brings nothing of the file.
pub fn head(bytes: &[u8]) -> Result<Option<Head>, AnswerError> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let length = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST_HEAD => return Ok(None),
        _ => return Err(AnswerError::Garbage),
    };
    let field = |name: &str| {
        let found = answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok()).map(str::trim)
    };
    let (from, whole) = match answer.code {
        Some(200) => (0, field("content-length").and_then(|length| length.parse().ok())),
        Some(206) => {
            let range = field("content-range").and_then(|range| range.strip_prefix("bytes "));
            let parts = range.and_then(|range| {
                let (part, whole) = range.split_once('/')?;
                Some((part.split_once('-')?.0.parse().ok()?, whole.parse().ok()?))
            });
            let (from, whole) = parts.ok_or(AnswerError::Length)?;
            (from, Some(whole))
        }
        status => {
            let phrase = answer.reason.unwrap_or_default().to_owned();
            return Err(AnswerError::Status { status: status.unwrap_or(0), phrase });
        }
    };
    Ok(Some(Head { length, from, whole: whole.ok_or(AnswerError::Length)? }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_and_its_rest() {
        let url = Url { server: "10.77.0.1:80".parse().unwrap(), path: "/assets/root".to_owned() };
        assert_eq!(
            request(&url, 0),
            "GET /assets/root HTTP/1.1\r\nHost: 10.77.0.1:80\r\nConnection: close\r\n\r\n"
        );
        assert!(request(&url, 7).contains("\r\nRange: bytes=7-\r\n"));
        let read = |text: &str| head(text.replace('\n', "\r\n").as_bytes());
        let whole = "HTTP/1.1 200 OK\nContent-Length: 10\n\n0123456789";
        assert_eq!(read(whole), Ok(Some(Head { length: 39, from: 0, whole: 10 })));
        let part = "HTTP/1.1 206 Partial Content\nContent-Length: 3\ncontent-range: bytes 7-9/10\n\n789";
        assert_eq!(read(part).unwrap().map(|head| (head.from, head.whole)), Some((7, 10)));
        assert_eq!(read("HTTP/1.1 200 OK\nContent-"), Ok(None));
        assert_eq!(read("HTTP/1.1 200 OK\n\n"), Err(AnswerError::Length));
        assert_eq!(read("HTTP/1.1 206 OK\nContent-Range: bytes */10\n\n"), Err(AnswerError::Length));
        assert_eq!(
            read("HTTP/1.1 404 Not Found\n\n").unwrap_err().to_string(),
            "the server answers 404 Not Found"
        );
        assert_eq!(read("SSH-2.0-x\n\n"), Err(AnswerError::Garbage));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(text in "(HTTP/1.1 |20[06] |Content-(Length|Range): |bytes |[0-9/*-]|\r\n){0,20}") {
            let _ = head(text.as_bytes());
        }
    }
}
