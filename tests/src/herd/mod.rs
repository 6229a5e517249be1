//! A herd of machines that boot together at the clients' end of the cable: real packets, one process.
//!
//! What they do is decided in `pilotlight-machines`. DHCP goes in frames with each machine's own hardware address; for
//! TFTP and HTTP the kernel lends its IP: it takes the addresses of all machines for its own, and answers ARP for none,
//! which the herd does for the machines that have one.

mod frames;
mod web;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use mio::{Interest, Poll, Token, net::UdpSocket, unix::SourceFd};
use pilotlight_emulator::fault::{Fate, Faults, Verdict};
use pilotlight_lab::MacAddr;
use pilotlight_machines::{Input, Machine, Output, Plan, Standing, Trouble};

use self::{frames::Frames, web::Web};
use crate::namespace::{CLIENT, Cable, SERVER};

/// The lab's network as the herd's scenes have it; its pool is [`POOL`].
pub const NETWORK: &str = "10.77.0.1/16";
/// The first and the last address of the pool.
pub const POOL: (&str, &str) = ("10.77.8.0", "10.77.15.255");
/// The pool as a network, which is the clients' own.
pub const POOL_NETWORK: &str = "10.77.8.0/21";
/// Both as a network.
const ALL: &str = "10.77.0.0/16";
/// The clients' end needs an address of its own for a way to the server.
const OWN: &str = "10.77.4.1/16";

const DHCP: Token = Token(0);
const ARP: Token = Token(1);
/// Tokens of sockets begin here.
const SOCKETS: usize = 2;
/// How many ports a machine keeps open: the present fetch, the one before, and what a flooding one tries.
const MOST_PORTS: usize = 66;
/// How long a late datagram is held back.
const LATE: Duration = Duration::from_millis(20);
/// What one machine's socket may hold.
const RECEIVES: usize = 1 << 18;
/// How many sockets and more the process may hold.
const DESCRIPTORS: u64 = 16_384;

/// A machine of the herd.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its hardware address.
    pub mac: MacAddr,
    /// Its plan.
    pub plan: Plan,
    /// When it is switched on.
    pub on: Duration,
}

/// What became of a machine.
#[derive(Debug)]
pub struct Fared {
    /// The machine at the end.
    pub machine: Machine,
    /// How long it took from power-on until it had an address.
    pub addressed: Option<Duration>,
    /// How long until it had its loader, and its script where that comes by TFTP, and went on by HTTP.
    pub loaded: Option<Duration>,
    /// How long until it had everything; none when it never did.
    pub took: Option<Duration>,
}

/// When a machine passed each of those.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    addressed: Option<Duration>,
    loaded: Option<Duration>,
    took: Option<Duration>,
}

#[derive(Debug)]
enum Channel {
    Udp { which: usize, port: u16, socket: UdpSocket },
    Web { which: usize, web: Web },
}

/// A datagram that is held back.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Late {
    Ask { which: usize, payload: Vec<u8> },
    Offered { which: usize, payload: Vec<u8> },
    Say { which: usize, from: u16, to: SocketAddrV4, payload: Vec<u8> },
    Heard { which: usize, port: u16, from: SocketAddrV4, payload: Vec<u8> },
}

/// The herd.
#[derive(Debug)]
pub struct Herd {
    frames: Frames,
    poll: Poll,
    start: Instant,
    members: Vec<Member>,
    machines: Vec<Machine>,
    marks: Vec<Marks>,
    by_mac: BTreeMap<MacAddr, usize>,
    by_address: BTreeMap<Ipv4Addr, usize>,
    addresses: Vec<Option<Ipv4Addr>>,
    channels: Vec<Option<Channel>>,
    free: Vec<usize>,
    /// The UDP ports of each machine, oldest first, and the page that it gets.
    ports: Vec<Vec<(u16, usize)>>,
    pages: Vec<Option<usize>>,
    alarms: BTreeSet<(Duration, usize)>,
    set: Vec<Option<Duration>>,
    fate: Fate,
    late: BinaryHeap<Reverse<(Duration, Late)>>,
    buffer: Vec<u8>,
}

/// Prepares the clients' end of `cable` for a herd, and the process for many sockets.
///
/// # Errors
/// The interface cannot be set up.
pub fn prepare(cable: &Cable) -> Result<()> {
    let ignore = format!("/proc/sys/net/ipv4/conf/{CLIENT}/arp_ignore");
    fs::write(&ignore, "8").with_context(|| format!("could not write {ignore}"))?;
    // The cable's own network is a /24, and a herd needs more.
    cable.at_server(|| cable.ip(&format!("route add {ALL} dev {SERVER}")))?;
    cable.ip(&format!("address add {OWN} dev {CLIENT}"))?;
    cable.ip(&format!("route add local {POOL_NETWORK} dev {CLIENT}"))?;
    let limit = rustix::process::Resource::Nofile;
    let now = rustix::process::getrlimit(limit);
    let most = now.maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
    let wanted = rustix::process::Rlimit { current: Some(most), maximum: now.maximum };
    rustix::process::setrlimit(limit, wanted).context("could not raise the number of open files")
}

impl Herd {
    /// A herd that is off. Of its datagrams `faults` loses, doubles and delays some, in both directions.
    ///
    /// # Errors
    /// The interface does not have what it takes.
    pub fn new(members: Vec<Member>, faults: Faults) -> Result<Self> {
        let poll = Poll::new().context("could not make a poll")?;
        let frames = Frames::open(CLIENT)?;
        for (socket, token) in [(&frames.dhcp, DHCP), (&frames.arp, ARP)] {
            poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        }
        let machines = (0..).zip(&members);
        let machines: Vec<Machine> = machines
            .map(|(seed, member)| Machine::new(member.mac, member.plan.clone(), faults.seed ^ seed << 20))
            .collect();
        let count = members.len();
        Ok(Self {
            frames,
            poll,
            start: Instant::now(),
            by_mac: members.iter().enumerate().map(|(which, member)| (member.mac, which)).collect(),
            by_address: BTreeMap::new(),
            addresses: vec![None; count],
            channels: Vec::new(),
            free: Vec::new(),
            ports: vec![Vec::new(); count],
            pages: vec![None; count],
            alarms: members.iter().enumerate().map(|(which, member)| (member.on, which)).collect(),
            set: members.iter().map(|member| Some(member.on)).collect(),
            marks: vec![Marks::default(); count],
            fate: Fate::new(faults),
            late: BinaryHeap::new(),
            buffer: vec![0; 1 << 17],
            machines,
            members,
        })
    }

    /// Plays until every machine that means well has booted or given up, at most for `limit`. `meanwhile` is called
    /// between packets with the time and with how many have booted.
    ///
    /// # Errors
    /// The time is up, or a server did what it must not do.
    pub fn run(
        mut self,
        limit: Duration,
        mut meanwhile: impl FnMut(Duration, usize) -> Result<()>,
    ) -> Result<Vec<Fared>> {
        self.start = Instant::now();
        let mut ready = mio::Events::with_capacity(1024);
        loop {
            let now = self.start.elapsed();
            self.due(now);
            let (left, booted) =
                (self.left(), self.marks.iter().filter(|marks| marks.took.is_some()).count());
            if left.is_none() {
                return Ok(self.fared());
            }
            meanwhile(now, booted)?;
            ensure!(
                now < limit,
                "{booted} of {} machines have booted after {} s; one is at {}: {:?}",
                self.machines.len(),
                now.as_secs(),
                left.map_or("", |which| self.machines[which].stage()),
                left.map(|which| self.machines[which].setbacks()),
            );
            let late = self.late.peek().map(|Reverse((at, _))| *at);
            let next = self.alarms.first().map(|(at, _)| *at).into_iter().chain(late).min();
            let wait = next.map_or(LATE, |at| at.saturating_sub(self.start.elapsed()).min(LATE));
            match self.poll.poll(&mut ready, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            for event in &ready {
                match event.token() {
                    DHCP => self.hear(),
                    ARP => self.answer(),
                    Token(token) => self.channel(token - SOCKETS),
                }
            }
            self.blame()?;
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A machine that is still on its way and means well.
    fn left(&self) -> Option<usize> {
        self.machines.iter().position(|machine| {
            machine.plan().trouble == Trouble::None
                && matches!(machine.standing(), Standing::Off | Standing::Booting)
        })
    }

    fn fared(self) -> Vec<Fared> {
        let machines = self.machines.into_iter().zip(self.marks).zip(&self.members);
        let fared = machines.map(|((machine, marks), member)| {
            let since = |at: Option<Duration>| at.map(|at| at.saturating_sub(member.on));
            Fared {
                machine,
                addressed: since(marks.addressed),
                loaded: since(marks.loaded),
                took: since(marks.took),
            }
        });
        fared.collect()
    }

    fn blame(&self) -> Result<()> {
        let guilty = self.machines.iter().find_map(|machine| Some((machine.mac(), machine.fault()?)));
        guilty.map_or(Ok(()), |(mac, fault)| anyhow::bail!("{mac}: {fault}"))
    }

    fn due(&mut self, now: Duration) {
        while let Some((at, which)) = self.alarms.first().copied()
            && at <= now
        {
            self.input(which, Input::Tick);
        }
        while self.late.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            match self.late.pop() {
                Some(Reverse((_, Late::Ask { which, payload }))) => self.ask(which, &payload),
                Some(Reverse((_, Late::Offered { which, payload }))) => {
                    self.input(which, Input::Dhcp(&payload))
                }
                Some(Reverse((_, Late::Say { which, from, to, payload }))) => {
                    self.say(which, from, to, &payload)
                }
                Some(Reverse((_, Late::Heard { which, port, from, payload }))) => {
                    self.input(which, Input::Datagram { to: port, from, payload: &payload });
                }
                None => {}
            }
        }
    }

    /// How often a datagram goes at once; one that is late is kept.
    fn passes(&mut self, late: impl FnOnce() -> Late) -> u32 {
        match self.fate.decide() {
            Verdict::Pass => 1,
            Verdict::Lose => 0,
            Verdict::Double => 2,
            Verdict::Late => {
                self.late.push(Reverse((self.now() + LATE, late())));
                0
            }
        }
    }

    fn input(&mut self, which: usize, input: Input<'_>) {
        let now = self.now();
        let outputs = self.machines[which].on(now, input);
        for output in outputs {
            match output {
                Output::Broadcast(payload) => {
                    for _ in 0..self.passes(|| Late::Ask { which, payload: payload.clone() }) {
                        self.ask(which, &payload);
                    }
                }
                Output::Address(address) => {
                    self.marks[which].addressed.get_or_insert(now);
                    if self.addresses[which] != Some(address) {
                        self.hang_up(which);
                        self.addresses[which] = Some(address);
                        self.by_address.insert(address, which);
                    }
                }
                Output::NoAddress => self.hang_up(which),
                Output::Datagram { from, to, payload } => {
                    for _ in 0..self.passes(|| Late::Say { which, from, to, payload: payload.clone() }) {
                        self.say(which, from, to, &payload);
                    }
                }
                Output::Get { server, target } => {
                    self.marks[which].loaded.get_or_insert(now);
                    self.get(which, server, &target);
                }
            }
        }
        if self.machines[which].standing() == Standing::Running {
            self.marks[which].took.get_or_insert(now);
        }
        let deadline = self.machines[which].deadline();
        if let Some(old) = std::mem::replace(&mut self.set[which], deadline) {
            self.alarms.remove(&(old, which));
        }
        self.alarms.extend(deadline.map(|at| (at, which)));
    }

    /// What cannot be sent is as good as lost on the wire: firmware repeats itself.
    fn ask(&self, which: usize, payload: &[u8]) {
        let _ = self.frames.ask(self.members[which].mac, payload);
    }

    fn say(&mut self, which: usize, from: u16, to: SocketAddrV4, payload: &[u8]) {
        let known = self.ports[which].iter().find(|(port, _)| *port == from).map(|(_, place)| *place);
        let Some(place) = known.or_else(|| self.open(which, from)) else { return };
        if let Some(Some(Channel::Udp { socket, .. })) = self.channels.get(place) {
            let _ = socket.send_to(payload, to.into());
        }
    }

    fn open(&mut self, which: usize, port: u16) -> Option<usize> {
        let address = self.addresses[which]?;
        let mut socket = UdpSocket::bind(SocketAddr::from((address, port))).ok()?;
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVES);
        let place = self.place();
        self.poll.registry().register(&mut socket, Token(place + SOCKETS), Interest::READABLE).ok()?;
        self.channels[place] = Some(Channel::Udp { which, port, socket });
        self.ports[which].push((port, place));
        if self.ports[which].len() > MOST_PORTS {
            let (_, oldest) = self.ports[which].remove(0);
            self.close(oldest);
        }
        Some(place)
    }

    fn get(&mut self, which: usize, server: Ipv4Addr, target: &str) {
        let address = self.addresses[which].unwrap_or(Ipv4Addr::UNSPECIFIED);
        let place = self.place();
        let opened = Web::open(address, server, target).and_then(|mut web| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut web.stream, Token(place + SOCKETS), interest)?;
            Ok(web)
        });
        match opened {
            Ok(web) => {
                self.channels[place] = Some(Channel::Web { which, web });
                self.pages[which] = Some(place);
            }
            Err(_) => {
                self.free.push(place);
                self.input(which, Input::NotGot);
            }
        }
    }

    fn place(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.channels.push(None);
            self.channels.len() - 1
        })
    }

    fn close(&mut self, place: usize) {
        if let Some(slot) = self.channels.get_mut(place)
            && slot.take().is_some()
        {
            self.free.push(place);
        }
    }

    /// The machine has no address any more.
    fn hang_up(&mut self, which: usize) {
        for (_, place) in std::mem::take(&mut self.ports[which]) {
            self.close(place);
        }
        if let Some(place) = self.pages[which].take() {
            self.close(place);
        }
        if let Some(address) = self.addresses[which].take() {
            self.by_address.remove(&address);
        }
    }

    fn hear(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(heard) = self.frames.hear(&mut buffer) {
            let Some(heard) = heard else { continue };
            // A broadcast is read by those who are asking: by their number they know that it is for another.
            let to: Vec<usize> = match heard.machine {
                Some(mac) => self.by_mac.get(&mac).copied().into_iter().collect(),
                None => heard
                    .payload
                    .get(28..34)
                    .and_then(|mac| Some(MacAddr(mac.try_into().ok()?)))
                    .and_then(|mac| self.by_mac.get(&mac).copied())
                    .into_iter()
                    .collect(),
            };
            for which in to {
                let payload = || heard.payload.to_vec();
                for _ in 0..self.passes(|| Late::Offered { which, payload: payload() }) {
                    self.input(which, Input::Dhcp(heard.payload));
                }
            }
        }
        self.buffer = buffer;
    }

    fn answer(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(question) = self.frames.asked(&mut buffer) {
            if let Some(question) = question
                && self.by_address.contains_key(&question.address)
            {
                let _ = self.frames.tell(question);
            }
        }
        self.buffer = buffer;
    }

    fn channel(&mut self, place: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        match self.channels.get_mut(place) {
            Some(Some(Channel::Udp { .. })) => self.datagrams(place, &mut buffer),
            Some(Some(Channel::Web { which, web })) => {
                let which = *which;
                match web.go_on(&mut buffer) {
                    Ok(None) => {}
                    done => {
                        self.close(place);
                        self.pages[which] = None;
                        let content = done.ok().flatten();
                        self.input(which, content.map_or(Input::NotGot, Input::Got));
                    }
                }
            }
            _ => {}
        }
        self.buffer = buffer;
    }

    fn datagrams(&mut self, place: usize, buffer: &mut [u8]) {
        // The machine may close this very socket in between.
        while let Some(Some(Channel::Udp { which, port, socket })) = self.channels.get(place) {
            let (which, port) = (*which, *port);
            let (length, from) = match socket.recv_from(buffer) {
                Ok((length, SocketAddr::V4(from))) => (length, from),
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Such as an ICMP error that an earlier datagram has brought upon it.
                Err(_) => continue,
            };
            let payload = &buffer[..length];
            for _ in 0..self.passes(|| Late::Heard { which, port, from, payload: payload.to_vec() }) {
                self.input(which, Input::Datagram { to: port, from, payload });
            }
        }
    }
}
