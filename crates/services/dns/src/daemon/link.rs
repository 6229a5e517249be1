//! The socket around [`Responder`]: it comes and goes with the interface, and tells what the files in `/run` tell.

use std::{
    fs,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket as StdUdp},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use pilotlight_dns::mdns::{GROUP, PORT, Responder, text};
use pilotlight_kit::{
    Event, Events,
    drops::Drops,
    interface,
    limit::{self, Limits},
    pktinfo,
};
use pilotlight_lab::Lab;
use serde_json::Value;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::{
    io::Interest,
    net::UdpSocket,
    time::{sleep, timeout},
};

const SERVICE: &str = "mdns";
/// How often interface and files are looked at: what they tell is for people.
const LOOK: Duration = Duration::from_secs(1);
/// Files of `/run` that are longer are not ours.
const LONGEST_FILE: u64 = 64 * 1024;
/// The longest message on the link (RFC 6762 § 17).
const LONGEST: usize = 9000;
/// Messages from one source: a few to begin with and one a second are usual.
const BURST: u32 = 100;
const RATE: u32 = 20;
const SOURCES: usize = 256;

/// Where the state of the Pi is told.
pub(crate) struct Files {
    pub(crate) card: PathBuf,
    pub(crate) lab: PathBuf,
    pub(crate) dhcp: PathBuf,
}

/// Makes the Pi known on the interface of `lab`.
pub(crate) struct Link {
    lab: Lab,
    files: Files,
    events: Rc<Events>,
    drops: Drops,
    limits: Limits<IpAddr>,
    started: Instant,
    joined: Option<Joined>,
}

/// While the interface is there and has a cable.
struct Joined {
    interface: u32,
    socket: UdpSocket,
    responder: Responder,
    /// The name that was told to be ours.
    told: Option<String>,
}

impl Link {
    pub(crate) fn new(lab: Lab, files: Files, events: Rc<Events>) -> Self {
        Self {
            lab,
            files,
            events,
            drops: Drops::default(),
            limits: Limits::new(BURST, RATE, SOURCES),
            started: Instant::now(),
            joined: None,
        }
    }

    /// Until it is dropped.
    pub(crate) async fn run(&mut self) {
        let mut look = Duration::ZERO;
        loop {
            let now = self.started.elapsed();
            if now >= look {
                self.look(now);
                look = now + LOOK;
            }
            let Some(joined) = &mut self.joined else {
                sleep(LOOK).await;
                continue;
            };
            for message in joined.responder.poll(now) {
                // Not sent is as good as lost: it is asked again.
                let _ = joined.send(&message, SocketAddrV4::new(GROUP, PORT).into());
            }
            self.tell();
            let Some(joined) = &self.joined else { continue };
            let until = joined.responder.deadline().map_or(look, |deadline| deadline.min(look));
            let wait = until.saturating_sub(self.started.elapsed());
            if timeout(wait, joined.socket.readable()).await.is_ok() {
                self.take();
            }
        }
    }

    /// Says goodbye, if anything was said before.
    pub(crate) fn leave(&mut self) {
        let Some(joined) = self.joined.take() else { return };
        if let Some(message) = joined.responder.goodbye() {
            let _ = joined.send(&message, SocketAddrV4::new(GROUP, PORT).into());
        }
    }

    fn look(&mut self, now: Duration) {
        let interface = interface::running(&self.lab.network.interface);
        let text = self.text();
        match (&mut self.joined, interface) {
            (Some(joined), Some(interface)) if joined.interface == interface => {
                joined.responder.say(text, now)
            }
            (_, None) => self.joined = None,
            (_, Some(interface)) => {
                self.joined = None;
                match self.join(interface, text, now) {
                    Ok(joined) => self.joined = Some(joined),
                    Err(error) => {
                        if let Some(count) = self.drops.count("not joined", now) {
                            let reason = format!("the Pi cannot be made known on its link: {error}");
                            self.events.emit(Event::failed(SERVICE, "join", reason).fact("count", count));
                        }
                    }
                }
            }
        }
    }

    fn join(&self, interface: u32, text: Vec<String>, now: Duration) -> io::Result<Joined> {
        let network = &self.lab.network;
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        // Questions from networks that the Pi has no way to come and are answered on this wire all the same.
        socket.bind_device(Some(network.interface.as_bytes()))?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
        socket.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(interface))?;
        socket.set_multicast_loop_v4(false)?;
        // RFC 6762 § 11: by this others know that it came from their own link.
        socket.set_multicast_ttl_v4(255)?;
        socket.set_ttl_v4(255)?;
        socket.set_nonblocking(true)?;
        pktinfo::enable(&socket)?;
        let socket = UdpSocket::from_std(StdUdp::from(OwnedFd::from(socket)))?;
        let responder = Responder::new(network.address, text, now, random()).map_err(io::Error::other)?;
        Ok(Joined { interface, socket, responder, told: None })
    }

    fn take(&mut self) {
        let mut buffer = [0; LONGEST];
        loop {
            let Some(joined) = &mut self.joined else { return };
            let receive = || pktinfo::receive(&joined.socket, &mut buffer);
            let Ok(received) = joined.socket.try_io(Interest::READABLE, receive) else { return };
            let now = self.started.elapsed();
            let from = received.from;
            let own = from.ip() == IpAddr::V4(self.lab.network.address);
            // What was sent to all came over this wire; what was sent to us alone may have come from anywhere.
            let near = matches!(from.ip(), IpAddr::V4(ip) if self.lab.network.contains(ip));
            let on_link = received.to.is_none() || near;
            let dropped = match (own, on_link) {
                (true, _) => continue,
                (_, false) => Some("a question that did not come from the link"),
                _ if !self.limits.take(limit::source(from.ip()), now) => {
                    Some("questions beyond what one source may ask")
                }
                _ => None,
            };
            if let Some(reason) = dropped {
                self.dropped(reason, now);
                continue;
            }
            let answer = joined.responder.heard(&buffer[..received.length], (from, near), now, random());
            if let Some(answer) = answer
                && joined.send(&answer, from).is_err()
            {
                self.dropped("an answer that could not be sent", now);
            }
        }
    }

    fn dropped(&mut self, reason: &'static str, now: Duration) {
        if let Some(count) = self.drops.count(reason, now) {
            self.events.emit(Event::dropped(SERVICE, "drop", reason).fact("count", count));
        }
    }

    /// Tells which name the Pi has, and each time that it becomes another.
    fn tell(&mut self) {
        for (reason, count) in self.drops.overdue(self.started.elapsed()) {
            self.events.emit(Event::dropped(SERVICE, "drop", reason).fact("count", count));
        }
        let Some(joined) = &mut self.joined else { return };
        let host = joined.responder.host();
        if joined.responder.established() && joined.told.as_ref() != Some(&host) {
            self.events.emit(Event::ok(SERVICE, "announce").fact("name", host.as_str()));
            joined.told = Some(host);
        }
    }

    fn text(&self) -> Vec<String> {
        let json = |path| serde_json::from_str(&read(path)).unwrap_or(Value::Null);
        text(&self.lab, &json(&self.files.card), &json(&self.files.lab), &read(&self.files.dhcp))
    }
}

impl Joined {
    fn send(&self, message: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.try_io(Interest::WRITABLE, || pktinfo::send(&self.socket, message, to, None))
    }
}

fn read(path: &Path) -> String {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text));
    read.map(|_| text).unwrap_or_default()
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_ne_bytes(bytes)
}
