//! HTTP/1.1 as far as one question and its answer need it (RFC 9110, RFC 9112). Bytes in, values out.

use std::fmt;

/// The longest answer that is read, in bytes. What is asked for here has a few thousand.
pub(crate) const LONGEST: usize = 1 << 20;
const LONGEST_HEAD: usize = 32 * 1024;
/// Management controllers send some thirty, most of them for browsers.
const MOST_FIELDS: usize = 128;

/// Where a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Whether it is spoken to through TLS.
    pub secure: bool,
    /// Its name or address.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
}

impl Origin {
    /// The origin in a lab's `url`; none where that names more than an origin, or none.
    pub fn parse(url: &str) -> Option<Self> {
        let (secure, rest) = match url.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, url.strip_prefix("http://")?),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let usual = if secure { 443 } else { 80 };
        let (host, port) = match rest.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (rest, usual),
        };
        let right = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_';
        (!host.is_empty() && host.chars().all(right)).then(|| Self { secure, host: host.to_owned(), port })
    }

    /// As it stands in the field `Host`: without the port that goes without saying.
    fn authority(&self) -> String {
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// What is asked of a device.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: &'static str,
    /// What it is asked of, from the first slash on.
    pub path: String,
    /// The header's fields, but for those that every request has.
    pub fields: Vec<(&'static str, String)>,
    /// Its content.
    pub body: Option<String>,
}

/// Without the fields: there are passwords in them.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Request {
    /// A question for what is at `path`, wanted as JSON.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        let fields = vec![("Accept", "application/json".to_owned())];
        Self { method: "GET", path: path.into(), fields, body: None }
    }

    /// The same with another field.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// The value of the field `name`.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1.as_str())
    }

    /// The request for a device at `origin`.
    pub fn to_bytes(&self, origin: &Origin) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, origin.authority());
        for (name, value) in &self.fields {
            // No value of ours has such a sign; one would begin another field.
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("User-Agent: pilotlight\r\nConnection: close\r\n\r\n");
        text.push_str(self.body.as_deref().unwrap_or_default());
        text.into_bytes()
    }
}

/// What a device answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The status in the device's words.
    pub phrase: String,
    /// The header's fields.
    pub fields: Vec<(String, String)>,
    /// Its content.
    pub body: Vec<u8>,
}

/// Why an answer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// Not HTTP/1.
    #[error("it does not speak HTTP/1.1")]
    Garbage,
    /// Longer than one MiB.
    #[error("its answer is longer than {LONGEST} bytes")]
    TooLong,
    /// The connection ended within it.
    #[error("its answer breaks off")]
    CutOff,
}

impl Answer {
    /// The answer that `bytes` begin with; none while it is not whole. `ended` says that no more bytes will come.
    ///
    /// # Errors
    /// [`AnswerFault`] for what no further bytes can mend.
    pub fn read(bytes: &[u8], ended: bool) -> Result<Option<Self>, AnswerFault> {
        let mut rest = bytes;
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
            let mut head = httparse::Response::new(&mut fields);
            let length = match head.parse(rest) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) if ended => return Err(AnswerFault::CutOff),
                Ok(httparse::Status::Partial) if rest.len() < LONGEST_HEAD => return Ok(None),
                Ok(httparse::Status::Partial) => return Err(AnswerFault::TooLong),
                Err(_) => return Err(AnswerFault::Garbage),
            };
            let status = head.code.unwrap_or(0);
            rest = rest.get(length..).unwrap_or_default();
            // What comes in between (100 Continue, 103 Early Hints) says nothing.
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            let mut answer = Self {
                status,
                phrase: head.reason.unwrap_or_default().to_owned(),
                fields: head.headers.iter().map(|field| (field.name.to_owned(), text(field.value))).collect(),
                body: Vec::new(),
            };
            return Ok(answer.content(rest, ended)?.map(|body| {
                answer.body = body;
                answer
            }));
        }
    }

    /// The first field of the name `name`.
    pub fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|field| field.0.eq_ignore_ascii_case(name));
        field.map(|field| field.1.as_str())
    }

    /// All fields of the name `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |field| field.0.eq_ignore_ascii_case(name))
            .map(|field| field.1.as_str())
    }

    /// The content behind this head, whose end is told in one of three ways (RFC 9112 § 6.3).
    fn content(&self, rest: &[u8], ended: bool) -> Result<Option<Vec<u8>>, AnswerFault> {
        if matches!(self.status, 204 | 304) {
            return Ok(Some(Vec::new()));
        }
        let short = || match (ended, rest.len() < LONGEST) {
            (true, _) => Err(AnswerFault::CutOff),
            (false, true) => Ok(None),
            (false, false) => Err(AnswerFault::TooLong),
        };
        if let Some(coding) = self.field("Transfer-Encoding") {
            if !coding.eq_ignore_ascii_case("chunked") {
                return Err(AnswerFault::Garbage);
            }
            return match chunks(rest)? {
                Some(body) => Ok(Some(body)),
                None => short(),
            };
        }
        let Some(length) = self.field("Content-Length") else {
            return match (ended, rest.len() <= LONGEST) {
                (_, false) => Err(AnswerFault::TooLong),
                (true, true) => Ok(Some(rest.to_vec())),
                (false, true) => Ok(None),
            };
        };
        let number = length.bytes().all(|c| c.is_ascii_digit()).then(|| length.parse::<u64>().ok()).flatten();
        let length = number.ok_or(AnswerFault::Garbage)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST);
        match rest.get(..length.ok_or(AnswerFault::TooLong)?) {
            Some(body) => Ok(Some(body.to_vec())),
            None => short(),
        }
    }
}

/// What the chunks in `bytes` hold (RFC 9112 § 7.1); none while the last is not there. Fields behind it are passed over.
fn chunks(bytes: &[u8]) -> Result<Option<Vec<u8>>, AnswerFault> {
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        let (at, length) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(AnswerFault::Garbage),
        };
        rest = rest.get(at..).unwrap_or_default();
        if length == 0 {
            // An empty line ends what follows.
            let ends = rest.starts_with(b"\r\n") || rest.windows(4).any(|four| four == b"\r\n\r\n");
            return Ok(ends.then_some(body));
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST - body.len());
        let length = length.ok_or(AnswerFault::TooLong)?;
        let Some((chunk, behind)) = rest.split_at_checked(length) else { return Ok(None) };
        body.extend_from_slice(chunk);
        rest = match behind {
            [b'\r', b'\n', behind @ ..] => behind,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(AnswerFault::Garbage),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, ended: bool) -> Result<Option<(u16, String)>, AnswerFault> {
        let answer = Answer::read(text.replace('\n', "\r\n").as_bytes(), ended)?;
        Ok(answer.map(|answer| (answer.status, String::from_utf8(answer.body).unwrap())))
    }

    #[test]
    fn a_request_says_what_it_must() {
        let origin = Origin::parse("http://10.77.0.9").unwrap();
        let mut request = Request::get("/x").with("Authorization", "Basic eA==\r\nX-Other: 1");
        request.body = Some("value=true".to_owned());
        assert_eq!(
            String::from_utf8(request.to_bytes(&origin)).unwrap(),
            "GET /x HTTP/1.1\r\nHost: 10.77.0.9\r\nAccept: application/json\r\nAuthorization: Basic eA==X-Other: 1\r\n\
             Content-Length: 10\r\nUser-Agent: pilotlight\r\nConnection: close\r\n\r\nvalue=true"
        );
        assert_eq!(format!("{request:?} {request}"), "GET /x GET /x");
        assert_eq!(Origin::parse("https://bmc:8443").unwrap().authority(), "bmc:8443");
    }

    #[test]
    fn places() {
        for (url, expect) in [
            ("http://10.77.0.9", Some((false, "10.77.0.9", 80))),
            ("https://bmc-1.lab/", Some((true, "bmc-1.lab", 443))),
            ("https://bmc:444", Some((true, "bmc", 444))),
            ("https://bmc/redfish", None),
            ("https://bmc:port", None),
            ("ftp://bmc", None),
            ("http://", None),
            ("http://a b", None),
        ] {
            let origin = Origin::parse(url);
            let origin = origin.as_ref().map(|origin| (origin.secure, origin.host.as_str(), origin.port));
            assert_eq!(origin, expect, "{url}");
        }
    }

    #[test]
    fn answers_end_in_three_ways() {
        for (text, ended, expect) in [
            ("HTTP/1.1 200 OK\nContent-Length: 4\n\ntrue and more", false, Ok(Some((200, "true")))),
            ("HTTP/1.1 200 OK\nContent-Length: 4\n\ntru", false, Ok(None)),
            ("HTTP/1.1 200 OK\nContent-Length: 4\n\ntru", true, Err(AnswerFault::CutOff)),
            ("HTTP/1.0 200 OK\n\ntrue", false, Ok(None)),
            ("HTTP/1.0 200 OK\n\ntrue", true, Ok(Some((200, "true")))),
            (
                "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\ntr\n2;x=y\nue\n0\n\n",
                false,
                Ok(Some((200, "true"))),
            ),
            (
                "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\ntr\n0\nX: y\n\n",
                false,
                Ok(Some((200, "tr"))),
            ),
            ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\ntr\n", false, Ok(None)),
            ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\ntr\n", true, Err(AnswerFault::CutOff)),
            ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\ntrue\n", false, Err(AnswerFault::Garbage)),
            ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nffffffff\n", false, Err(AnswerFault::TooLong)),
            ("HTTP/1.1 200 OK\nTransfer-Encoding: gzip\n\n", false, Err(AnswerFault::Garbage)),
            ("HTTP/1.1 204 No Content\n\n", false, Ok(Some((204, "")))),
            ("HTTP/1.1 100 Continue\n\nHTTP/1.1 204 No Content\n\n", false, Ok(Some((204, "")))),
            ("HTTP/1.1 200 OK\nContent-Length: +4\n\ntrue", false, Err(AnswerFault::Garbage)),
            ("HTTP/1.1 200 OK\nContent-Length: 99999999\n\n", false, Err(AnswerFault::TooLong)),
            ("HTTP/1.1 200 OK\nConte", false, Ok(None)),
            ("HTTP/1.1 200 OK\nConte", true, Err(AnswerFault::CutOff)),
            ("", true, Err(AnswerFault::CutOff)),
            ("SSH-2.0-dropbear\n", false, Err(AnswerFault::Garbage)),
        ] {
            let expect = expect.map(|found| found.map(|(status, body)| (status, body.to_owned())));
            assert_eq!(read(text, ended), expect, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(
            text in "(HTTP/1.1 |20[04] |100 |Content-Length: |Transfer-Encoding: chunked|[0-9a-f]{1,3}|\r\n|x){0,24}",
            ended: bool,
        ) {
            let _ = Answer::read(text.as_bytes(), ended);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, ended: bool) {
            let _ = Answer::read(&bytes, ended);
            let _ = chunks(&bytes);
        }

        /// What is whole in one piece is whole in pieces, and never otherwise.
        #[test]
        fn pieces_make_the_same(body in "[a-z\r\n]{0,40}", cut in 0_usize..100) {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let cut = cut.min(text.len());
            let part = Answer::read(&text.as_bytes()[..cut], false).unwrap();
            prop_assert_eq!(part.is_some(), cut == text.len());
            prop_assert_eq!(Answer::read(text.as_bytes(), false).unwrap().unwrap().body, body.as_bytes());
        }
    }
}
