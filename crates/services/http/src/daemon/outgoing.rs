//! An answer on its way: its head and short bodies out of a buffer, files out of the page cache.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::FileExt as _},
    sync::Arc,
    time::{Duration, Instant},
};

use pilotlight_http::{Reply, Then, Warmth};
use rustix::{io::Errno, net::SendFlags};
use socket2::SockRef;

use crate::{
    answer::{Content, Part},
    readers::{Name, Piece, Readers},
    site::Record,
};

/// A body of so many bytes leaves with its head, out of one buffer: less work than `sendfile(2)`, and little to hold
/// for a client that does not take it.
const SHORT: u64 = 16 * 1024;
/// The most that leaves at a time, so that a fast client does not keep the others waiting.
const STRETCH: u64 = 2 * 1024 * 1024;
/// What takes longer to leave was not in memory after all, or the machine was busy: then it is read once more for nothing.
const SLOW: Duration = Duration::from_millis(50);

/// An answer that has not left yet.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// None of what was no request.
    pub(crate) record: Option<Record>,
    pub(crate) then: Then,
    buffer: Vec<u8>,
    at: usize,
    head: usize,
    file: Option<Remainder>,
    /// Bytes of the file that have left.
    sent: u64,
}

#[derive(Debug)]
struct Remainder {
    file: Arc<File>,
    inode: u64,
    next: u64,
    end: u64,
    /// The piece that a reader was asked for.
    asked: Option<u64>,
}

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All of it has left.
    Done,
    /// There is more, and it can leave at once.
    More,
    /// The client has to take something first.
    Blocked,
    /// The card has to give something first.
    Reading,
}

/// What became of one stretch of a file.
enum Stretch {
    /// Some of it has left.
    Short,
    Over(Progress),
}

impl Outgoing {
    pub(crate) fn new(reply: &Reply, content: Content, then: Then, record: Option<Record>) -> Self {
        let mut buffer = reply.render(then).into_bytes();
        let head = buffer.len();
        let file = match content {
            Content::Text(text) => {
                buffer.extend(text.into_bytes());
                None
            }
            Content::File(Part { file, inode, bytes }) => (!bytes.is_empty()).then(|| Remainder {
                file,
                inode,
                next: bytes.start,
                end: bytes.end,
                asked: None,
            }),
        };
        Self { record, then, buffer, at: 0, head, file, sent: 0 }
    }

    /// Bytes of the body that have left.
    pub(crate) fn sent(&self) -> u64 {
        self.sent + self.at.saturating_sub(self.head) as u64
    }

    /// A reader is done with the piece of the file `inode` that begins with the byte `at`: whether this may go on with it.
    pub(crate) fn was_read(&mut self, inode: u64, at: u64) -> bool {
        let Some(file) = self.file.as_mut().filter(|file| file.inode == inode) else { return false };
        file.asked = file.asked.filter(|asked| *asked != at);
        true
    }

    /// Sends what can leave now.
    pub(crate) fn send(
        &mut self,
        socket: impl AsFd,
        warmth: &mut Warmth,
        readers: &Readers,
        name: Name,
    ) -> io::Result<Progress> {
        self.gather(warmth)?;
        if self.at == 0 && self.file.is_some() {
            // Whole segments alone, as long as there is more to come.
            let _ = SockRef::from(&socket).set_tcp_cork(true);
        }
        if let Some(rest) = self.buffer.get(self.at..).filter(|rest| !rest.is_empty()) {
            match rustix::net::send(&socket, rest, SendFlags::NOSIGNAL) {
                Ok(count) => self.at += count,
                Err(Errno::AGAIN) => return Ok(Progress::Blocked),
                Err(Errno::INTR) => return Ok(Progress::More),
                Err(errno) => return Err(errno.into()),
            }
            if self.at < self.buffer.len() {
                return Ok(Progress::Blocked);
            }
        }
        loop {
            match self.send_file(&socket, warmth, readers, name)? {
                // The kernel took less than it was given: most often it will take nothing more, and that it has to say.
                Stretch::Short => {}
                Stretch::Over(progress) => return Ok(progress),
            }
        }
    }

    fn send_file(
        &mut self,
        socket: impl AsFd,
        warmth: &mut Warmth,
        readers: &Readers,
        name: Name,
    ) -> io::Result<Stretch> {
        let Some(file) = &mut self.file else { return Ok(Stretch::Over(Progress::Done)) };
        let known = warmth.known(file.inode, file.next..file.end.min(file.next.saturating_add(STRETCH)));
        if known == 0 {
            file.ask(readers, name);
            return Ok(Stretch::Over(Progress::Reading));
        }
        let before = file.next;
        let started = Instant::now();
        let count = usize::try_from(known).unwrap_or(usize::MAX);
        let left = match rustix::fs::sendfile(&socket, &file.file, Some(&mut file.next), count) {
            // Cut short since it was opened.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(left) => left,
            Err(Errno::AGAIN) => return Ok(Stretch::Over(Progress::Blocked)),
            Err(Errno::INTR) => return Ok(Stretch::Over(Progress::More)),
            Err(errno) => return Err(errno.into()),
        };
        file.next = before + left as u64;
        self.sent += left as u64;
        if started.elapsed() > SLOW {
            warmth.forget(file.inode, before..file.next);
        }
        if file.next >= file.end {
            self.file = None;
            let _ = SockRef::from(&socket).set_tcp_cork(false);
            return Ok(Stretch::Over(Progress::Done));
        }
        // What is wanted after this is read while this leaves.
        let ahead = file.next.saturating_add(pilotlight_http::warmth::PIECE);
        if ahead < file.end && warmth.known(file.inode, ahead..ahead + 1) == 0 {
            file.ask_at(readers, name, ahead);
        }
        Ok(if left < count { Stretch::Short } else { Stretch::Over(Progress::More) })
    }

    /// Puts a short body behind the head, when it can be had without waiting.
    fn gather(&mut self, warmth: &mut Warmth) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let length = file.end.saturating_sub(file.next);
        if self.at > 0 || length > SHORT || warmth.known(file.inode, file.next..file.end) < length {
            return Ok(());
        }
        let head = self.buffer.len();
        self.buffer.resize(head + usize::try_from(length).unwrap_or(0), 0);
        let body = self.buffer.get_mut(head..).unwrap_or_default();
        file.file.read_exact_at(body, file.next)?;
        self.file = None;
        Ok(())
    }
}

impl Remainder {
    fn ask(&mut self, readers: &Readers, name: Name) {
        self.ask_at(readers, name, self.next);
    }

    fn ask_at(&mut self, readers: &Readers, name: Name, at: u64) {
        let piece = Warmth::piece(at);
        if self.asked.is_none_or(|asked| asked < piece.start) {
            self.asked = Some(piece.start);
            let length = piece.end.saturating_sub(piece.start);
            let file = Arc::clone(&self.file);
            readers.read(Piece { file, inode: self.inode, at: piece.start, length }, name);
        }
    }
}
