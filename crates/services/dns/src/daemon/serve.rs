//! Taking questions and giving answers.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdListener, UdpSocket as StdUdp},
    os::fd::OwnedFd,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use pilotlight_dns::{
    Admission, Cache, Gate, Question, Transport, Verdict, Zone, cut, decide, fail, refuse, relay,
};
use pilotlight_kit::{Event, Events, drops::Drops, pktinfo};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::spawn_local,
    time::timeout,
};

use crate::{forward, shares::Shares};

const SERVICE: &str = "dns";
/// Questions that wait for other name servers at one time.
const WAITING: usize = 256;
/// Those of one source.
const WAITING_OF_ONE: usize = 64;
/// TCP connections at one time.
const CONNECTIONS: usize = 64;
/// Those of one source.
const CONNECTIONS_OF_ONE: usize = 8;
/// How long a TCP connection may be idle (RFC 7766 § 6.2.3: some seconds).
const IDLE: Duration = Duration::from_secs(10);
/// The longest question that anybody sends.
const LONGEST: usize = 4096;

/// Why a flood is not answered.
const TOO_MUCH: &str = "questions beyond what one source may ask";

/// The server with all its state.
pub(crate) struct Server {
    zone: Zone,
    upstream: Vec<SocketAddr>,
    cache: RefCell<Cache>,
    gate: RefCell<Gate>,
    events: Rc<Events>,
    drops: RefCell<Drops>,
    waiting: Semaphore,
    waiting_of_one: Shares,
    connections: Semaphore,
    connections_of_one: Shares,
    started: Instant,
}

/// Where questions come to.
pub(crate) struct Sockets {
    datagrams: Vec<UdpSocket>,
    streams: Vec<TcpListener>,
}

impl Sockets {
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let datagrams = self.datagrams.iter().filter_map(|socket| socket.local_addr().ok());
        datagrams.chain(self.streams.iter().filter_map(|socket| socket.local_addr().ok())).collect()
    }
}

/// The sockets handed over, or new ones bound to `addresses`.
pub(crate) fn sockets(given: Vec<OwnedFd>, addresses: &[SocketAddr]) -> anyhow::Result<Sockets> {
    let mut sockets = Sockets { datagrams: Vec::new(), streams: Vec::new() };
    let given = if given.is_empty() { listen(addresses)? } else { given };
    for socket in given {
        let kind =
            SockRef::from(&socket).r#type().context("systemd handed over something else than a socket")?;
        SockRef::from(&socket).set_nonblocking(true).context("cannot set up a socket")?;
        match kind {
            Type::DGRAM => {
                pktinfo::enable(&socket).context("cannot ask for the address that a question was sent to")?;
                sockets.datagrams.push(UdpSocket::from_std(StdUdp::from(socket))?);
            }
            Type::STREAM => sockets.streams.push(TcpListener::from_std(StdListener::from(socket))?),
            other => bail!("systemd handed over a socket of the kind {other:?}"),
        }
    }
    Ok(sockets)
}

fn listen(addresses: &[SocketAddr]) -> anyhow::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::new();
    for address in addresses {
        for (kind, protocol) in [(Type::DGRAM, Protocol::UDP), (Type::STREAM, Protocol::TCP)] {
            let open = || -> io::Result<Socket> {
                let socket = Socket::new(Domain::for_address(*address), kind, Some(protocol))?;
                if address.is_ipv6() {
                    // IPv4 is asked for by an address of its own.
                    socket.set_only_v6(true)?;
                }
                if kind == Type::STREAM {
                    socket.set_reuse_address(true)?;
                }
                socket.bind(&(*address).into())?;
                if kind == Type::STREAM {
                    socket.listen(128)?;
                }
                Ok(socket)
            };
            let socket = open()
                .with_context(|| format!("cannot listen on {address}; another name server may be running"))?;
            sockets.push(socket.into());
        }
    }
    Ok(sockets)
}

impl Server {
    pub(crate) fn new(zone: Zone, gate: Gate, upstream: Vec<SocketAddr>, events: Rc<Events>) -> Self {
        Self {
            zone,
            upstream,
            cache: RefCell::default(),
            gate: RefCell::new(gate),
            events,
            drops: RefCell::default(),
            waiting: Semaphore::new(WAITING),
            waiting_of_one: Shares::new(WAITING_OF_ONE),
            connections: Semaphore::new(CONNECTIONS),
            connections_of_one: Shares::new(CONNECTIONS_OF_ONE),
            started: Instant::now(),
        }
    }

    /// Starts a task for each socket, and one that tells what was left unsaid.
    pub(crate) fn start(self: &Rc<Self>, sockets: Sockets) {
        for socket in sockets.datagrams {
            spawn_local(Rc::clone(self).datagrams(Rc::new(socket)));
        }
        for socket in sockets.streams {
            spawn_local(Rc::clone(self).streams(socket));
        }
        spawn_local(Rc::clone(self).tell());
    }

    async fn datagrams(self: Rc<Self>, socket: Rc<UdpSocket>) {
        let mut buffer = [0; LONGEST];
        loop {
            let received =
                socket.async_io(Interest::READABLE, || pktinfo::receive(&*socket, &mut buffer)).await;
            let Ok(received) = received else {
                // An earlier answer that could not be delivered is told here: it is none of this question's.
                tokio::task::yield_now().await;
                continue;
            };
            match self.verdict(&buffer[..received.length], received.from.ip(), Transport::Udp) {
                Verdict::Ignore(reason) => self.dropped(reason),
                Verdict::Reply(answer, _) => self.send(&socket, &answer, &received),
                Verdict::Ask(question) => {
                    let Some(share) = self.waiting_of_one.take(received.from.ip()) else {
                        self.dropped("more questions for other name servers than one source may ask");
                        self.send(&socket, &fail(&question), &received);
                        continue;
                    };
                    let (server, socket) = (Rc::clone(&self), Rc::clone(&socket));
                    spawn_local(async move {
                        let answer = server.ask(&question).await;
                        server.send(&socket, &answer, &received);
                        drop(share);
                    });
                }
            }
        }
    }

    /// What becomes of a message, with regard to who sent it.
    fn verdict(&self, bytes: &[u8], source: IpAddr, transport: Transport) -> Verdict {
        match self.gate.borrow_mut().admit(source, transport, self.started.elapsed()) {
            Admission::Answer => decide(&self.zone, bytes, transport, !self.upstream.is_empty()),
            Admission::Refuse => {
                self.dropped("a question from outside the lab, refused");
                refuse(bytes, transport)
            }
            Admission::Cut => {
                self.dropped(TOO_MUCH);
                cut(bytes)
            }
            Admission::Drop => Verdict::Ignore(TOO_MUCH),
        }
    }

    fn send(&self, socket: &UdpSocket, answer: &[u8], to: &pktinfo::Received) {
        let sent = socket.try_io(Interest::WRITABLE, || pktinfo::send(socket, answer, to.from, to.to));
        if sent.is_err() {
            self.dropped("an answer that could not be sent");
        }
    }

    async fn streams(self: Rc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, peer)) = listener.accept().await else {
                // No descriptors left, most likely: others end meanwhile.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            if self.connections.available_permits() == 0 {
                self.dropped("a connection too many");
                continue;
            }
            let Some(share) = self.connections_of_one.take(peer.ip()) else {
                self.dropped("a connection too many of one source");
                continue;
            };
            let server = Rc::clone(&self);
            spawn_local(async move {
                let _permit = server.connections.acquire().await;
                // Who goes away is no fault.
                let _ = server.stream(stream, peer.ip()).await;
                drop(share);
            });
        }
    }

    /// One connection: questions one after the other (RFC 7766).
    async fn stream(&self, mut stream: TcpStream, source: IpAddr) -> io::Result<()> {
        loop {
            let length = usize::from(timeout(IDLE, stream.read_u16()).await??);
            if length > LONGEST {
                self.dropped("an oversized question");
                return Ok(());
            }
            let mut message = vec![0; length];
            timeout(IDLE, stream.read_exact(&mut message)).await??;
            let answer = match self.verdict(&message, source, Transport::Tcp) {
                Verdict::Ignore(reason) => {
                    self.dropped(reason);
                    return Ok(());
                }
                Verdict::Reply(answer, _) => answer,
                Verdict::Ask(question) => self.ask(&question).await,
            };
            let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
            let framed = [&length.to_be_bytes()[..], &answer].concat();
            timeout(IDLE, stream.write_all(&framed)).await??;
        }
    }

    /// What others say, out of the cache where it is there.
    async fn ask(&self, question: &Question) -> Vec<u8> {
        if let Some(answer) = self.cache.borrow_mut().get(question, self.started.elapsed()) {
            return answer;
        }
        let Ok(_permit) = self.waiting.try_acquire() else {
            self.dropped("more questions for other name servers than are waited for");
            return fail(question);
        };
        match forward::ask(question, &self.upstream).await {
            Ok(message) => {
                self.cache.borrow_mut().put(question, &message, self.started.elapsed());
                relay(question, &message)
            }
            Err((server, fault)) => {
                if let Some(count) = self.drops.borrow_mut().count("unanswered", self.started.elapsed()) {
                    let event = Event::failed(SERVICE, "ask", fault).fact("server", server.ip().to_string());
                    self.events.emit(event.fact("name", question.name()).fact("count", count));
                }
                fail(question)
            }
        }
    }

    fn dropped(&self, reason: &'static str) {
        if let Some(count) = self.drops.borrow_mut().count(reason, self.started.elapsed()) {
            self.events.emit(Event::dropped(SERVICE, "drop", reason).fact("count", count));
        }
    }

    /// Tells the end of each flood.
    async fn tell(self: Rc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for (reason, count) in self.drops.borrow_mut().overdue(self.started.elapsed()) {
                self.events.hold(Event::dropped(SERVICE, "drop", reason).fact("count", count));
            }
            self.events.flush();
        }
    }
}
