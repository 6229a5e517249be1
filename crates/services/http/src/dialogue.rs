//! A connection as a row of requests: bytes in as they come, requests out one by one.

use crate::{
    body::Body,
    head::{self, HeadError, LONGEST_HEAD, Method, Request},
};

/// What a client has said and was not dealt with yet: at most [`LONGEST_HEAD`] bytes, and none while it is silent.
#[derive(Debug, Default)]
pub struct Dialogue {
    input: Vec<u8>,
    /// What is to be stepped over before the next head.
    body: Option<Body>,
    /// Nothing more is understood.
    over: bool,
    /// Something is left that was never looked at.
    unread: bool,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing before more bytes are here.
    More,
    /// This request is to be answered.
    Answer(Request),
    /// What came is to be refused; nothing behind it is understood.
    Refuse(HeadError),
    /// The end of a request's body cannot be found. Its answer has left already: the connection is at its end.
    End,
}

/// What a request says behind its head.
enum Said {
    /// Nothing that anyone reads.
    Nothing,
    /// Part of it is still to come.
    NotYet,
    /// This, up to here.
    All(Vec<u8>, usize),
}

impl Dialogue {
    /// How many bytes [`Dialogue::received`] takes now.
    pub fn room(&self) -> usize {
        LONGEST_HEAD.saturating_sub(self.input.len())
    }

    /// Takes what has come. What is more than [`Dialogue::room`] is left out.
    pub fn received(&mut self, bytes: &[u8]) {
        let fitting = bytes.len().min(self.room());
        self.input.extend(bytes.iter().take(fitting));
    }

    /// What is next. Ask again when an answer has left, or more has come.
    pub fn proceed(&mut self) -> Next {
        if self.over {
            return Next::End;
        }
        if let Some(mut body) = self.body.take() {
            match body.step(&self.input) {
                Ok(stepped) => self.take(stepped),
                Err(_) => return self.end(Next::End),
            }
            if body != Body::None {
                self.body = Some(body);
                return Next::More;
            }
        }
        if self.input.is_empty() {
            return Next::More;
        }
        match head::parse(&self.input) {
            Ok(None) => Next::More,
            Ok(Some((mut request, length))) => {
                match self.said(&request, length) {
                    Said::Nothing => self.take(length),
                    Said::NotYet => return Next::More,
                    Said::All(said, end) => {
                        request.said = Some(said);
                        request.body = Body::None;
                        self.take(end);
                    }
                }
                if request.keep {
                    self.body = Some(request.body.clone()).filter(|body| *body != Body::None);
                } else {
                    self.over = true;
                    self.unread = request.body != Body::None;
                }
                Next::Answer(request)
            }
            Err(fault) => self.end(Next::Refuse(fault)),
        }
    }

    /// Whether part of a request is here: a client that says nothing owes nothing.
    pub fn asking(&self) -> bool {
        !self.input.is_empty() || self.body.is_some()
    }

    /// Whether a connection that ends here has something unread.
    pub fn unread(&self) -> bool {
        self.unread || !self.input.is_empty()
    }

    /// What the POST `request` says behind its head of `length` bytes.
    fn said(&self, request: &Request, length: usize) -> Said {
        let (Method::Post, Body::Length(more)) = (&request.method, &request.body) else {
            return Said::Nothing;
        };
        let end = usize::try_from(*more).ok().and_then(|more| length.checked_add(more));
        match end.filter(|end| *end <= LONGEST_HEAD) {
            None => Said::Nothing,
            Some(end) => {
                self.input.get(length..end).map_or(Said::NotYet, |said| Said::All(said.to_owned(), end))
            }
        }
    }

    fn end(&mut self, next: Next) -> Next {
        self.over = true;
        self.unread = true;
        self.input = Vec::new();
        next
    }

    fn take(&mut self, count: usize) {
        if count >= self.input.len() {
            // Thousands of silent connections hold no buffer.
            self.input = Vec::new();
        } else {
            self.input.drain(..count);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is asked, in one word a request, however the bytes are cut.
    fn story(bytes: &[u8], cut: usize) -> Vec<String> {
        let mut dialogue = Dialogue::default();
        let (mut story, mut at) = (Vec::new(), 0);
        loop {
            match dialogue.proceed() {
                Next::More => {
                    let end = (at + cut.min(dialogue.room())).min(bytes.len());
                    let piece = &bytes[at..end];
                    if piece.is_empty() {
                        return story;
                    }
                    at = end;
                    dialogue.received(piece);
                }
                Next::Answer(request) => {
                    let said =
                        request.said.map(|said| format!(": {}", said.escape_ascii())).unwrap_or_default();
                    story.push(format!("{} {}{said}", request.method.name(), request.target));
                }
                Next::Refuse(fault) => {
                    story.push(fault.status().to_string());
                    return story;
                }
                Next::End => {
                    story.push("end".to_owned());
                    return story;
                }
            }
        }
    }

    #[test]
    fn requests_follow_one_another() {
        let check = |text: &str, expect: &[&str]| {
            for cut in [1, 2, 5, 64, 100_000] {
                assert_eq!(story(text.replace('\n', "\r\n").as_bytes(), cut), expect, "{text} by {cut}");
            }
        };
        let one = "GET /1 HTTP/1.1\nHost: x\n\n";
        check("", &[]);
        check(&format!("HEAD /0 HTTP/1.1\nHost: x\n\n{one}{one}"), &["HEAD /0", "GET /1", "GET /1"]);
        check(&format!("GET /0 HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc{one}"), &["GET /0", "GET /1"]);
        check(
            &format!("POST /0 HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n{one}"),
            &["POST /0", "GET /1"],
        );
        check(
            &format!("POST /0 HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3\nabcd\n0\n\n{one}"),
            &["POST /0", "end"],
        );
        check(
            &format!("POST /0 HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc{one}"),
            &["POST /0: abc", "GET /1"],
        );
        check(&format!("POST /0 HTTP/1.0\nContent-Length: 3\n\nabc{one}"), &["POST /0: abc", "end"]);
        check("POST /0 HTTP/1.1\nHost: x\nContent-Length: 3\n\nab", &[]);
        check(&format!("POST /0 HTTP/1.1\nHost: x\n\n{one}"), &["POST /0", "GET /1"]);
        check(
            "POST /0 HTTP/1.1\nHost: x\nExpect: 100-continue\nContent-Length: 3\n\nabc",
            &["POST /0", "end"],
        );
        // Too long to be kept, short enough to be stepped over.
        let long = "a".repeat(LONGEST_HEAD);
        let post = format!("POST /0 HTTP/1.1\nHost: x\nContent-Length: {LONGEST_HEAD}\n\n{long}");
        check(&format!("{post}{one}"), &["POST /0", "GET /1"]);
        // Whatever comes behind the last request is not looked at.
        check(&format!("GET /0 HTTP/1.1\nHost: x\nConnection: close\n\n{one}"), &["GET /0", "end"]);
        check(&format!("GET /0 HTTP/1.0\n\n{one}"), &["GET /0", "end"]);
        check(&format!("GET /0 HTTP/1.1\nHost: x\nContent-Length: 70000\n\n{one}"), &["GET /0", "end"]);
        check(&format!("{one}rubbish\n\n{one}"), &["GET /1", "400"]);
    }

    #[test]
    fn silence_holds_nothing() {
        let mut dialogue = Dialogue::default();
        dialogue.received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(dialogue.asking() && matches!(dialogue.proceed(), Next::Answer(_)));
        assert!(!dialogue.asking() && dialogue.input.capacity() == 0);
    }

    proptest! {
        #[test]
        fn however_it_is_cut(
            parts in proptest::collection::vec(
                "(GET|HEAD|POST) /[a-z]{0,3} HTTP/1\\.[01]\r\n(Host: x\r\n)?(Content-Length: [0-9]{1,2}\r\n)?(Transfer-Encoding: chunked\r\n)?\r\n|[0-9a-f]\r\n|[ -~]{0,20}\r?\n|\\PC{0,8}",
                0..8,
            ),
            cut in 1usize..40,
        ) {
            let bytes = parts.concat().into_bytes();
            prop_assert_eq!(story(&bytes, cut), story(&bytes, LONGEST_HEAD));
        }
    }
}
