//! What a guest says on its serial console: kept line by line, with times, for whoever waits for something.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::event;

/// The longest line that is kept whole; a guest gone mad does not fill the memory.
const LONGEST_LINE: usize = 16 * 1024;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was complete, counted from the machine's start.
    pub at: Duration,
    /// Its text without the end of line and without terminal control sequences.
    pub text: String,
}

/// One event of the Pi's.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// When it was read off the console, counted from the machine's start.
    pub at: Duration,
    /// The event.
    pub event: Value,
}

/// All that came so far.
#[derive(Debug, Default)]
pub struct Heard {
    /// The lines.
    pub lines: Vec<Line>,
    /// The events among them.
    pub events: Vec<Seen>,
    /// Whether the guest has ended.
    pub closed: bool,
}

/// A guest's console. Clones show the same one.
#[derive(Debug, Clone)]
pub struct Console(Arc<(Mutex<Heard>, Condvar)>);

/// Why a wait ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHeard {
    /// The time was up.
    #[error("did not come within {} s", .0.as_secs())]
    InTime(Duration),
    /// The machine has ended.
    #[error("can no longer come: the machine has ended")]
    Ended,
}

impl Console {
    /// Reads `serial` until it ends, in a thread of its own, and keeps a copy with times in `log`.
    pub fn start(serial: impl Read + Send + 'static, log: &Path) -> io::Result<Self> {
        let log = File::create(log)?;
        let console = Self(Arc::default());
        let heard = console.clone();
        thread::Builder::new().name("console".to_owned()).spawn(move || heard.listen(serial, log))?;
        Ok(console)
    }

    /// All that came so far.
    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `find` finds what it wants in all that came so far.
    pub fn wait<T>(&self, limit: Duration, mut find: impl FnMut(&Heard) -> Option<T>) -> Result<T, NotHeard> {
        let end = Instant::now() + limit;
        let mut heard = self.heard();
        loop {
            if let Some(found) = find(&heard) {
                return Ok(found);
            }
            if heard.closed {
                return Err(NotHeard::Ended);
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return Err(NotHeard::InTime(limit));
            };
            heard = self.0.1.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn listen(&self, mut serial: impl Read, mut log: File) {
        let start = Instant::now();
        let mut events = event::Reader::default();
        let mut line = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = match serial.read(&mut buffer) {
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            for byte in &buffer[..count] {
                if *byte == b'\n' || line.len() == LONGEST_LINE {
                    self.hear(start.elapsed(), &line, &mut events, &mut log);
                    line.clear();
                }
                if *byte != b'\n' {
                    line.push(*byte);
                }
            }
        }
        self.hear(start.elapsed(), &line, &mut events, &mut log);
        self.heard().closed = true;
        self.0.1.notify_all();
    }

    fn hear(&self, at: Duration, raw: &[u8], events: &mut event::Reader, log: &mut File) {
        let text = plain(&String::from_utf8_lossy(raw));
        if text.is_empty() {
            return;
        }
        // A full disk ends the log, not the scene.
        let _ = writeln!(log, "{:9.3} {text}", at.as_secs_f64());
        let found = events.line(&text);
        let mut heard = self.heard();
        heard.events.extend(found.into_iter().map(|event| Seen { at, event }));
        heard.lines.push(Line { at, text });
        drop(heard);
        self.0.1.notify_all();
    }
}

/// `text` without terminal control sequences (ECMA-48) and other control characters.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => match rest.next() {
                // A control sequence ends with a byte from @ to ~.
                Some('[') => while rest.next().is_some_and(|next| !('@'..='~').contains(&next)) {},
                // A system command ends with BEL or ESC \.
                Some(']') => while rest.next().is_some_and(|next| !matches!(next, '\u{7}' | '\\')) {},
                _ => {}
            },
            '\t' => plain.push(' '),
            character if character.is_control() => {}
            character => plain.push(character),
        }
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_go() {
        for (raw, expect) in [
            ("\u{1b}[2J\u{1b}[01;00H\u{1b}[=3hiPXE\u{1b}[0m 1.21\r", "iPXE 1.21"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8003;x\u{1b}\\b", "ab"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("a\tb\u{0}", "a b"),
        ] {
            assert_eq!(plain(raw), expect, "{raw:?}");
        }
    }

    #[test]
    fn lines_and_events_are_kept_and_the_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let serial = io::Cursor::new(b"one\r\n\r\nd[1]: {\"stage\":\"ack\"}\nlast".to_vec());
        let console = Console::start(serial, &log).unwrap();
        let limit = Duration::from_secs(60);
        let found = console.wait(limit, |heard| heard.lines.iter().position(|line| line.text == "last"));
        assert_eq!(found, Ok(2));
        let never = console.wait(limit, |_| None::<()>);
        assert_eq!(never, Err(NotHeard::Ended));
        assert_eq!(console.heard().events[0].event["stage"], "ack");
        assert_eq!(std::fs::read_to_string(log).unwrap().lines().count(), 3);
    }
}
