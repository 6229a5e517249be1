//! The event loop.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use mio::{Interest, Poll, Token, unix::SourceFd};
use pilotlight_kit::{
    Event, Events,
    drops::{Budget, Drops},
    pktinfo,
};
use pilotlight_tftp::{
    Blocks, Code, FromClient, Mode, Request, Step, Terms, Transfer,
    packet::{self, DATA_HEADER, LONGEST_REQUEST},
};

use crate::{
    files::{Content, Files, printable},
    sockets::answer_from,
    table::{Active, Table},
};

const SERVICE: &str = "tftp";
const STOP: Token = Token(usize::MAX - 1);
/// Transfers have the tokens from 0 on, listeners those from here.
const LISTENERS: usize = 1 << 16;
/// Requests taken in a row before transfers get their turn.
const REQUESTS_IN_A_ROW: usize = 32;
/// The longest block of RFC 2348 with its header.
const LONGEST_PACKET: usize = DATA_HEADER + 65464;

/// The server with all its state.
pub(crate) struct Server {
    files: Files,
    listeners: Vec<UdpSocket>,
    /// Listeners that may hold more: the kernel tells only once.
    eager: Vec<bool>,
    /// Only to keep it open: the poll knows it by number.
    _stop: OwnedFd,
    poll: Poll,
    table: Table,
    events: Events,
    drops: Drops,
    /// For refusals: a client that asks for a thousand missing files must not fill the log.
    refusals: Budget,
    started: Instant,
    buffer: Vec<u8>,
}

impl Server {
    pub(crate) fn new(
        files: Files,
        listeners: Vec<UdpSocket>,
        stop: OwnedFd,
        events: Events,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        for (token, listener) in (LISTENERS..).zip(&listeners) {
            let mut source = SourceFd(&listener.as_raw_fd());
            poll.registry().register(&mut source, Token(token), Interest::READABLE)?;
        }
        poll.registry().register(&mut SourceFd(&stop.as_raw_fd()), STOP, Interest::READABLE)?;
        Ok(Self {
            eager: vec![true; listeners.len()],
            files,
            listeners,
            _stop: stop,
            poll,
            table: Table::default(),
            events,
            drops: Drops::default(),
            refusals: Budget::new(64, Duration::from_millis(100)),
            started: Instant::now(),
            buffer: vec![0; LONGEST_PACKET],
        })
    }

    /// Serves until it is asked to stop.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut ready = mio::Events::with_capacity(256);
        loop {
            let wait = self.wait();
            if let Err(error) = self.poll.poll(&mut ready, wait)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            for event in &ready {
                match event.token() {
                    STOP => {
                        self.finish();
                        return Ok(());
                    }
                    Token(token) if token >= LISTENERS => {
                        if let Some(eager) = self.eager.get_mut(token - LISTENERS) {
                            *eager = true;
                        }
                    }
                    Token(place) => self.on_ready(place),
                }
            }
            self.take_requests();
            let now = self.now();
            for place in self.table.expired(now) {
                self.step(place, |transfer, now| transfer.on_timer(now));
            }
            for (reason, count) in self.drops.overdue(now) {
                self.emit(Event::dropped(SERVICE, "drop", reason).fact("count", count), None);
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn wait(&self) -> Option<Duration> {
        if self.eager.contains(&true) {
            return Some(Duration::ZERO);
        }
        let timer = self.table.deadline().map(|deadline| deadline.saturating_sub(self.now()));
        // Rounded up, so that the loop does not spin for the last part of a millisecond.
        let timer = timer.map(|wait| wait + Duration::from_millis(1));
        let drops = self.drops.waiting().then_some(Duration::from_secs(1));
        timer.into_iter().chain(drops).min()
    }

    fn take_requests(&mut self) {
        for index in 0..self.listeners.len() {
            for _ in 0..REQUESTS_IN_A_ROW {
                if !self.eager[index] {
                    break;
                }
                let buffer = &mut self.buffer[..LONGEST_REQUEST];
                match pktinfo::receive(&self.listeners[index], buffer) {
                    Ok(received) => self.on_request(received),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.eager[index] = false,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => self.drop_packet("a request that could not be received", None),
                }
            }
        }
    }

    fn on_request(&mut self, received: pktinfo::Received) {
        let peer = received.from;
        if received.truncated {
            return self.drop_packet("an oversized packet at the port for requests", Some(peer));
        }
        // RFC 1123 § 4.2.3.5.
        let Some(local) = received.to else {
            return self.drop_packet("a request to a broadcast address", Some(peer));
        };
        if peer.port() == 0 {
            return self.drop_packet("a packet from port 0", Some(peer));
        }
        let packet = self.buffer[..received.length].to_vec();
        let request = match Request::parse(&packet) {
            Ok(request) => request,
            Err(refusal) => {
                if let Some(code) = refusal.code() {
                    self.answer(local, peer, code, refusal.reason());
                }
                return self.drop_packet(refusal.reason(), Some(peer));
            }
        };
        // The client repeats itself: the answer is on its way, or its repetition is.
        if self.table.awaits(peer, &packet) {
            return;
        }
        // Otherwise it has begun anew, or the wire has brought the request of a running transfer twice. Which of them it
        // is shows in the transfer that it goes on with: it tells the other one off (RFC 1350 § 4).
        if let Some(place) = self.table.older_of_two(peer) {
            self.remove(place);
        }
        let now = self.now();
        if self.table.free().is_none()
            && let Some(place) = self.table.expendable(now)
        {
            self.drop_packet("a client that never answered, to make room", Some(peer));
            self.remove(place);
        }
        let Some(place) = self.table.free() else {
            self.answer(local, peer, Code::Undefined, "too many transfers, try again");
            return self.drop_packet("a request while all transfers are taken", Some(peer));
        };
        match self.files.open(&request.file) {
            Ok(content) => self.start(place, (local, peer), &request, packet, content),
            Err(error) => {
                let code = if error.is_missing() { Code::NotFound } else { Code::Access };
                self.refuse((local, peer), &printable(&request.file), code, &error.to_string());
            }
        }
    }

    fn start(
        &mut self,
        place: usize,
        (local, peer): (IpAddr, SocketAddr),
        request: &Request,
        packet: Vec<u8>,
        content: Content,
    ) {
        let file = printable(&request.file);
        let length = content.length();
        let blocks = match request.mode {
            Mode::Octet => Blocks::octet(content, length),
            Mode::Netascii => Blocks::netascii(content),
        };
        let terms = Terms::agree(&request.options, blocks.length());
        let interest = Interest::READABLE | Interest::WRITABLE;
        let socket = answer_from(local, peer).and_then(|socket| {
            let mut socket = mio::net::UdpSocket::from_std(socket);
            self.poll.registry().register(&mut socket, Token(place), interest).map(|()| socket)
        });
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                let reason = format!("no socket on {local} for the transfer: {error}");
                return self.refuse((local, peer), &file, Code::Undefined, &reason);
            }
        };
        let started = self.now();
        let (transfer, step) = Transfer::start(&terms, blocks.length(), started);
        let event = Event::ok(SERVICE, "read")
            .fact("file", file.as_str())
            .fact("bytes", length)
            .fact("blksize", terms.block_size)
            .fact("windowsize", terms.window);
        self.emit(event, Some(peer));
        let request = packet;
        let active =
            Active { socket, peer, request, file, length, blocks, terms, transfer, pending: 0..0, started };
        self.table.put(place, active);
        self.perform(place, step);
    }

    fn on_ready(&mut self, place: usize) {
        loop {
            let Some(active) = self.table.get(place) else { return };
            // An ACK has 4 bytes and an ERROR a line of text: what does not fit is cut off and means the same.
            let mut packet = [0; 512];
            match active.socket.recv_from(&mut packet) {
                Ok((length, from)) if from == active.peer => match FromClient::parse(&packet[..length]) {
                    Some(packet) => self.step(place, |transfer, now| transfer.on_packet(packet, now)),
                    None => self.drop_packet("no ACK and no ERROR within a transfer", Some(from)),
                },
                Ok((_, stranger)) => {
                    let error = packet::error(Code::UnknownTid, "unknown transfer ID");
                    let _ = active.socket.send_to(&error, stranger);
                    self.drop_packet("a packet from a stranger within a transfer", Some(stranger));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.drop_packet("a packet that could not be received", None);
                    break;
                }
            }
        }
        self.pump(place);
    }

    fn step(&mut self, place: usize, decide: impl FnOnce(&mut Transfer, Duration) -> Step) {
        let now = self.now();
        let Some(active) = self.table.get(place) else { return };
        let step = decide(&mut active.transfer, now);
        self.perform(place, step);
    }

    fn perform(&mut self, place: usize, step: Step) {
        let Some(active) = self.table.get(place) else { return };
        match step {
            Step::Wait => {}
            Step::Oack => {
                // What cannot be sent is as good as lost, and sent again.
                let oack = active.terms.oack.as_deref().unwrap_or_default();
                let _ = active.socket.send_to(oack, active.peer);
            }
            Step::Blocks(blocks) => {
                active.pending = blocks;
                self.pump(place);
            }
            Step::Finished => self.end(place, |event| event),
            Step::GaveUp => self.fail(place, "the client fell silent"),
            Step::Stopped { on_purpose: true, .. } => self.remove(place),
            Step::Stopped { code, message, .. } => {
                self.fail(place, &format!("the client stopped with error {code}: {message}"));
            }
        }
    }

    /// Sends what is pending, as far as the socket takes it.
    fn pump(&mut self, place: usize) {
        let Some(active) = self.table.get(place) else { return };
        while let Some(number) = active.pending.clone().next() {
            let end = DATA_HEADER + usize::from(active.terms.block_size);
            let Some((header, block)) = self.buffer[..end].split_first_chunk_mut() else { return };
            *header = packet::data_header(number as u16);
            let length = match active.blocks.read(number, block) {
                Ok(length) => length,
                Err(error) => {
                    let told = packet::error(Code::Undefined, "the file cannot be read");
                    let _ = active.socket.send_to(&told, active.peer);
                    return self.fail(place, &format!("reading the file failed: {error}"));
                }
            };
            let packet = &self.buffer[..DATA_HEADER + length];
            match active.socket.send_to(packet, active.peer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // As good as lost: it will be sent again, or the client counts as gone.
                Err(_) | Ok(_) => active.pending.start += 1,
            }
            if length < usize::from(active.terms.block_size) {
                active.transfer.ends_with(number);
                active.pending = 0..0;
            }
        }
    }

    fn end(&mut self, place: usize, say: impl FnOnce(Event) -> Event) {
        let Some(active) = self.take(place) else { return };
        let took = self.now().saturating_sub(active.started).as_millis() as u64;
        let event = Event::ok(SERVICE, "sent")
            .fact("file", active.file)
            .fact("bytes", active.length)
            .fact("ms", took)
            .fact("repeated", active.transfer.repeated());
        self.emit(say(event), Some(active.peer));
    }

    fn fail(&mut self, place: usize, reason: &str) {
        let Some(active) = self.take(place) else { return };
        let (acked, total) = active.transfer.progress();
        let total = total.map_or_else(String::new, |total| format!(" of {total}"));
        let event = Event::failed(SERVICE, "error", format!("{reason}; last block {acked}{total}"))
            .fact("file", active.file)
            .fact("repeated", active.transfer.repeated());
        self.emit(event, Some(active.peer));
    }

    fn remove(&mut self, place: usize) {
        drop(self.take(place));
    }

    fn take(&mut self, place: usize) -> Option<Active> {
        let mut active = self.table.take(place)?;
        let _ = self.poll.registry().deregister(&mut active.socket);
        Some(active)
    }

    /// Refuses a request for a file, and says so.
    fn refuse(&mut self, (local, peer): (IpAddr, SocketAddr), file: &str, code: Code, reason: &str) {
        self.answer(local, peer, code, reason);
        let now = self.now();
        if self.refusals.take(now) {
            self.emit(Event::failed(SERVICE, "error", reason).fact("file", file), Some(peer));
        } else {
            self.drop_packet("refused requests beyond what the log takes", Some(peer));
        }
    }

    fn answer(&mut self, local: IpAddr, peer: SocketAddr, code: Code, message: &str) {
        let sent =
            answer_from(local, peer).and_then(|socket| socket.send_to(&packet::error(code, message), peer));
        if sent.is_err() {
            self.drop_packet("an error message that could not be sent", Some(peer));
        }
    }

    fn drop_packet(&mut self, reason: &'static str, peer: Option<SocketAddr>) {
        let now = self.now();
        if let Some(count) = self.drops.count(reason, now) {
            self.emit(Event::dropped(SERVICE, "drop", reason).fact("count", count), peer);
        }
    }

    fn emit(&self, mut event: Event, peer: Option<SocketAddr>) {
        if let Some(peer) = peer {
            event = event.fact("address", peer.ip().to_string());
            if let IpAddr::V4(address) = peer.ip()
                && let Some(node) = self.files.lab.node_by_address(address)
            {
                event = event.node(Some(&node.name)).mac(node.mac);
            }
        }
        self.events.emit(event);
    }

    /// Tells the clients, so that they need not wait for a timeout.
    fn finish(&mut self) {
        let actives: Vec<Active> = self.table.drain().collect();
        for active in actives {
            let _ = active.socket.send_to(&packet::error(Code::Undefined, "server stops"), active.peer);
            let event = Event::failed(SERVICE, "error", "the server was stopped").fact("file", active.file);
            self.emit(event, Some(active.peer));
        }
    }
}
