//! The event loop.

mod sending;

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use pilotlight_kit::{
    Event, Events,
    drops::{Budget, Drops},
    pktinfo,
};
use pilotlight_tftp::{
    Blocks, Code, FromClient, Mode, Refusal, Request, Step, Terms, Transfer, Turns,
    packet::{self, DATA_HEADER, LONGEST_REQUEST},
};
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use crate::{
    alarm::Alarm,
    files::{Content, Files, printable},
    handover,
    sockets::{Line, answer_from},
    table::{Active, Table},
};

const SERVICE: &str = "tftp";
/// Transfers have the numbers from 0 on, listeners those from here.
const LISTENERS: u64 = 1 << 32;
const STOP: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;
/// How long dropped packets wait to be told at most.
const DROPS: Duration = Duration::from_secs(1);
/// Requests taken in a row before transfers get their turn.
const REQUESTS_IN_A_ROW: usize = 32;
/// Events taken from the kernel at a time.
const EVENTS: usize = 256;
/// The longest block of RFC 2348 with its header.
const LONGEST_PACKET: usize = DATA_HEADER + 65464;

/// The server with all its state.
pub(crate) struct Server {
    files: Files,
    listeners: Vec<UdpSocket>,
    /// Those on each listener that wait until it takes packets again.
    blocked: Vec<Vec<usize>>,
    /// Only to keep it open: the poll knows it by number.
    _stop: OwnedFd,
    poll: OwnedFd,
    table: Table,
    turns: Turns,
    events: Events,
    drops: Drops,
    /// For refusals: a client that asks for a thousand missing files must not fill the log.
    refusals: Budget,
    started: Instant,
    /// The time since then, as of when the loop was last woken.
    now: Duration,
    alarm: Alarm,
    buffer: Vec<u8>,
}

impl Server {
    pub(crate) fn new(
        files: Files,
        listeners: Vec<UdpSocket>,
        stop: OwnedFd,
        events: Events,
    ) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, listener) in (LISTENERS..).zip(&listeners) {
            watch(&poll, listener, number)?;
        }
        watch(&poll, &stop, STOP)?;
        let alarm = Alarm::new()?;
        watch(&poll, &alarm.timer, ALARM)?;
        Ok(Self {
            blocked: vec![Vec::new(); listeners.len()],
            files,
            listeners,
            _stop: stop,
            poll,
            table: Table::default(),
            turns: Turns::default(),
            events,
            drops: Drops::default(),
            refusals: Budget::new(64, Duration::from_millis(100)),
            started: Instant::now(),
            now: Duration::ZERO,
            alarm,
            buffer: vec![0; LONGEST_PACKET],
        })
    }

    /// Takes over the transfers of the process before.
    pub(crate) fn go_on(&mut self, kept: Vec<(String, OwnedFd)>) {
        for active in handover::taken(kept, self.now) {
            let Some(place) = self.table.free() else { return };
            if let Line::Own(socket) = &active.line
                && watch(&self.poll, socket, place as u64).is_err()
            {
                continue;
            }
            let waits = !active.pending.is_empty();
            self.table.put(place, active);
            self.table.note(place);
            if waits {
                self.turns.wait(place);
            }
        }
    }

    /// Serves until it is asked to stop.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut ready = Vec::with_capacity(EVENTS);
        loop {
            if let Some(due) = self.due() {
                self.alarm.by(due, self.now)?;
            }
            // Whoever has a turn does not wait.
            let at_once = (self.turns.waiting() > 0).then_some(Timespec::default());
            ready.clear();
            match epoll::wait(&self.poll, spare_capacity(&mut ready), at_once.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            self.now = self.started.elapsed();
            for event in &ready {
                // Copies: the kernel packs these.
                let (flags, data) = (event.flags, event.data);
                let writable = flags.contains(epoll::EventFlags::OUT);
                match data.u64() {
                    STOP => {
                        self.finish();
                        return Ok(());
                    }
                    ALARM => self.alarm.rang(),
                    number if number >= LISTENERS => {
                        self.on_listener((number - LISTENERS) as usize, writable)
                    }
                    place => self.on_ready(place as usize, writable),
                }
            }
            let now = self.now;
            while let Some(place) = self.table.expired(now) {
                self.step(place, |transfer, now| transfer.on_timer(now));
            }
            // One turn for each that waits now; whoever has more to send waits again while others are heard.
            for _ in 0..self.turns.waiting() {
                if let Some(place) = self.turns.whose() {
                    self.pump(place);
                }
            }
            if self.drops.waiting() {
                for (reason, count) in self.drops.overdue(now) {
                    self.emit(Event::dropped(SERVICE, "drop", reason).fact("count", count), None);
                }
            }
        }
    }

    /// When something is to be done though nothing comes; perhaps before that.
    fn due(&self) -> Option<Duration> {
        let drops = self.drops.waiting().then(|| self.now + DROPS);
        self.table.deadline().into_iter().chain(drops).min()
    }

    fn on_listener(&mut self, number: usize, writable: bool) {
        if writable {
            if let Some(listener) = self.listeners.get(number) {
                room(&self.poll, listener, LISTENERS + number as u64, false);
            }
            for place in self.blocked.get_mut(number).map(std::mem::take).unwrap_or_default() {
                self.turns.wait(place);
            }
        }
        for _ in 0..REQUESTS_IN_A_ROW {
            let Some(listener) = self.listeners.get(number) else { return };
            match pktinfo::receive(listener, &mut self.buffer[..LONGEST_REQUEST]) {
                Ok(received) => self.on_packet(number, received),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.drop_packet("a request that could not be received", None),
            }
        }
    }

    /// A packet came to a port for requests.
    fn on_packet(&mut self, listener: usize, received: pktinfo::Received) {
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
        let packet = &self.buffer[..received.length];
        let request = match Request::parse(packet) {
            Ok(request) => request,
            Err(Refusal::Stray) if self.files.lab.in_force().tftp.single_port => {
                return self.on_shared(FromClient::parse(packet), peer);
            }
            Err(refusal) => {
                if let Some(code) = refusal.code() {
                    self.answer(local, peer, code, refusal.reason());
                }
                return self.drop_packet(refusal.reason(), Some(peer));
            }
        };
        let packet = packet.to_vec();
        // The client repeats itself: the answer is on its way, or its repetition is.
        if self.table.awaits(peer, &packet) {
            return;
        }
        // Otherwise it has begun anew, or the wire has brought the request of a running transfer twice. Which of them it
        // is shows in the transfer that it goes on with: it tells the other one off (RFC 1350 § 4), or where both leave
        // from one port, its ACKs show it.
        while let Some(place) = self.table.oldest_of(2, peer) {
            self.remove(place);
        }
        if self.table.is_silent(peer.ip()) {
            return self.drop_packet("a request from an address that does not answer", Some(peer));
        }
        let now = self.now;
        if self.table.free().is_none()
            && let Some(place) = self.table.expendable(now)
        {
            self.drop_packet("a client that never answered, to make room", Some(peer));
            self.remove(place);
        }
        // No error: a firmware that is told of one gives up, and asks again when it hears nothing.
        let Some(place) = self.table.free() else {
            return self.drop_packet("a request while all transfers are taken", Some(peer));
        };
        match self.files.open(&request.file) {
            Ok(content) => self.start(place, listener, (local, peer), &request, packet, content),
            Err(error) => {
                let code = if error.is_missing() { Code::NotFound } else { Code::Access };
                self.refuse((local, peer), &printable(&request.file), code, &error.to_string());
            }
        }
    }

    fn start(
        &mut self,
        place: usize,
        listener: usize,
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
        let terms = Terms::agree(&request.options, blocks.length(), self.table.len());
        let line = match self.line(place, listener, local, peer) {
            Ok(line) => line,
            Err(error) => {
                let reason = format!("no socket on {local} for the transfer: {error}");
                return self.refuse((local, peer), &file, Code::Undefined, &reason);
            }
        };
        let started = self.now;
        let (transfer, step) = Transfer::start(&terms, blocks.length(), started);
        let event = Event::ok(SERVICE, "read")
            .fact("file", file.as_str())
            .fact("bytes", length)
            .fact("blksize", terms.block_size)
            .fact("windowsize", terms.window);
        self.emit(event, Some(peer));
        let active = Active {
            line,
            peer,
            request: packet,
            file,
            length,
            blocks,
            terms,
            transfer,
            pending: 0..0,
            together: true,
            started,
        };
        self.table.put(place, active);
        self.perform(place, step);
    }

    fn line(&self, place: usize, listener: usize, local: IpAddr, peer: SocketAddr) -> io::Result<Line> {
        if self.files.lab.in_force().tftp.single_port {
            return Ok(Line::Shared(listener, local));
        }
        let socket = answer_from(local, peer)?;
        watch(&self.poll, &socket, place as u64)?;
        Ok(Line::Own(socket))
    }

    fn on_ready(&mut self, place: usize, writable: bool) {
        let Some(active) = self.table.get(place) else { return };
        let Line::Own(socket) = &active.line else { return };
        if writable {
            room(&self.poll, socket, place as u64, false);
            self.turns.wait(place);
        }
        // An ACK has 4 bytes and an ERROR a line of text: what does not fit is cut off and means the same.
        let mut packet = [0; 512];
        match socket.recv_from(&mut packet) {
            Ok((length, from)) if from == active.peer => {
                self.hear(Some(place), FromClient::parse(&packet[..length]), from);
            }
            Ok((_, stranger)) => {
                let error = packet::error(Code::UnknownTid, "unknown transfer ID");
                let _ = socket.send_to(&error, stranger);
                self.drop_packet("a packet from a stranger within a transfer", Some(stranger));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.drop_packet("a packet that could not be received", None),
        }
    }

    /// What is no request came to a port that transfers leave from as well.
    fn on_shared(&mut self, packet: Option<FromClient>, peer: SocketAddr) {
        let place = self.table.meant(peer, packet.as_ref());
        let before = place.and_then(|place| self.table.before(place, peer));
        self.hear(place, packet, peer);
        // A client that has answered the later of two transfers has begun anew, and the one before it is over.
        if let (Some(place), Some(before)) = (place, before)
            && self.table.get(place).is_none_or(|active| active.transfer.answered())
        {
            self.remove(before);
        }
    }

    fn hear(&mut self, place: Option<usize>, packet: Option<FromClient>, peer: SocketAddr) {
        match (place, packet) {
            (Some(place), Some(packet)) => self.step(place, |transfer, now| transfer.on_packet(packet, now)),
            (_, None) => self.drop_packet("no ACK and no ERROR within a transfer", Some(peer)),
            (None, _) => self.drop_packet(Refusal::Stray.reason(), Some(peer)),
        }
    }

    fn step(&mut self, place: usize, decide: impl FnOnce(&mut Transfer, Duration) -> Step) {
        let now = self.now;
        let Some(active) = self.table.get(place) else { return };
        let step = decide(&mut active.transfer, now);
        self.table.note(place);
        self.perform(place, step);
    }

    fn perform(&mut self, place: usize, step: Step) {
        let Some(active) = self.table.get(place) else { return };
        match step {
            Step::Wait => {}
            Step::Oack => {
                // What cannot be sent is as good as lost, and sent again.
                let oack = active.terms.oack.as_deref().unwrap_or_default();
                let _ = active.line.send(&self.listeners, oack, active.peer);
            }
            Step::Blocks(blocks) => {
                active.pending = blocks;
                self.turns.wait(place);
            }
            Step::Finished => self.end(place, |event| event),
            Step::GaveUp => self.fail(place, "the client fell silent"),
            Step::Stopped { on_purpose: true, .. } => self.remove(place),
            Step::Stopped { code, message, .. } => {
                self.fail(place, &format!("the client stopped with error {code}: {message}"));
            }
        }
    }

    fn end(&mut self, place: usize, say: impl FnOnce(Event) -> Event) {
        let Some(active) = self.take(place) else { return };
        let took = self.now.saturating_sub(active.started).as_millis() as u64;
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
        let active = self.table.take(place)?;
        if let Line::Own(socket) = &active.line {
            let _ = epoll::delete(&self.poll, socket);
        }
        Some(active)
    }

    /// Refuses a request for a file, and says so.
    fn refuse(&mut self, (local, peer): (IpAddr, SocketAddr), file: &str, code: Code, reason: &str) {
        self.answer(local, peer, code, reason);
        let now = self.now;
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
        let now = self.now;
        if let Some(count) = self.drops.count(reason, now) {
            self.emit(Event::dropped(SERVICE, "drop", reason).fact("count", count), peer);
        }
    }

    fn emit(&self, mut event: Event, peer: Option<SocketAddr>) {
        if let Some(peer) = peer {
            event = event.fact("address", peer.ip().to_string());
            if let IpAddr::V4(address) = peer.ip()
                && let Some(node) = self.files.lab.last().node_by_address(address)
            {
                event = event.node(Some(&node.name)).mac(node.mac);
            }
        }
        self.events.emit(event);
    }

    /// Leaves the transfers to the next process. Where nobody keeps them, tells the clients, so that they need not wait for a
    /// timeout.
    fn finish(&mut self) {
        let actives: Vec<Active> = self.table.drain().collect();
        for active in handover::keep(actives) {
            let told = packet::error(Code::Undefined, "server stops");
            let _ = active.line.send(&self.listeners, &told, active.peer);
            let event = Event::failed(SERVICE, "error", "the server was stopped").fact("file", active.file);
            self.emit(event, Some(active.peer));
        }
    }
}

/// Has `poll` tell when something can be read from `source`, which it calls `number`: again and again, as long as it can.
fn watch(poll: &OwnedFd, source: &impl AsFd, number: u64) -> io::Result<()> {
    Ok(epoll::add(poll, source, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?)
}

/// Has `poll` tell as well when `source` takes packets again, or no longer.
fn room(poll: &OwnedFd, source: &impl AsFd, number: u64, wanted: bool) {
    let out = if wanted { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
    // Where this fails, the transfer's own timer sends again.
    let _ = epoll::modify(poll, source, epoll::EventData::new_u64(number), epoll::EventFlags::IN | out);
}
