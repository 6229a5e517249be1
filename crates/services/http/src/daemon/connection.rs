//! One connection: what came, what leaves, and how long either may take.

use std::{
    io::{self, Read as _},
    mem,
    net::{IpAddr, Shutdown},
    time::{Duration, Instant},
};

use mio::net::TcpStream;
use pilotlight_http::{Dialogue, Next, Request, Then, Warmth};

use crate::{
    answer::{Answer, answer, refuse},
    consult::Consult,
    outgoing::{Outgoing, Progress},
    readers::Readers,
    site::Site,
};

/// The time for a request to arrive.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The time that a connection may be silent between requests.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// The time in which a client must take at least something of what is sent. One with a large buffer says only now and then
/// that it has taken something: at 10 kB/s every 40 s, with Linux's largest. And TCP itself waits up to two minutes between two
/// tries (RFC 6298 § 2.5): of a thousand machines on one link some are silent that long before their turn comes.
const STALL_TIME: Duration = Duration::from_secs(300);
/// The time to read on behind a refusal: a connection that is closed with something unread tears the answer away.
const LINGER_TIME: Duration = Duration::from_secs(2);
/// Bytes that are read behind a refusal at most.
const LINGER_BYTES: usize = 4 * 1024 * 1024;
/// What `ioctl(2)` calls SIOCOUTQ, on every architecture that a board here has.
const OUT_QUEUE: rustix::ioctl::Opcode = 0x5411;
/// Steps in a row before others get their turn.
const STEPS: usize = 32;

/// What all connections work with.
pub(crate) struct Shared {
    pub(crate) site: Site,
    pub(crate) warmth: Warmth,
    pub(crate) readers: Readers,
    pub(crate) consult: Consult,
    /// What comes is read into this, and kept only as far as it is no whole request.
    pub(crate) buffer: Vec<u8>,
    pub(crate) now: Instant,
    /// Whether each answer is the last of its connection.
    pub(crate) stopping: bool,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    pub(crate) address: IpAddr,
    /// Tells it from others that had its number before.
    pub(crate) generation: u64,
    /// Whether it waits for its turn.
    pub(crate) queued: bool,
    dialogue: Dialogue,
    phase: Phase,
    readable: bool,
    /// Whether the client will say no more: the end is then still to be read.
    heard: bool,
    writable: bool,
    /// When something last came or left.
    moved: Instant,
    /// When the present request began to arrive, or the phase began.
    since: Option<Instant>,
    /// Bytes that the kernel still held for the client when it was last looked at.
    owed: u32,
}

#[derive(Debug)]
enum Phase {
    Asking,
    /// The certificate authority is asked for this answer.
    Consulting(Box<(Answer, Request)>),
    Answering(Box<Outgoing>),
    Lingering {
        left: usize,
    },
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing more before an event.
    Wait,
    /// There is more to do at once.
    Again,
    /// The connection has ended.
    Ended,
}

impl Connection {
    pub(crate) fn new(socket: TcpStream, address: IpAddr, generation: u64, now: Instant) -> Self {
        Self {
            socket,
            address,
            generation,
            queued: false,
            dialogue: Dialogue::default(),
            phase: Phase::Asking,
            readable: false,
            heard: false,
            writable: true,
            moved: now,
            since: None,
            owed: 0,
        }
    }

    /// The kernel says that something can be read or written, or that an end was closed.
    pub(crate) fn wake(&mut self, event: &mio::event::Event) {
        self.heard |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.heard;
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    /// A reader has read the piece at `at` of the file `inode`, or could not.
    pub(crate) fn was_read(&mut self, inode: u64, at: u64, well: bool) -> Turn {
        let Phase::Answering(outgoing) = &mut self.phase else { return Turn::Wait };
        if !outgoing.was_read(inode, at) {
            return Turn::Wait;
        }
        if well { Turn::Again } else { Turn::Ended }
    }

    /// The certificate authority has answered, or has not.
    pub(crate) fn was_told(&mut self, said: io::Result<pilotlight_pki::Answer>, shared: &Shared) {
        if let Phase::Consulting(waiting) = mem::replace(&mut self.phase, Phase::Asking) {
            let (answer, request) = *waiting;
            self.begin(answer.settled(&request, said), &request, shared);
        }
    }

    /// Does what can be done without waiting.
    pub(crate) fn turn(&mut self, shared: &mut Shared, number: usize) -> Turn {
        for _ in 0..STEPS {
            let step = match &mut self.phase {
                Phase::Asking => self.listen(shared, number),
                Phase::Consulting(_) => return Turn::Wait,
                Phase::Answering(_) => self.answer(shared, number),
                Phase::Lingering { .. } => self.linger(shared),
            };
            match step {
                Ok(Some(turn)) => return turn,
                Ok(None) => {}
                // The client is gone: whatever it was told, or not, is told by `end`.
                Err(_) => return Turn::Ended,
            }
        }
        Turn::Again
    }

    /// Ends it; what has not left never will.
    pub(crate) fn end(self, site: &Site) {
        if let Phase::Answering(outgoing) = self.phase {
            let sent = outgoing.sent();
            site.tell(outgoing.record, sent, false);
        }
    }

    /// Whether it has used up its time at `now`.
    pub(crate) fn overdue(&mut self, now: Instant, site: &Site) -> bool {
        let passed = |since: Instant, most| now.saturating_duration_since(since) > most;
        match &self.phase {
            Phase::Asking if self.dialogue.asking() => {
                let late = passed(self.since.unwrap_or(self.moved), HEAD_TIME);
                if late {
                    site.dropped("a request that did not arrive in time", self.address);
                }
                late
            }
            Phase::Asking => passed(self.moved, IDLE_TIME),
            // Whoever asks for it answers in time.
            Phase::Consulting(_) => passed(self.moved, STALL_TIME),
            Phase::Answering(_) => {
                // The kernel takes megabytes for a client at once, which may then leave slowly.
                let owed = owed(&self.socket).unwrap_or(0);
                if owed < mem::replace(&mut self.owed, owed) {
                    self.moved = now;
                }
                passed(self.moved, STALL_TIME)
            }
            Phase::Lingering { .. } => passed(self.since.unwrap_or(self.moved), LINGER_TIME),
        }
    }

    /// For how many milliseconds nothing has come or left.
    pub(crate) fn quiet(&self, now: Instant) -> u64 {
        match &self.phase {
            Phase::Lingering { .. } => u64::MAX,
            _ => now.saturating_duration_since(self.moved).as_millis() as u64,
        }
    }

    /// The server is asked to stop: whether it can end now.
    pub(crate) fn stop(&mut self) -> bool {
        match &mut self.phase {
            Phase::Asking => !self.dialogue.asking(),
            Phase::Answering(outgoing) => {
                outgoing.then = Then::Close;
                false
            }
            Phase::Consulting(_) | Phase::Lingering { .. } => false,
        }
    }

    fn listen(&mut self, shared: &mut Shared, number: usize) -> io::Result<Option<Turn>> {
        match self.dialogue.proceed() {
            Next::Answer(request) => {
                let answer = answer(&shared.site, &request, self.address);
                match &answer.asks {
                    None => self.begin(answer, &request, shared),
                    Some(asks) if shared.consult.ask(asks.question.clone(), (number, self.generation)) => {
                        self.moved = shared.now;
                        self.phase = Phase::Consulting(Box::new((answer, request)));
                    }
                    Some(_) => {
                        let busy = io::Error::other("too many questions wait for it");
                        self.begin(answer.settled(&request, Err(busy)), &request, shared);
                    }
                }
                Ok(None)
            }
            Next::Refuse(fault) => {
                shared.site.dropped(fault.reason(), self.address);
                let Answer { reply, content, .. } = refuse(fault);
                self.phase = Phase::Answering(Box::new(Outgoing::new(&reply, content, Then::Close, None)));
                Ok(None)
            }
            Next::End => self.close(shared.now).map(Some),
            Next::More if !self.readable => Ok(Some(Turn::Wait)),
            Next::More => self.hear(shared),
        }
    }

    fn hear(&mut self, shared: &mut Shared) -> io::Result<Option<Turn>> {
        let room = self.dialogue.room().min(shared.buffer.len());
        let buffer = shared.buffer.get_mut(..room).unwrap_or_default();
        match self.socket.read(buffer) {
            Ok(0) => Ok(Some(Turn::Ended)),
            Ok(count) => {
                // Less than there was room for: that was all, and the kernel tells when there is more (epoll(7)).
                self.readable = count == room || self.heard;
                self.moved = shared.now;
                self.since.get_or_insert(shared.now);
                self.dialogue.received(buffer.get(..count).unwrap_or_default());
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Some(Turn::Wait))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn begin(&mut self, mut answer: Answer, request: &Request, shared: &Shared) {
        let then = match (request.keep && !shared.stopping, request.old) {
            (false, _) => Then::Close,
            (true, false) => Then::Keep,
            (true, true) => Then::KeepOld,
        };
        let record = answer.record(request, self.address, shared.now);
        self.moved = shared.now;
        self.phase =
            Phase::Answering(Box::new(Outgoing::new(&answer.reply, answer.content, then, Some(record))));
    }

    fn answer(&mut self, shared: &mut Shared, number: usize) -> io::Result<Option<Turn>> {
        let Phase::Answering(outgoing) = &mut self.phase else { return Ok(None) };
        if !self.writable {
            return Ok(Some(Turn::Wait));
        }
        let before = outgoing.sent();
        let name = (number, self.generation);
        let progress = outgoing.send(&self.socket, &mut shared.warmth, &shared.readers, name)?;
        if outgoing.sent() > before {
            self.moved = shared.now;
        }
        match progress {
            Progress::Reading => Ok(Some(Turn::Wait)),
            Progress::Blocked => {
                self.writable = false;
                Ok(Some(Turn::Wait))
            }
            Progress::More => Ok(Some(Turn::Again)),
            Progress::Done => {
                let Phase::Answering(outgoing) = mem::replace(&mut self.phase, Phase::Asking) else {
                    return Ok(None);
                };
                let (sent, then) = (outgoing.sent(), outgoing.then);
                shared.site.tell(outgoing.record, sent, true);
                self.moved = shared.now;
                self.since = self.dialogue.asking().then_some(shared.now);
                match then {
                    Then::Keep | Then::KeepOld => Ok(None),
                    Then::Close => self.close(shared.now).map(Some),
                }
            }
        }
    }

    fn close(&mut self, now: Instant) -> io::Result<Turn> {
        if !self.readable && !self.dialogue.unread() {
            return Ok(Turn::Ended);
        }
        self.socket.shutdown(Shutdown::Write)?;
        self.phase = Phase::Lingering { left: LINGER_BYTES };
        self.since = Some(now);
        Ok(Turn::Again)
    }

    fn linger(&mut self, shared: &mut Shared) -> io::Result<Option<Turn>> {
        let Phase::Lingering { left } = &mut self.phase else { return Ok(None) };
        match self.socket.read(&mut shared.buffer) {
            Ok(count) if count == 0 || count >= *left => Ok(Some(Turn::Ended)),
            Ok(count) => {
                *left -= count;
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Some(Turn::Wait)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Bytes that were written and that the other end has not confirmed yet.
fn owed(socket: &TcpStream) -> io::Result<u32> {
    // SAFETY: SIOCOUTQ (tcp(7)), of the same number as TIOCOUTQ, writes one `int`.
    let count = unsafe { rustix::ioctl::ioctl(socket, rustix::ioctl::Getter::<OUT_QUEUE, i32>::new()) }?;
    Ok(u32::try_from(count).unwrap_or(0))
}
