//! The loop: takes connections, within bounds, and gives each its turn.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
    unix::SourceFd,
};
use pilotlight_http::{Holder, Places};

use crate::{
    connection::{Connection, Shared, Turn},
    listener,
    readers::Read,
};

/// The most connections at a time. A silent one costs some hundred bytes here and some kilobytes in the kernel.
pub(crate) const MOST_CONNECTIONS: usize = 8192;
/// The time that answers get to leave when the server is asked to stop.
const STOP_TIME: Duration = Duration::from_secs(3);
/// How often connections are looked at that have used up their time.
const SWEEP: Duration = Duration::from_secs(1);
/// Sweeps between two tellings of drops.
const SWEEPS_A_FLUSH: u32 = 5;
/// Connections taken in a row before those that there are get their turn.
const TAKEN_IN_A_ROW: usize = 64;

const STOP: Token = Token(usize::MAX - 1);
pub(crate) const HELPERS: Token = Token(usize::MAX - 2);
/// The first connection's token; the listeners have those below.
const FIRST: usize = listener::MOST;

/// The server.
pub(crate) struct Server {
    poll: Poll,
    listeners: Vec<Listener>,
    connections: Vec<Option<Connection>>,
    /// Numbers of connections that are free.
    free: Vec<usize>,
    /// Numbers of connections that have something to do.
    ready: VecDeque<usize>,
    places: Places,
    shared: Shared,
    generation: u64,
    /// Whether taking connections has to wait for the next sweep.
    paused: bool,
}

struct Listener {
    socket: TcpListener,
    /// Whether connections may be waiting.
    waiting: bool,
}

impl Server {
    pub(crate) fn new(poll: Poll, sockets: Vec<TcpListener>, shared: Shared) -> anyhow::Result<Self> {
        let mut listeners: Vec<_> =
            sockets.into_iter().map(|socket| Listener { socket, waiting: true }).collect();
        for (number, listener) in listeners.iter_mut().enumerate() {
            let registered =
                poll.registry().register(&mut listener.socket, Token(number), Interest::READABLE);
            registered.context("cannot wait for connections")?;
        }
        Ok(Self {
            poll,
            listeners,
            connections: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            places: Places::new(MOST_CONNECTIONS),
            shared,
            generation: 0,
            paused: false,
        })
    }

    /// Serves until `stop` becomes readable, and then until the answers under way have left or their time is up.
    pub(crate) fn run(mut self, stop: &OwnedFd) -> anyhow::Result<()> {
        let mut source = SourceFd(&stop.as_raw_fd());
        // The source is borrowed for the registration alone.
        self.poll
            .registry()
            .register(&mut source, STOP, Interest::READABLE)
            .context("cannot wait for signals")?;
        let mut events = Events::with_capacity(256);
        let (mut swept, mut sweeps) = (Instant::now(), 0);
        let (mut end, mut flush_at): (Option<Instant>, Option<Instant>) = (None, None);
        loop {
            let flush_in = flush_at.map(|at| at.saturating_duration_since(Instant::now()));
            let wait = [self.wait(swept, end), flush_in].into_iter().flatten().min();
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error).context("cannot wait for events");
                }
                _ => {}
            }
            self.shared.now = Instant::now();
            for event in &events {
                match event.token() {
                    STOP if end.is_none() => {
                        end = Some(self.shared.now + STOP_TIME);
                        self.stop();
                    }
                    STOP => {}
                    HELPERS => {}
                    Token(number) => match self.listeners.get_mut(number) {
                        Some(listener) => listener.waiting = true,
                        None => self.wake(number, event),
                    },
                }
            }
            self.were_read();
            self.were_told();
            self.take_connections();
            self.give_turns();
            self.shared.site.forget_opened();
            if self.shared.now.saturating_duration_since(swept) >= SWEEP {
                swept = self.shared.now;
                sweeps += 1;
                self.sweep(sweeps % SWEEPS_A_FLUSH == 0);
            }
            // What a reader did not take is not offered to it again at every turn.
            if self.shared.site.told() || flush_at.is_some_and(|at| self.shared.now >= at) {
                flush_at = self.shared.site.flush().map(|wait| self.shared.now + wait);
            }
            if end.is_some_and(|end| self.places.taken() == 0 || self.shared.now >= end) {
                self.end_all();
                return Ok(());
            }
        }
    }

    fn wait(&self, swept: Instant, end: Option<Instant>) -> Option<Duration> {
        let taking = !self.paused && self.listeners.iter().any(|listener| listener.waiting);
        if !self.ready.is_empty() || taking {
            return Some(Duration::ZERO);
        }
        let idle = self.places.taken() == 0 && !self.paused && end.is_none() && !self.shared.site.counting();
        (!idle).then(|| (swept + SWEEP).saturating_duration_since(Instant::now()))
    }

    fn wake(&mut self, token: usize, event: &mio::event::Event) {
        let Some(number) = token.checked_sub(FIRST) else { return };
        if let Some(connection) = self.connections.get_mut(number).and_then(Option::as_mut) {
            connection.wake(event);
            self.queue(number);
        }
    }

    fn queue(&mut self, number: usize) {
        if let Some(connection) = self.connections.get_mut(number).and_then(Option::as_mut)
            && !connection.queued
        {
            connection.queued = true;
            self.ready.push_back(number);
        }
    }

    fn were_read(&mut self) {
        let done: Vec<Read> = self.shared.readers.done().collect();
        for Read { inode, at, outcome, waiting } in done {
            match &outcome {
                Ok(()) => self.shared.warmth.learn(inode, at),
                Err(error) => self.shared.site.fault(format!("cannot read a file: {error}")),
            }
            for (number, generation) in waiting {
                let Some(connection) = self.connections.get_mut(number).and_then(Option::as_mut) else {
                    continue;
                };
                if connection.generation != generation {
                    continue;
                }
                match connection.was_read(inode, at, outcome.is_ok()) {
                    Turn::Ended => self.end(number),
                    Turn::Again => self.queue(number),
                    Turn::Wait => {}
                }
            }
        }
    }

    fn were_told(&mut self) {
        let done: Vec<_> = self.shared.consult.done().collect();
        for ((number, generation), said) in done {
            let connection = self.connections.get_mut(number).and_then(Option::as_mut);
            if let Some(connection) = connection.filter(|connection| connection.generation == generation) {
                connection.was_told(said, &self.shared);
                self.queue(number);
            }
        }
    }

    fn take_connections(&mut self) {
        if self.paused {
            return;
        }
        for at in 0..self.listeners.len() {
            for _ in 0..TAKEN_IN_A_ROW {
                let Some(listener) = self.listeners.get_mut(at).filter(|listener| listener.waiting) else {
                    break;
                };
                match listener.socket.accept() {
                    Ok((socket, peer)) => self.admit(socket, peer.ip().to_canonical()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        listener.waiting = false;
                        break;
                    }
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        // No descriptors, no memory: they come back when connections end, and some do now.
                        self.shared.site.fault(format!("cannot take a connection: {error}"));
                        self.make_room();
                        self.paused = true;
                        return;
                    }
                }
            }
        }
    }

    fn admit(&mut self, mut socket: TcpStream, address: std::net::IpAddr) {
        if self.places.full() {
            self.make_room();
        }
        // Answers are written whole: waiting for more to send only delays the last part.
        let _ = socket.set_nodelay(true);
        let number = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let token = Token(FIRST + number);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, token, interest) {
            self.free.push(number);
            return self.shared.site.fault(format!("cannot wait for a connection: {error}"));
        }
        self.generation += 1;
        let connection = Connection::new(socket, address, self.generation, self.shared.now);
        self.places.take(address);
        if let Some(place) = self.connections.get_mut(number) {
            *place = Some(connection);
        }
    }

    /// Ends a few connections so that others can come in.
    fn make_room(&mut self) {
        let now = self.shared.now;
        let all = self.connections.iter().enumerate();
        let holders = all.filter_map(|(number, connection)| {
            let connection = connection.as_ref()?;
            Some(Holder { name: number, address: connection.address, quiet: connection.quiet(now) })
        });
        for number in self.places.give_up(holders) {
            if let Some(connection) = self.connections.get(number).and_then(Option::as_ref) {
                self.shared.site.dropped("a quiet connection, to make room for others", connection.address);
            }
            self.end(number);
        }
    }

    fn give_turns(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(number) = self.ready.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(number).and_then(Option::as_mut) else {
                continue;
            };
            connection.queued = false;
            match connection.turn(&mut self.shared, number) {
                Turn::Wait => {}
                Turn::Again => self.queue(number),
                Turn::Ended => self.end(number),
            }
        }
    }

    fn sweep(&mut self, tell: bool) {
        self.paused = false;
        for number in 0..self.connections.len() {
            let connection = self.connections.get_mut(number).and_then(Option::as_mut);
            if connection.is_some_and(|connection| connection.overdue(self.shared.now, &self.shared.site)) {
                self.end(number);
            }
        }
        if tell {
            self.shared.site.flush_drops();
        }
    }

    fn end(&mut self, number: usize) {
        let Some(connection) = self.connections.get_mut(number).and_then(Option::take) else { return };
        self.places.give_back(connection.address);
        // Closing the socket takes it out of the poll.
        connection.end(&self.shared.site);
        self.free.push(number);
        if self.places.taken() == 0 {
            // A storm's memory is given back when it is over.
            self.connections = Vec::new();
            self.free = Vec::new();
            self.ready = VecDeque::new();
        }
    }

    fn stop(&mut self) {
        self.shared.stopping = true;
        self.listeners.clear();
        for number in 0..self.connections.len() {
            if self.connections.get_mut(number).and_then(Option::as_mut).is_some_and(Connection::stop) {
                self.end(number);
            }
        }
    }

    fn end_all(&mut self) {
        for number in 0..self.connections.len() {
            self.end(number);
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
