//! Where events go: one line of JSON for each, to standard output (under systemd: the journal) and, as datagrams of one
//! line or more, to `lab-state`, which keeps the log on the data partition.
//!
//! Events never hold up an answer: nothing here waits for a reader. What a reader does not take at once is kept for it,
//! so much and no more; what is beyond that is counted, and told in an event of its own when the reader is back.

use std::{
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::FileType,
    io::Errno,
    net::SendFlags,
};

use crate::Event;

/// The longest datagram that `lab-state` is sent, in bytes. A longer one needs larger pieces of the kernel's memory and
/// is not cheaper by the line.
pub const LONGEST_DATAGRAM: usize = 16 * 1024;
/// The longest event, in bytes. What names it holds are bounded where they come from, so that none comes near it.
pub const LONGEST_EVENT: usize = 8 * 1024;
/// How much is kept for a reader that does not take it, in bytes: some 500 events.
const MOST_KEPT: usize = 128 * 1024;
/// Held lines of this many bytes leave without being asked to.
const ENOUGH: usize = 32 * 1024;
/// What a pipe takes without waiting whenever it takes anything: a page, and no machine has smaller ones.
const ALWAYS_FITS: usize = 4096;
/// When to try again what a reader did not take.
const AGAIN: Duration = Duration::from_millis(100);

/// Where a daemon's events go.
#[derive(Debug)]
pub struct Events(Mutex<Ways>);

/// Both ways, and the line that is being written.
#[derive(Debug)]
struct Ways {
    service: String,
    line: Vec<u8>,
    /// Bytes held since they were last sent.
    held: usize,
    printed: Backlog,
    output: Output,
    logged: Backlog,
    log: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Events {
    /// Events to standard output and to `lab-state` at `log`, which need not be there yet or ever.
    pub fn new(log: &Path) -> Self {
        Self::to(Output::standard(), log)
    }

    fn to(output: Output, log: &Path) -> Self {
        let socket = UnixDatagram::unbound().ok().filter(|socket| socket.set_nonblocking(true).is_ok());
        Self(Mutex::new(Ways {
            service: String::new(),
            line: Vec::new(),
            held: 0,
            printed: Backlog::default(),
            output,
            logged: Backlog::default(),
            log: log.to_owned(),
            socket,
        }))
    }

    /// Stamps `event` with both clocks and sends it out. Never waits, never fails.
    pub fn emit(&self, event: Event) {
        self.hold(event);
        self.flush();
    }

    /// Stamps `event` with both clocks and keeps it until [`Events::flush`]: for a daemon that decides many times
    /// between two looks at its sockets, and sends what it decided in one go before it waits again.
    pub fn hold(&self, mut event: Event) {
        event.stamp();
        let mut ways = self.ways();
        ways.add(&event);
        if ways.held >= ENOUGH {
            ways.flush();
        }
    }

    /// Sends out what is held. Gives when to call it again although nothing has happened, where a reader did not take
    /// everything; who has no timer may leave that to the next event.
    pub fn flush(&self) -> Option<Duration> {
        let mut ways = self.ways();
        ways.flush();
        (!ways.printed.bytes.is_empty() || !ways.logged.bytes.is_empty()).then_some(AGAIN)
    }

    fn ways(&self) -> MutexGuard<'_, Ways> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Ways {
    fn add(&mut self, event: &Event) {
        if self.service != event.service {
            self.service.clone_from(&event.service);
        }
        write(&mut self.line, event);
        self.held += self.line.len();
        self.printed.push(&self.line);
        self.logged.push(&self.line);
    }

    fn flush(&mut self) {
        self.held = 0;
        let Self { service, line, printed, output, logged, log, socket, .. } = self;
        let print = |bytes: &[u8]| output.take(bytes);
        printed.drain(usize::MAX, print, |lost| {
            write(line, &loss(service, "events were not printed: nobody read them in time", lost));
            line
        });
        let Some(socket) = socket else { return logged.bytes.clear() };
        let send = |bytes: &[u8]| match socket.send_to(bytes, &*log) {
            // It is not there, or starts anew: it may be back before there is too much.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Err(io::ErrorKind::WouldBlock.into())
            }
            result => result,
        };
        logged.drain(LONGEST_DATAGRAM, send, |lost| {
            write(line, &loss(service, "events were lost: the log did not take them in time", lost));
            line
        });
    }
}

fn loss(service: &str, reason: &str, lost: u64) -> Event {
    let mut event = Event::failed(service, "events", reason).fact("lost", lost);
    event.stamp();
    event
}

fn write(line: &mut Vec<u8>, event: &Event) {
    line.clear();
    // Every event can be written as JSON: its keys are texts.
    let _ = serde_json::to_writer(&mut *line, event);
    line.push(b'\n');
}

/// Lines that one reader has not taken yet.
#[derive(Debug, Default)]
struct Backlog {
    bytes: Vec<u8>,
    lost: u64,
}

impl Backlog {
    fn push(&mut self, line: &[u8]) {
        if self.bytes.len() + line.len() > MOST_KEPT {
            self.lost += 1;
        } else {
            self.bytes.extend_from_slice(line);
        }
    }

    /// Hands whole lines to `take`, of `most` bytes at once where they are not longer themselves, until it takes no more;
    /// then says what was lost, if there is room again.
    fn drain<'a>(
        &mut self,
        most: usize,
        mut take: impl FnMut(&[u8]) -> io::Result<usize>,
        tell: impl FnOnce(u64) -> &'a mut Vec<u8>,
    ) {
        self.hand_over(most, &mut take);
        if self.lost > 0 && self.bytes.is_empty() {
            let lost = std::mem::take(&mut self.lost);
            self.push(tell(lost));
            self.hand_over(most, &mut take);
            if self.lost > 0 {
                // That line itself was refused: it is told another time, or never.
                self.lost = lost;
            }
        }
        if self.bytes.is_empty() && self.bytes.capacity() > ENOUGH {
            self.bytes = Vec::new();
        }
    }

    fn hand_over(&mut self, most: usize, take: &mut impl FnMut(&[u8]) -> io::Result<usize>) {
        let mut taken = 0;
        while let Some(rest) = self.bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            match take(whole_lines(rest, most)) {
                Ok(length) => taken += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A reader that is gone for good, or that refuses these lines.
                Err(_) => {
                    self.lost += lines(rest);
                    taken = self.bytes.len();
                }
            }
        }
        self.bytes.drain(..taken);
    }
}

/// As many whole lines as fit `most` bytes, and one in any case.
fn whole_lines(bytes: &[u8], most: usize) -> &[u8] {
    if bytes.len() <= most {
        return bytes;
    }
    let end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
    let first = || bytes.iter().position(|byte| *byte == b'\n');
    let last = bytes.get(..most).and_then(end).or_else(first).unwrap_or(bytes.len() - 1);
    bytes.get(..=last).unwrap_or(bytes)
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Standard output, of which nothing is known but that it must not be waited for. It cannot be told so for good: it is
/// shared with standard error, and with whoever started this.
#[derive(Debug)]
struct Output {
    descriptor: Option<OwnedFd>,
    socket: bool,
}

impl Output {
    fn standard() -> Self {
        Self::of(rustix::stdio::stdout())
    }

    fn of(descriptor: BorrowedFd<'_>) -> Self {
        let descriptor = descriptor.try_clone_to_owned().ok();
        let kind = descriptor.as_ref().and_then(|descriptor| rustix::fs::fstat(descriptor).ok());
        let socket = kind.is_some_and(|kind| FileType::from_raw_mode(kind.st_mode) == FileType::Socket);
        Self { descriptor, socket }
    }

    /// Takes as much as it does without waiting.
    fn take(&self, bytes: &[u8]) -> io::Result<usize> {
        let descriptor = self.descriptor.as_ref().ok_or(io::ErrorKind::BrokenPipe)?.as_fd();
        if self.socket {
            return Ok(rustix::net::send(descriptor, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?);
        }
        let mut room = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut room, Some(&at_once))?;
        if room[0].revents().is_empty() {
            return Err(Errno::AGAIN.into());
        }
        Ok(rustix::io::write(descriptor, bytes.get(..ALWAYS_FITS).unwrap_or(bytes))?)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read as _};

    use serde_json::Value;
    use tempfile::TempDir;

    use super::*;

    /// Events whose standard output and log are read here.
    struct Scene {
        _folder: TempDir,
        events: Events,
        printed: File,
        log: UnixDatagram,
    }

    fn scene() -> Scene {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        log.set_nonblocking(true).unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&read, true).unwrap();
        let events = Events::to(Output::of(write.as_fd()), &path);
        Scene { _folder: folder, events, printed: read.into(), log }
    }

    impl Scene {
        fn printed(&mut self) -> Vec<Value> {
            let mut text = Vec::new();
            self.read(&mut text);
            parsed(&text)
        }

        fn read(&mut self, text: &mut Vec<u8>) {
            let ended = self.printed.read_to_end(text);
            assert_eq!(ended.map_err(|error| error.kind()).unwrap_err(), io::ErrorKind::WouldBlock);
        }

        /// What came to the log, datagram by datagram.
        fn logged(&self) -> Vec<Vec<Value>> {
            let mut buffer = vec![0; 2 * LONGEST_DATAGRAM];
            std::iter::from_fn(|| self.log.recv(&mut buffer).ok().map(|length| parsed(&buffer[..length])))
                .collect()
        }
    }

    fn parsed(lines: &[u8]) -> Vec<Value> {
        lines
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    fn event(number: u64) -> Event {
        Event::ok("test", "count").fact("number", number)
    }

    fn numbers(events: &[Value]) -> Vec<u64> {
        events.iter().filter_map(|event| event["number"].as_u64()).collect()
    }

    /// The numbers of lost events that were told.
    fn told(events: &[Value]) -> Vec<u64> {
        events.iter().filter_map(|event| event["lost"].as_u64()).collect()
    }

    #[test]
    fn alone_they_are_sent_at_once_and_held_ones_together() {
        for held in [false, true] {
            let mut scene = scene();
            for number in 0..3 {
                if held { scene.events.hold(event(number)) } else { scene.events.emit(event(number)) }
            }
            if held {
                assert_eq!((scene.printed(), scene.logged()), (vec![], vec![]));
                assert_eq!(scene.events.flush(), None);
            }
            assert_eq!(numbers(&scene.printed()), [0, 1, 2]);
            let datagrams: Vec<Vec<u64>> = scene.logged().iter().map(|lines| numbers(lines)).collect();
            let expect = if held { vec![vec![0, 1, 2]] } else { vec![vec![0], vec![1], vec![2]] };
            assert_eq!(datagrams, expect);
        }
    }

    #[test]
    fn nobody_who_reads_is_waited_for_and_what_is_lost_is_told() {
        let mut scene = scene();
        let many = 5_000;
        for number in 0..many {
            scene.events.hold(event(number));
        }
        assert_eq!(scene.events.flush(), Some(AGAIN));
        let (mut printed, mut logged) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            scene.read(&mut printed);
            logged.extend(scene.logged().concat());
            scene.events.flush();
        }
        for (way, lines) in [("printed", parsed(&printed)), ("logged", logged)] {
            let numbers = numbers(&lines);
            let [lost] = told(&lines)[..] else { panic!("{way}: told {:?}", told(&lines)) };
            assert!(numbers.is_sorted() && lost > 0, "{way}");
            assert_eq!(numbers.len() as u64 + lost, many, "{way}");
            assert_eq!(lines.last().unwrap()["service"], "test", "{way}");
        }
        scene.events.hold(event(many));
        assert_eq!(scene.events.flush(), None);
        assert_eq!((numbers(&scene.printed()), numbers(&scene.logged().concat())), (vec![many], vec![many]));
    }

    #[test]
    fn a_log_that_starts_anew_misses_nothing() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("log");
        let (_read, write) = rustix::pipe::pipe().unwrap();
        let events = Events::to(Output::of(write.as_fd()), &path);
        events.emit(event(0));
        let bound = UnixDatagram::bind(&path).unwrap();
        drop(bound);
        events.emit(event(1));
        std::fs::remove_file(&path).unwrap();
        let log = UnixDatagram::bind(&path).unwrap();
        assert_eq!(events.flush(), None);
        let mut buffer = vec![0; LONGEST_DATAGRAM];
        let length = log.recv(&mut buffer).unwrap();
        assert_eq!(numbers(&parsed(&buffer[..length])), [0, 1]);
    }

    #[test]
    fn a_closed_output_keeps_nothing_from_the_log() {
        let Scene { _folder, events, printed, log } = scene();
        drop(printed);
        events.emit(event(0));
        assert_eq!(events.flush(), None);
        assert!(log.recv(&mut [0; 1024]).is_ok());
    }

    #[test]
    fn lines_are_never_cut() {
        let check = |bytes: &str, most, expect| {
            assert_eq!(whole_lines(bytes.as_bytes(), most).escape_ascii().to_string(), expect);
        };
        check("a\nb\n", 9, r"a\nb\n");
        check("a\nb\n", 4, r"a\nb\n");
        check("a\nb\n", 3, r"a\n");
        check("long\nb\n", 3, r"long\n");
        check("long\n", 3, r"long\n");
    }
}
