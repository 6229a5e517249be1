//! HTTP as firmware, installers and tools speak it, on both protocols of the Internet.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use pilotlight_tests::{
    daemon::{Daemon, PATIENCE},
    process::must,
};

use crate::stage::{LAB, Stage};

/// One connection.
pub(crate) struct Talk {
    stream: TcpStream,
    /// What came beyond the last answer.
    rest: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

impl Talk {
    pub(crate) fn to(address: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("{address} takes no connections"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, rest: Vec::new() })
    }

    pub(crate) fn say(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(text.replace('\n', "\r\n").as_bytes()).context("could not send a request")
    }

    /// The next answer. `head` says that it is one to HEAD: without a body, whatever its length.
    pub(crate) fn hear(&mut self, head: bool) -> Result<Answer> {
        let end = loop {
            if let Some(end) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(self.more()? > 0, "the server hangs up without an answer: {:?}", self.rest);
        };
        let text = String::from_utf8(self.rest.drain(..end).collect()).context("a head that is no text")?;
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
        let mut answer = Answer { status, head: text, body: Vec::new() };
        let length: usize = match answer.field("Content-Length") {
            _ if head || status == 304 => 0,
            length => length.and_then(|length| length.parse().ok()).context("no length")?,
        };
        while self.rest.len() < length {
            ensure!(self.more()? > 0, "the server hangs up in the middle of a body");
        }
        answer.body = self.rest.drain(..length).collect();
        Ok(answer)
    }

    pub(crate) fn get(&mut self, path: &str, fields: &str) -> Result<Answer> {
        self.say(&format!("GET {path} HTTP/1.1\nHost: lab\n{fields}\n"))?;
        self.hear(false).with_context(|| format!("GET {path} {fields}"))
    }

    fn must_have_ended(&mut self) -> Result<()> {
        ensure!(self.rest.is_empty() && self.more()? == 0, "there is more: {:?}", self.rest);
        Ok(())
    }

    fn more(&mut self) -> Result<usize> {
        let mut buffer = vec![0; 64 * 1024];
        let count = self.stream.read(&mut buffer).context("no answer")?;
        self.rest.extend(&buffer[..count]);
        Ok(count)
    }
}

const FOUR: &str = "10.77.0.1:80";
const SIX: &str = "[fd77::1]:80";

/// The server on both, with a file of 300,000 bytes that do not repeat soon.
fn serve(stage: &Stage) -> Result<(Daemon, Vec<u8>)> {
    stage.cable.fixed_client_address()?;
    stage.cable.ip("address add fd77::50/64 dev client0 nodad")?;
    stage.cable.server_ip("address add fd77::1/64 dev eth0 nodad")?;
    let root = stage.subfolder("http")?;
    let content: Vec<u8> = (0..100_000u32).flat_map(|number| number.to_be_bytes()[1..].to_vec()).collect();
    fs::write(root.join("file"), &content)?;
    let arguments = ["--root", &root.to_string_lossy(), "--listen", FOUR, "--listen", SIX];
    Ok((stage.daemon("pilotlight-httpd", "httpd", &arguments)?, content))
}

pub(crate) fn protocol() -> Result<()> {
    let stage = Stage::set(LAB)?;
    let (mut server, content) = serve(&stage)?;
    for address in [FOUR, SIX] {
        parts(address, &content).with_context(|| format!("parts, from {address}"))?;
        connections(address, &content).with_context(|| format!("connections, to {address}"))?;
        bodies(address).with_context(|| format!("bodies, to {address}"))?;
        refusals(address).with_context(|| format!("refusals, by {address}"))?;
        let mut curl = stage.client("curl")?;
        curl.args(["-sS", "-g", "-o"]).arg(stage.path("fetched")).args(["-C", "-"]);
        fs::write(stage.path("fetched"), &content[..1_000])?;
        must(curl.arg(format!("http://{address}/assets/file")), PATIENCE)?;
        ensure!(fs::read(stage.path("fetched"))? == content, "curl went on with something else");
    }
    let told = |event: &serde_json::Value| event["stage"] == "get" && event["address"] == "fd77::50";
    server.event("an answer over IPv6", told)?;
    server.must_be_alive()
}

/// RFC 9110 §§ 13, 14.
fn parts(address: &str, content: &[u8]) -> Result<()> {
    let mut talk = Talk::to(address)?;
    let whole = talk.get("/assets/file", "")?;
    ensure!(whole.status == 200 && whole.body == content, "the file is not the file");
    let tag = whole.field("ETag").context("no tag")?.to_owned();
    ensure!(whole.field("Accept-Ranges") == Some("bytes"), "{}", whole.head);
    let last = content.len() - 1;
    for (range, expect) in [
        ("bytes=0-0", &content[..1]),
        ("bytes=100000-", &content[100_000..]),
        ("bytes=-10", &content[last - 9..]),
        ("bytes=5-299999999", &content[5..]),
    ] {
        let part = talk.get("/assets/file", &format!("Range: {range}\nIf-Range: {tag}\n"))?;
        ensure!(part.status == 206 && part.body == expect, "{range}: {}", part.head);
        ensure!(part.field("Content-Range").is_some_and(|said| said.ends_with("/300000")), "{}", part.head);
    }
    let changed = talk.get("/assets/file", "Range: bytes=1-2\nIf-Range: \"other\"\n")?;
    ensure!(changed.status == 200 && changed.body == content, "{}", changed.head);
    let same = talk.get("/assets/file", &format!("If-None-Match: {tag}\n"))?;
    ensure!(same.status == 304 && same.field("ETag") == Some(&tag), "{}", same.head);
    let beyond = talk.get("/assets/file", "Range: bytes=300000-\n")?;
    ensure!(
        beyond.status == 416 && beyond.field("Content-Range") == Some("bytes */300000"),
        "{}",
        beyond.head
    );
    Ok(())
}

fn connections(address: &str, content: &[u8]) -> Result<()> {
    // EDK II asks for the size first, and gives up when the connection does not outlive that (edk2#9920).
    let mut firmware = Talk::to(address)?;
    firmware.say("HEAD /assets/file HTTP/1.1\nHost: lab\n\n")?;
    let head = firmware.hear(true)?;
    ensure!(head.status == 200 && head.field("Content-Length") == Some("300000"), "{}", head.head);
    ensure!(firmware.get("/assets/file", "")?.body == content, "GET behind HEAD gives something else");
    // Requests behind one another, cut at odd places, before any answer is read.
    let one = "GET /healthz HTTP/1.1\nHost: lab\n\n";
    let many = format!("{one}HEAD /assets/file HTTP/1.1\nHost: lab\n\n{one}").replace('\n', "\r\n");
    let mut hasty = Talk::to(address)?;
    for piece in many.as_bytes().chunks(7) {
        hasty.stream.write_all(piece)?;
    }
    let heard = [hasty.hear(false)?, hasty.hear(true)?, hasty.hear(false)?];
    ensure!(heard.each_ref().map(|answer| answer.status) == [200; 3], "{heard:?}");
    ensure!(heard[2].body == b"ok\n", "{heard:?}");
    let closing = hasty.get("/healthz", "Connection: close\n")?;
    ensure!(closing.field("Connection") == Some("close"), "{}", closing.head);
    hasty.must_have_ended()?;
    // A client that closes its own direction still gets its answer.
    let mut half = Talk::to(address)?;
    half.say("GET /assets/file HTTP/1.1\nHost: lab\n\n")?;
    half.stream.shutdown(Shutdown::Write)?;
    ensure!(half.hear(false)?.body == content, "half a connection is not answered");
    half.must_have_ended()?;
    let mut old = Talk::to(address)?;
    old.say("GET /healthz HTTP/1.0\nConnection: keep-alive\n\n")?;
    ensure!(old.hear(false)?.field("Connection") == Some("keep-alive"), "HTTP/1.0 is not told");
    old.say("GET /healthz HTTP/1.0\n\n")?;
    ensure!(old.hear(false)?.status == 200, "HTTP/1.0 is not answered");
    old.must_have_ended()?;
    let mut proxied = Talk::to(address)?;
    ensure!(
        proxied.get("http://boot.lab:80/healthz", "")?.body == b"ok\n",
        "an absolute target means another page"
    );
    Ok(())
}

fn bodies(address: &str) -> Result<()> {
    let mut talk = Talk::to(address)?;
    talk.say("GET /healthz HTTP/1.1\nHost: lab\nContent-Length: 11\n\nhello world!\n\n")?;
    // Some bytes too many: they belong to the next request.
    ensure!(talk.hear(false)?.status == 200, "a request with a body is not answered");
    ensure!(talk.hear(false)?.status == 400, "what comes behind a body is taken for part of it");
    talk.must_have_ended()?;
    let mut chunked = Talk::to(address)?;
    chunked.say("POST /healthz HTTP/1.1\nHost: lab\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n")?;
    let refused = chunked.hear(false)?;
    ensure!(refused.status == 405 && refused.field("Allow") == Some("GET, HEAD"), "{}", refused.head);
    ensure!(chunked.get("/healthz", "")?.status == 200, "the connection is not kept");
    // Who waits for permission to send gets the answer at once.
    let mut waiting = Talk::to(address)?;
    waiting.say("POST /healthz HTTP/1.1\nHost: lab\nContent-Length: 5\nExpect: 100-continue\n\n")?;
    ensure!(waiting.hear(false)?.status == 405, "who expects 100 waits");
    waiting.must_have_ended()?;
    // A long body is not read to its end, and the answer arrives all the same.
    let mut long = Talk::to(address)?;
    long.say(&format!("POST /x HTTP/1.1\nHost: lab\nContent-Length: 1000000\n\n{}", "x".repeat(1_000_000)))?;
    ensure!(long.hear(false)?.status == 404, "a long body costs the answer");
    long.must_have_ended()
}

fn refusals(address: &str) -> Result<()> {
    for (request, expect) in [
        ("GET /healthz HTTP/1.1\n\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\nHost: a\nHost: b\n\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\nHost: a\nContent-Length: 1\nTransfer-Encoding: chunked\n\n".to_owned(), 400),
        ("GET /healthz HTTP/2.0\nHost: a\n\n".to_owned(), 505),
        ("\u{16}\u{3}\u{1}\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\nHost: a\n\n", "a".repeat(2_000)), 414),
        (format!("GET /{}", "a".repeat(20_000)), 414),
        (format!("GET / HTTP/1.1\nHost: a\n{}\n", "x: y\n".repeat(100)), 431),
        (format!("GET / HTTP/1.1\nHost: a\nx: {}\n\n", "y".repeat(20_000)), 431),
    ] {
        let mut talk = Talk::to(address)?;
        talk.say(&request)?;
        let answer = talk.hear(false)?;
        let shown = &request[..request.len().min(60)];
        ensure!(answer.status == expect, "{shown:?}: {}", answer.head);
        if expect != 414 || request.len() > 10_000 {
            talk.must_have_ended().with_context(|| format!("{shown:?}"))?;
        }
    }
    Ok(())
}

/// Downloads `path` and throws it away; gives how long it took.
pub(crate) fn download(path: &str, length: usize) -> Result<Duration> {
    let start = std::time::Instant::now();
    let mut talk = Talk::to(FOUR)?;
    talk.say(&format!("GET {path} HTTP/1.1\nHost: lab\nConnection: close\n\n"))?;
    let (mut buffer, mut total) = (vec![0; 256 * 1024], 0);
    loop {
        match talk.stream.read(&mut buffer).context("a download stalls")? {
            0 => break,
            count => total += count,
        }
    }
    if total < length {
        bail!("only {total} bytes of {length} came");
    }
    Ok(start.elapsed())
}
