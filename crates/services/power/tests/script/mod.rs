//! A device that has its answers written down: what it is asked must be what is written before each.

use std::time::Duration;

use pilotlight_power::{Answer, Login, Request, Wire, WireError};

pub(crate) struct Script {
    turns: Vec<(String, Vec<u8>)>,
    at: usize,
    /// What was asked.
    pub(crate) asked: Vec<Request>,
    /// How long was waited.
    pub(crate) waited: Duration,
}

impl Script {
    /// Questions (method, path and, where there is one, content) and answers.
    pub(crate) fn new<A: AsRef<[u8]>>(turns: impl IntoIterator<Item = (impl Into<String>, A)>) -> Self {
        let turns = turns.into_iter().map(|(question, answer)| (question.into(), answer.as_ref().to_vec()));
        Self { turns: turns.collect(), at: 0, asked: Vec::new(), waited: Duration::ZERO }
    }

    /// Everything was asked.
    pub(crate) fn done(&self) {
        assert_eq!(self.at, self.turns.len(), "it was not asked {:?}", &self.turns[self.at..]);
    }

    /// The value of `name` in the last request.
    pub(crate) fn last(&self, name: &str) -> Option<&str> {
        self.asked.last().and_then(|request| request.field(name))
    }
}

impl Wire for Script {
    fn ask(&mut self, request: &Request) -> Result<Answer, WireError> {
        let body = request.body.as_deref().unwrap_or_default();
        let question = format!("{request} {body}");
        let turn = self.turns.get(self.at).map(|turn| turn.0.as_str());
        assert_eq!(turn, Some(question.trim_end()), "question {}", self.at);
        self.asked.push(request.clone());
        self.at += 1;
        Ok(Answer::read(&self.turns[self.at - 1].1, true)?.expect("no whole answer is written"))
    }

    fn wait(&mut self, time: Duration) {
        self.waited += time;
    }

    fn random(&mut self) -> Result<[u8; 16], WireError> {
        Ok([0xab; 16])
    }
}

pub(crate) fn login() -> Login {
    Login::new("admin", "geheim").unwrap()
}

/// An answer without what every answer has.
pub(crate) fn answer(status: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
