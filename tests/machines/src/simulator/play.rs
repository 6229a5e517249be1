//! Plays a world to its end.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::{Ipv4Addr, SocketAddrV4},
    ops::AddAssign,
    time::Duration,
};

use pilotlight_emulator::fault::Random;
use pilotlight_lab::MacAddr;

use super::{
    pi::{Pi, Sent},
    rules::{Rules, Violation},
    world::World,
};
use crate::{
    content::Content,
    machine::{Input, Machine, Output, Standing},
    plan::Trouble,
};

/// Far longer than four starts of any firmware.
const END: Duration = Duration::from_secs(3_600);
/// How long TCP waits before it sends again, at first.
const TCP_WAITS: Duration = Duration::from_millis(200);
/// How often TCP sends again before the page counts as not there.
const TCP_TRIES: u32 = 8;

/// What came of one world, or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Worlds.
    pub worlds: u64,
    /// Machines that were switched on.
    pub machines: u64,
    /// Machines that booted.
    pub booted: u64,
    /// Starts that led nowhere, each for a reason.
    pub setbacks: u64,
    /// Packets on the wire.
    pub packets: u64,
    /// Blocks of files among them.
    pub blocks: u64,
    /// Packets that were lost.
    pub lost: u64,
    /// Times that the services were killed.
    pub kills: u64,
    /// Simulated time, of all worlds together.
    pub time: Duration,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.machines += other.machines;
        self.booted += other.booted;
        self.setbacks += other.setbacks;
        self.packets += other.packets;
        self.blocks += other.blocks;
        self.lost += other.lost;
        self.kills += other.kills;
        self.time += other.time;
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Kill(Duration),
    ToDhcp(Vec<u8>),
    ToTftp {
        from: SocketAddrV4,
        to: u16,
        payload: Vec<u8>,
    },
    ToMachine {
        which: usize,
        payload: Vec<u8>,
    },
    Datagram {
        from: u16,
        to: SocketAddrV4,
        payload: Vec<u8>,
    },
    /// A machine's request has reached the web server.
    Asked {
        which: usize,
        target: String,
    },
    /// The web server's answer has reached the machine; none when there is none.
    Answered {
        which: usize,
        content: Option<(u64, u32)>,
    },
}

struct Player<'a> {
    world: &'a World,
    now: Duration,
    dice: Random,
    queue: BinaryHeap<Reverse<(Duration, u64, Happening)>>,
    order: u64,
    machines: Vec<Machine>,
    pi: Pi,
    rules: Rules,
    addresses: BTreeMap<Ipv4Addr, usize>,
    /// When something of each machine was last lost.
    hurt: Vec<Vec<Duration>>,
    report: Report,
    /// Who is told of everything that happens.
    told: Option<&'a mut dyn FnMut(Duration, String)>,
}

/// Plays `world` until every machine that means well has booted or given up.
///
/// # Errors
/// What must not be.
pub fn play(world: &World) -> Result<Report, Violation> {
    begin(world, None)
}

/// The same, and tells of everything that arrives, and when.
///
/// # Errors
/// What must not be.
pub fn play_aloud(world: &World, told: &mut dyn FnMut(Duration, String)) -> Result<Report, Violation> {
    begin(world, Some(told))
}

fn begin<'a>(
    world: &'a World,
    told: Option<&'a mut dyn FnMut(Duration, String)>,
) -> Result<Report, Violation> {
    let mut dice = Random::new(world.seed ^ 0x05ee_d0f7_4e31_7e00);
    let machines: Vec<Machine> = world
        .members
        .iter()
        .map(|member| Machine::new(member.mac, member.plan.clone(), dice.next_u64()))
        .collect();
    let mut player = Player {
        now: Duration::ZERO,
        pi: Pi::new(world),
        rules: Rules::default(),
        addresses: BTreeMap::new(),
        hurt: vec![Vec::new(); machines.len()],
        report: Report { worlds: 1, machines: machines.len() as u64, ..Report::default() },
        queue: BinaryHeap::new(),
        order: 0,
        machines,
        dice,
        world,
        told,
    };
    for (at, gone) in &world.kills {
        player.later(*at, Happening::Kill(*gone));
    }
    player.run()?;
    player.judge()
}

impl Player<'_> {
    fn run(&mut self) -> Result<(), Violation> {
        while !self.is_over() {
            let arrival = self.queue.peek().map(|Reverse((at, ..))| *at);
            let pi = self.pi.deadline();
            let machine =
                (0..self.machines.len()).filter_map(|which| Some((self.alarm(which)?, which))).min();
            let next = [arrival, pi, machine.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= END) else { return self.endless() };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                if let Some(Reverse((_, _, happening))) = self.queue.pop() {
                    self.happen(happening)?;
                }
            } else if pi == Some(next) {
                let sent = self.pi.tick(self.now, &self.rules)?;
                self.send(sent);
            } else if let Some((_, which)) = machine {
                self.machine(which, Input::Tick)?;
            }
        }
        Ok(())
    }

    fn alarm(&self, which: usize) -> Option<Duration> {
        match self.machines[which].standing() {
            Standing::Off => Some(self.world.members[which].on),
            _ => self.machines[which].deadline(),
        }
    }

    /// Machines with trouble of their own may go on for ever.
    fn is_over(&self) -> bool {
        let over = |machine: &Machine| matches!(machine.standing(), Standing::Running | Standing::GaveUp);
        self.machines.iter().all(|machine| over(machine) || machine.plan().trouble != Trouble::None)
    }

    fn endless(&self) -> Result<(), Violation> {
        let stuck = self.machines.iter().find(|machine| machine.standing() == Standing::Booting);
        stuck.map_or(Ok(()), |machine| {
            Err(Violation::Endless { mac: machine.mac(), stage: machine.stage(), at: self.now })
        })
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        let now = self.now;
        if let Some(told) = &mut self.told {
            told(now, happening.words());
        }
        match happening {
            Happening::Kill(gone) => {
                self.report.kills += 1;
                self.pi.kill(now, gone, &mut self.dice);
                self.hurt.iter_mut().for_each(|times| times.extend([now, now + gone]));
            }
            Happening::ToDhcp(payload) => {
                let sent = self.pi.dhcp(now, &payload, &mut self.rules)?;
                self.send(sent);
            }
            Happening::ToTftp { from, to, payload } => {
                let sent = self.pi.datagram(now, from, to, &payload)?;
                self.send(sent);
            }
            Happening::ToMachine { which, payload } => self.machine(which, Input::Dhcp(&payload))?,
            Happening::Datagram { from, to, payload } => {
                if let Some(which) = self.addresses.get(to.ip()) {
                    let from = SocketAddrV4::new(self.world.lab.network.address, from);
                    let input = Input::Datagram { to: to.port(), from, payload: &payload };
                    self.machine(*which, input)?;
                }
            }
            Happening::Asked { which, target } => {
                let page = (!self.pi.is_down()).then(|| self.pi.page(&target)).flatten();
                let content = page.map(|bytes| Content::of(&bytes));
                let content = content.map(|content| (content.length, content.sum));
                self.by_tcp(which, |content| Happening::Answered { which, content }, content);
            }
            Happening::Answered { which, content } => {
                let content = content.map(|(length, sum)| Content { length, sum });
                self.machine(which, content.map_or(Input::NotGot, Input::Got))?;
            }
        }
        Ok(())
    }

    fn machine(&mut self, which: usize, input: Input<'_>) -> Result<(), Violation> {
        let machine = &mut self.machines[which];
        let outputs = machine.on(self.now, input);
        if let Some(what) = machine.fault() {
            return Err(Violation::Fault { mac: machine.mac(), what: what.to_owned() });
        }
        for output in outputs {
            match output {
                Output::Broadcast(payload) => self.wire(Some(which), Happening::ToDhcp(payload)),
                Output::Address(address) => {
                    let machine = &self.machines[which];
                    if let Some(terms) = machine.address() {
                        self.rules.takes(self.now, machine.mac(), terms)?;
                    }
                    self.addresses.retain(|_, other| *other != which);
                    self.addresses.insert(address, which);
                }
                Output::NoAddress => self.addresses.retain(|_, other| *other != which),
                Output::Datagram { from, to, payload } => {
                    let address = self.addresses.iter().find(|(_, other)| **other == which);
                    let address = address.map_or(Ipv4Addr::UNSPECIFIED, |(address, _)| *address);
                    let from = SocketAddrV4::new(address, from);
                    self.wire(Some(which), Happening::ToTftp { from, to: to.port(), payload });
                }
                Output::Get { target, .. } => {
                    let asked = |target| match target {
                        Some(target) => Happening::Asked { which, target },
                        None => Happening::Answered { which, content: None },
                    };
                    self.by_tcp(which, asked, Some(target));
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, sent: Vec<Sent>) {
        for packet in sent {
            match packet {
                Sent::ToMachine(mac, payload) => {
                    let which = self.machines.iter().position(|machine| machine.mac() == mac);
                    if let Some(which) = which {
                        self.wire(Some(which), Happening::ToMachine { which, payload });
                    }
                }
                Sent::ToAll(payload) => {
                    for which in 0..self.machines.len() {
                        self.wire(Some(which), Happening::ToMachine { which, payload: payload.clone() });
                    }
                }
                Sent::Datagram(from, to, payload) => {
                    let which = self.addresses.get(to.ip()).copied();
                    self.wire(which, Happening::Datagram { from, to, payload });
                }
            }
        }
    }

    /// Puts a packet of, or for, the machine `which` on the wire.
    fn wire(&mut self, which: Option<usize>, happening: Happening) {
        let wire = self.world.wire;
        self.report.packets += 1;
        let copies = 1 + u64::from(self.dice.below(1000) < wire.doubled);
        let mut happening = Some(happening);
        for copy in 0..copies {
            let cut_off = which.is_some_and(|which| self.world.members[which].cut_off);
            if cut_off || self.dice.below(1000) < wire.lost {
                self.report.lost += 1;
                if let Some(times) = which.and_then(|which| self.hurt.get_mut(which)) {
                    times.push(self.now);
                }
                continue;
            }
            let jitter = self.dice.below(wire.jitter.as_micros() as u64);
            let at = self.now + wire.delay + Duration::from_micros(jitter);
            let packet = match copy + 1 < copies {
                true => happening.clone(),
                false => happening.take(),
            };
            if let Some(packet) = packet {
                self.later(at, packet);
            }
        }
    }

    /// TCP hides loss, doubling and order from who speaks through it, but not time, and not a wire that is cut.
    fn by_tcp<T>(&mut self, which: usize, happening: impl Fn(Option<T>) -> Happening, content: Option<T>) {
        let wire = self.world.wire;
        let (mut wait, mut took) = (TCP_WAITS, wire.delay * 3);
        for _ in 0..TCP_TRIES {
            let lost = self.world.members[which].cut_off || self.dice.below(1000) < wire.lost;
            if !lost {
                return self.later(self.now + took, happening(content));
            }
            self.hurt[which].push(self.now);
            took += wait;
            wait *= 2;
        }
        self.hurt[which].push(self.now + took);
        self.later(self.now + took, happening(None));
    }

    fn later(&mut self, at: Duration, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse((at, self.order, happening)));
    }

    fn judge(mut self) -> Result<Report, Violation> {
        self.report.time = self.now;
        self.report.blocks = self.pi.blocks();
        let leases = self.pi.leases();
        for (which, machine) in self.machines.iter().enumerate() {
            let mac = machine.mac();
            for (name, content) in machine.received() {
                if self.pi.expected(name) != Some(*content) {
                    return Err(Violation::Content { mac, name: name.clone() });
                }
            }
            self.report.booted += u64::from(machine.standing() == Standing::Running);
            self.report.setbacks += machine.setbacks().len() as u64;
            if machine.plan().trouble != Trouble::None {
                continue;
            }
            self.explained(which)?;
            if machine.standing() == Standing::Running && !leases.contains(&mac) {
                self.reserved(mac)?;
            }
        }
        Ok(self.report)
    }

    /// Nothing was written down for this machine: it must have a reservation.
    fn reserved(&self, mac: MacAddr) -> Result<(), Violation> {
        let node = self.world.lab.node_by_mac(mac).and_then(|node| node.address);
        let what = "it booted with an address that is neither reserved nor written down".to_owned();
        node.map(drop).ok_or(Violation::Fault { mac, what })
    }

    /// A machine gives up because something of it was lost, or the services were gone, in that very time.
    fn explained(&self, which: usize) -> Result<(), Violation> {
        let machine = &self.machines[which];
        for setback in machine.setbacks() {
            let hurt = self.hurt[which].iter().any(|time| (setback.since..=setback.at).contains(time));
            if self.world.is_kind() && !self.world.members[which].cut_off || !hurt {
                return Err(Violation::GaveUp {
                    mac: machine.mac(),
                    stage: setback.stage,
                    why: setback.why.clone(),
                    since: setback.since,
                    at: setback.at,
                });
            }
        }
        Ok(())
    }
}

impl Happening {
    fn words(&self) -> String {
        let head = |payload: &[u8]| payload[..payload.len().min(48)].escape_ascii().to_string();
        match self {
            Self::Kill(gone) => format!("the services are killed, for {gone:?}"),
            Self::ToDhcp(payload) => format!("to the DHCP server: {} bytes", payload.len()),
            Self::ToTftp { from, to, payload } => format!("{from} to {to}: {}", head(payload)),
            Self::ToMachine { which, payload } => format!("DHCP to machine {which}: {} bytes", payload.len()),
            Self::Datagram { from, to, payload } => {
                format!("{from} to {to}: {} bytes, {}", payload.len(), head(&payload[..payload.len().min(4)]))
            }
            Self::Asked { which, target } => format!("machine {which} asks for {target}"),
            Self::Answered { which, content } => {
                format!("the web server answers machine {which}: {content:?}")
            }
        }
    }
}
