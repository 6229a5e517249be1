//! A mirror on the loopback interface: HTTP/1.1 with ranges, one connection a request, and troubles on demand.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use super::Site;

/// What a mirror does wrong with one path.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// Sends so many bytes of the body, then closes; the number of times it does so before it behaves.
    Cut {
        /// Bytes of each body.
        after: usize,
        /// How many requests are cut.
        times: usize,
    },
    /// Sends so many bytes of the body, then nothing more, and holds the connection open.
    Stall {
        /// Bytes of each body.
        after: usize,
        /// How many requests stall.
        times: usize,
    },
    /// Knows the file up to this byte and no further: closes there, wherever a request starts.
    Ends(usize),
    /// Answers with this status.
    Status(u16),
    /// Answers with this status so many times, then behaves.
    Busy {
        /// The status.
        status: u16,
        /// How many requests get it.
        times: usize,
    },
    /// One byte in the middle is another.
    Flip,
    /// So many bytes are appended.
    Longer(usize),
    /// Sends one byte of the body at a time, with this pause after each.
    Drip(std::time::Duration),
    /// Sends the client to another address.
    Redirect(String),
    /// Knows no ranges.
    NoRanges,
    /// Answers a range with another one.
    WrongRange,
}

#[derive(Default)]
struct State {
    site: Site,
    troubles: BTreeMap<String, Trouble>,
    log: Vec<String>,
    /// Connections that are held open.
    held: Vec<TcpStream>,
}

/// A running mirror. It ends with the process; tests do not wait for it.
pub struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Serves a site on a free port.
    pub fn start(site: Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback interface has a free port");
        let address = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let state = Arc::new(Mutex::new(State { site, ..State::default() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || drop(answer(stream, &shared)));
            }
        });
        Self { address, state }
    }

    /// The mirror address of an archive on it: what `--mirror` takes.
    pub fn mirror(&self, archive: &str) -> String {
        format!("{}/{archive}", self.address)
    }

    /// From now on something is wrong with one path.
    pub fn trouble(&self, path: &str, trouble: Trouble) {
        self.state().troubles.insert(path.into(), trouble);
    }

    /// From now on all is well.
    pub fn heal(&self) {
        self.state().troubles.clear();
    }

    /// Replaces what is served.
    pub fn serve(&self, site: Site) {
        self.state().site = site;
    }

    /// The requests so far, each as `PATH` or `PATH from BYTE`; the list starts anew.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the server panics")
    }
}

/// One answer: what to send and where to stop.
struct Answer {
    status: u16,
    content: Vec<u8>,
    start: usize,
    stop_after: Option<usize>,
    hold: bool,
    drip: Option<std::time::Duration>,
    location: Option<String>,
    claimed_start: Option<usize>,
}

fn answer(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let (method, path, from) = request(&stream)?;
    if method == "HEAD" {
        return length(stream, state, &path);
    }
    let answer = {
        let mut state = state.lock().expect("no thread of the server panics");
        state.log.push(from.map_or_else(|| path.clone(), |from| format!("{path} from {from}")));
        decide(&mut state, &path, from)
    };
    let body = answer.content.get(answer.start..).unwrap_or_default();
    let mut head =
        format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n", answer.status, body.len());
    if answer.status == 206 {
        let (start, whole) = (answer.claimed_start.unwrap_or(answer.start), answer.content.len());
        head += &format!("Content-Range: bytes {start}-{}/{whole}\r\n", whole.saturating_sub(1));
    }
    if let Some(location) = &answer.location {
        head += &format!("Location: {location}\r\n");
    }
    let mut out = &stream;
    out.write_all(format!("{head}\r\n").as_bytes())?;
    if let Some(pause) = answer.drip {
        return body.iter().try_for_each(|byte| {
            thread::sleep(pause);
            out.write_all(&[*byte])
        });
    }
    out.write_all(&body[..answer.stop_after.unwrap_or(body.len()).min(body.len())])?;
    out.flush()?;
    if answer.hold {
        state.lock().expect("no thread of the server panics").held.push(stream);
    }
    Ok(())
}

/// Says how long a file is; such a question is nobody's trouble and in no list.
fn length(mut stream: TcpStream, state: &Mutex<State>, path: &str) -> std::io::Result<()> {
    let content =
        state.lock().expect("no thread of the server panics").site.get(path).map(super::Content::read);
    let (status, length) = content.map_or((404, 0), |content| (200, content.len()));
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
}

fn request(stream: &TcpStream) -> std::io::Result<(String, String, Option<usize>)> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut words = first.split_whitespace().map(str::to_owned);
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default().trim_start_matches('/').to_owned();
    let mut from = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.split('-').next().and_then(|start| start.parse().ok());
        }
    }
    Ok((method, path, from))
}

fn decide(state: &mut State, path: &str, from: Option<usize>) -> Answer {
    let content = state.site.get(path).map(super::Content::read);
    let found = content.is_some();
    let content = content.unwrap_or_default();
    let in_range = from.filter(|from| *from < content.len());
    let mut answer = Answer {
        status: if !found {
            404
        } else if from.is_some() && in_range.is_none() {
            416
        } else if from.is_some() {
            206
        } else {
            200
        },
        start: in_range.unwrap_or(if from.is_some() { content.len() } else { 0 }),
        content,
        stop_after: None,
        hold: false,
        drip: None,
        location: None,
        claimed_start: None,
    };
    match state.troubles.get_mut(path) {
        Some(Trouble::Cut { after, times }) if *times > 0 => {
            *times -= 1;
            answer.stop_after = Some(*after);
        }
        Some(Trouble::Stall { after, times }) if *times > 0 => {
            *times -= 1;
            (answer.stop_after, answer.hold) = (Some(*after), true);
        }
        Some(Trouble::Ends(at)) => answer.stop_after = Some(at.saturating_sub(answer.start)),
        Some(Trouble::Status(status)) => (answer.status, answer.content) = (*status, Vec::new()),
        Some(Trouble::Busy { status, times }) if *times > 0 => {
            *times -= 1;
            (answer.status, answer.content) = (*status, Vec::new());
        }
        Some(Trouble::Drip(pause)) => answer.drip = Some(*pause),
        Some(Trouble::Redirect(location)) => {
            (answer.status, answer.location, answer.content) = (302, Some(location.clone()), Vec::new());
        }
        Some(Trouble::Flip) => {
            let middle = answer.content.len() / 2;
            answer.content.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
        }
        Some(Trouble::Longer(bytes)) => answer.content.extend(vec![0; *bytes]),
        Some(Trouble::NoRanges) if answer.status == 206 => (answer.status, answer.start) = (200, 0),
        Some(Trouble::WrongRange) if answer.status == 206 => answer.claimed_start = Some(answer.start + 1),
        _ => {}
    }
    answer
}
