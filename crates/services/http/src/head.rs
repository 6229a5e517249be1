//! The head of a request: what a server of files and for short reports needs of RFC 9112, strictly.
//!
//! The lines are httparse's to read; what they mean together, above all where the request ends, is decided here. What
//! could be understood in two ways is refused.

use httparse::{Error, Header, Status};

use crate::body::Body;

/// The longest head, in bytes.
pub const LONGEST_HEAD: usize = 16 * 1024;
/// The most fields in a head.
pub const MOST_FIELDS: usize = 64;
/// The longest body that is read to its end, so that its connection can be kept, in bytes.
pub const LONGEST_BODY: u64 = 64 * 1024;

/// What a request wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `POST`.
    Post,
    /// Anything else, as far as a line of the log has room for it.
    Other(String),
}

impl Method {
    /// As it was sent.
    pub fn name(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Other(name) => name,
        }
    }
}

/// A request, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it wants done.
    pub method: Method,
    /// Path and query. The scheme and the host of an absolute target (RFC 9112 § 3.2.2) are left out.
    pub target: String,
    /// `Range`.
    pub range: Option<String>,
    /// `If-Range`.
    pub if_range: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// Whether it is HTTP/1.0, which has to be told that a connection is kept.
    pub old: bool,
    /// Whether the connection can be kept for a next request.
    pub keep: bool,
    /// What comes behind the head.
    pub body: Body,
    /// What a POST said, where that fits with its head into [`LONGEST_HEAD`] and its length was said.
    pub said: Option<Vec<u8>>,
}

/// Why a head is not answered as it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP.
    #[error("a request that is no HTTP/1.1")]
    Garbage,
    /// Another version of HTTP.
    #[error("a request of another version of HTTP")]
    Version,
    /// Longer than [`LONGEST_HEAD`], or more than [`MOST_FIELDS`].
    #[error("a request with too long a head")]
    TooLong,
    /// A first line that fills [`LONGEST_HEAD`] alone.
    #[error("a request with too long a target")]
    TargetTooLong,
    /// HTTP/1.1 without a host, or a request with several.
    #[error("a request that does not name one host")]
    Host,
    /// Where the body ends could be understood in two ways.
    #[error("a request with a body of unclear length")]
    Framing,
    /// A body in a coding that is not known here.
    #[error("a request with a body in an unknown coding")]
    Coding,
    /// An `Expect` that nobody knows.
    #[error("a request that expects what is not known here")]
    Expectation,
}

impl HeadError {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            Self::Garbage | Self::Host | Self::Framing => 400,
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::TooLong => 431,
            Self::Coding => 501,
            Self::Version => 505,
        }
    }

    /// The same as a fixed text, for counting.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Garbage => "a request that is no HTTP/1.1",
            Self::Version => "a request of another version of HTTP",
            Self::TooLong => "a request with too long a head",
            Self::TargetTooLong => "a request with too long a target",
            Self::Host => "a request that does not name one host",
            Self::Framing => "a request with a body of unclear length",
            Self::Coding => "a request with a body in an unknown coding",
            Self::Expectation => "a request that expects what is not known here",
        }
    }
}

/// Reads the head at the start of `bytes`, and says how long it is. None while it is not whole.
///
/// # Errors
/// [`HeadError`] for what cannot become a request any more.
pub fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(Status::Complete(length)) if length <= LONGEST_HEAD => length,
        Ok(Status::Partial) if bytes.len() < LONGEST_HEAD => return Ok(None),
        Ok(_) => {
            let one_line = !bytes.contains(&b'\n');
            return Err(if one_line { HeadError::TargetTooLong } else { HeadError::TooLong });
        }
        Err(Error::Version) => return Err(HeadError::Version),
        Err(Error::TooManyHeaders) => return Err(HeadError::TooLong),
        Err(_) => return Err(HeadError::Garbage),
    };
    let (Some(method), Some(target), Some(minor)) = (head.method, head.path, head.version) else {
        return Err(HeadError::Garbage);
    };
    let old = minor == 0;
    let fields: &[Header<'_>] = head.headers;
    let mut hosts = fields_called(fields, "host");
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && !old) {
        return Err(HeadError::Host);
    }
    let body = body(fields, old)?;
    let expects = expects(fields, old)?;
    // A client that waits for "go on" is given the answer at once instead (RFC 9110 § 10.1.1); whether the body still
    // comes is then up to it, so that nothing behind it could be understood.
    let unread =
        (expects && body != Body::None) || matches!(body, Body::Length(length) if length > LONGEST_BODY);
    let request = Request {
        method: match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            other => Method::Other(other.chars().take(16).collect()),
        },
        target: origin(target).to_owned(),
        range: text(fields, "range"),
        if_range: text(fields, "if-range"),
        if_none_match: text(fields, "if-none-match"),
        old,
        keep: !unread && keeps(fields, old),
        body: if unread { Body::Unread } else { body },
        said: None,
    };
    Ok(Some((request, length)))
}

fn fields_called<'a>(fields: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// A field's value; none when there are several, or it is no text.
fn text(fields: &[Header<'_>], name: &str) -> Option<String> {
    let mut values = fields_called(fields, name);
    let value = values.next().filter(|value| value.is_ascii())?;
    values.next().is_none().then(|| String::from_utf8_lossy(value).into_owned())
}

/// Whether a list (RFC 9110 § 5.6.1) has this word in it.
fn says(fields: &[Header<'_>], name: &str, word: &str) -> bool {
    let values = fields_called(fields, name);
    let mut words = values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    words.any(|said| said.eq_ignore_ascii_case(word.as_bytes()))
}

fn keeps(fields: &[Header<'_>], old: bool) -> bool {
    !says(fields, "connection", "close") && (!old || says(fields, "connection", "keep-alive"))
}

/// RFC 9112 § 6.3, without what only an answer may do.
fn body(fields: &[Header<'_>], old: bool) -> Result<Body, HeadError> {
    let mut lengths = fields_called(fields, "content-length");
    let mut codings = fields_called(fields, "transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Body::None),
        (Some(length), None) if lengths.next().is_none() => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(length).ok().filter(|_| digits);
            match length.and_then(|length| length.parse().ok()).ok_or(HeadError::Framing)? {
                0 => Ok(Body::None),
                length => Ok(Body::Length(length)),
            }
        }
        (None, Some(_)) if old => Err(HeadError::Framing),
        (None, Some(coding)) if codings.next().is_none() => {
            let chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
            chunked.then(Body::chunked).ok_or(HeadError::Coding)
        }
        _ => Err(HeadError::Framing),
    }
}

fn expects(fields: &[Header<'_>], old: bool) -> Result<bool, HeadError> {
    let mut expectations = fields_called(fields, "expect");
    match expectations.next() {
        // HTTP/1.0 knows no such thing (RFC 9110 § 10.1.1).
        _ if old => Ok(false),
        None => Ok(false),
        Some(word) if word.trim_ascii().eq_ignore_ascii_case(b"100-continue") => Ok(true),
        Some(_) => Err(HeadError::Expectation),
    }
}

fn origin(target: &str) -> &str {
    const SCHEME: &str = "http://";
    let scheme = target.get(..SCHEME.len()).filter(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
    let Some(rest) = scheme.and_then(|scheme| target.strip_prefix(scheme)) else { return target };
    let path = rest.find(['/', '?']).and_then(|at| rest.get(at..));
    path.unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str) -> Result<Request, HeadError> {
        let head = head.replace('\n', "\r\n");
        // Nothing less is a head, and what comes behind it does not count.
        for cut in 0..head.len() {
            assert!(!matches!(parse(&head.as_bytes()[..cut]), Ok(Some(_))), "{head} at {cut}");
        }
        let parsed = parse(format!("{head}GET /").as_bytes());
        parsed.map(|parsed| {
            let (request, length) = parsed.unwrap();
            assert_eq!(length, head.len());
            request
        })
    }

    fn get(target: &str) -> Request {
        Request {
            method: Method::Get,
            target: target.to_owned(),
            range: None,
            if_range: None,
            if_none_match: None,
            old: false,
            keep: true,
            body: Body::None,
            said: None,
        }
    }

    #[test]
    fn heads() {
        assert_eq!(check("GET /a?b HTTP/1.1\nHost: x\n\n"), Ok(get("/a?b")));
        assert_eq!(check("\nGET /a HTTP/1.1\nHost:\n\n"), Ok(get("/a")));
        let old = Request { old: true, keep: false, ..get("/a") };
        assert_eq!(check("GET /a HTTP/1.0\n\n"), Ok(old.clone()));
        assert_eq!(check("GET /a HTTP/1.0\nConnection: Keep-Alive\n\n"), Ok(Request { keep: true, ..old }));
        let closing = Request { keep: false, ..get("/a") };
        assert_eq!(check("GET /a HTTP/1.1\nHost: x\nConnection: TE, close\n\n"), Ok(closing));
        let head = Request { method: Method::Head, range: Some("bytes=1-".into()), ..get("/a") };
        assert_eq!(check("HEAD /a HTTP/1.1\nhost: x\nrange: bytes=1-\n\n"), Ok(head));
        let conditions =
            Request { if_range: Some("\"a\"".into()), if_none_match: Some("*".into()), ..get("/a") };
        assert_eq!(
            check("GET /a HTTP/1.1\nHost: x\nIf-Range: \"a\"\nIf-None-Match: *\nRange: a\nRange: b\n\n"),
            Ok(conditions)
        );
        let other = Request { method: Method::Other("A-METHOD-WITH-A-".into()), ..get("*") };
        assert_eq!(check("A-METHOD-WITH-A-NAME * HTTP/1.1\nHost: x\n\n"), Ok(other));
    }

    #[test]
    fn absolute_targets() {
        for (target, expect) in [
            ("http://x/a", "/a"),
            ("HTTP://[::1]:80/a?b=http://c/", "/a?b=http://c/"),
            ("http://x", "/"),
            ("http://x?y", "?y"),
            ("https://x/a", "https://x/a"),
            ("é", "é"),
        ] {
            let request = check(&format!("GET {target} HTTP/1.1\nHost: x\n\n")).unwrap();
            assert_eq!(request.target, expect);
        }
    }

    #[test]
    fn bodies() {
        let body = |fields: &str| {
            check(&format!("GET / HTTP/1.1\nHost: x\n{fields}\n\n"))
                .map(|request| (request.body, request.keep))
        };
        assert_eq!(body("Content-Length: 0"), Ok((Body::None, true)));
        assert_eq!(body("Content-Length: 5"), Ok((Body::Length(5), true)));
        assert_eq!(body("Content-Length: 65537"), Ok((Body::Unread, false)));
        assert_eq!(body("Transfer-Encoding: Chunked"), Ok((Body::chunked(), true)));
        assert_eq!(body("Content-Length: 5\nExpect: 100-Continue"), Ok((Body::Unread, false)));
        assert_eq!(body("Transfer-Encoding: chunked\nExpect: 100-continue"), Ok((Body::Unread, false)));
        assert_eq!(body("Expect: 100-continue"), Ok((Body::None, true)));
        assert_eq!(body("Expect: the unexpected"), Err(HeadError::Expectation));
        for unclear in [
            "Content-Length: 5\nContent-Length: 5",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Content-Length: 5\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\nTransfer-Encoding: chunked",
        ] {
            assert_eq!(body(unclear), Err(HeadError::Framing), "{unclear}");
        }
        for unknown in ["Transfer-Encoding: gzip, chunked", "Transfer-Encoding: identity"] {
            assert_eq!(body(unknown), Err(HeadError::Coding), "{unknown}");
        }
        assert_eq!(check("GET / HTTP/1.0\nTransfer-Encoding: chunked\n\n"), Err(HeadError::Framing));
    }

    #[test]
    fn refusals() {
        let refused =
            |bytes: &[u8], expect| assert_eq!(parse(bytes), Err(expect), "{}", bytes.escape_ascii());
        refused(b"\x16\x03\x01\x02\0\x01", HeadError::Garbage);
        refused(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", HeadError::Garbage);
        refused(b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", HeadError::Garbage);
        refused(b"GET  / HTTP/1.1\r\n", HeadError::Garbage);
        refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::Version);
        refused(b"GET / HTTP/1.1\r\n\r\n", HeadError::Host);
        refused(b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", HeadError::Host);
        let long = |start: &str, more: &str| {
            let mut text = start.to_owned();
            while text.len() < LONGEST_HEAD {
                text.push_str(more);
            }
            text.into_bytes()
        };
        refused(&long("GET /", "a"), HeadError::TargetTooLong);
        refused(&long("GET / HTTP/1.1\r\nx: ", "a"), HeadError::TooLong);
        refused(&long("GET / HTTP/1.1\r\n", "x: y\r\n"), HeadError::TooLong);
        assert_eq!(HeadError::Garbage.to_string(), HeadError::Garbage.reason());
    }
}
