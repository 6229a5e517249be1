//! A small HTTP server for the devices of these scenes: one question a connection.

use std::io::{Read, Write};

use anyhow::{Context as _, Result};

/// What was asked.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    fields: Vec<(String, String)>,
    pub(super) body: String,
}

impl Asked {
    /// Reads one question.
    pub(super) fn read(stream: &mut impl Read) -> Result<Self> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            let mut piece = [0; 1024];
            let length = stream.read(&mut piece)?;
            anyhow::ensure!(length > 0, "the question breaks off");
            bytes.extend_from_slice(&piece[..length]);
        };
        let text = String::from_utf8(bytes[..head].to_vec())?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let mut word = || words.next().context("no request line").map(str::to_owned);
        let (method, path) = (word()?, word()?);
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let fields: Vec<_> = lines.filter_map(field).collect();
        let mut asked = Self { method, path, fields, body: String::new() };
        let length: usize = asked.field("content-length").unwrap_or("0").parse()?;
        let mut body = bytes[head + 4..].to_vec();
        while body.len() < length {
            let mut piece = vec![0; length - body.len()];
            let more = stream.read(&mut piece)?;
            anyhow::ensure!(more > 0, "the question's content breaks off");
            body.extend_from_slice(&piece[..more]);
        }
        asked.body = String::from_utf8(body)?;
        Ok(asked)
    }

    /// The value of a field whose `name` is written in small letters.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }
}

/// Answers with a status, further fields (each ended by a line's end) and content.
pub(super) fn answer(stream: &mut impl Write, status: &str, fields: &str, body: &str) -> Result<()> {
    let length = body.len();
    let text =
        format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).context("the answer was not taken")
}
