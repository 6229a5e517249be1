//! The Pi in memory: performs what the services decide, as their daemons do, on a card that takes its time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use pilotlight_dhcp::{
    server::{Actions, Destination, Outgoing, Server},
    store::{self, Change},
};
use pilotlight_emulator::fault::Random;
use pilotlight_http::Target;
use pilotlight_lab::{Lab, MacAddr};
use pilotlight_tftp::{
    Blocks, Code, FromClient, Mode, Request, Step, Terms, Transfer,
    packet::{self, DATA_HEADER},
};

use super::{
    rules::{Rules, Violation},
    world::{SYSTEM, World},
};
use crate::{
    content::Content,
    dhcp::{Answer, Kind},
    tftp::PORT,
};

/// The first port of a transfer.
const FIRST_PORT: u16 = 32_768;
/// What the machines boot in the end: its content is the web server's affair, not the protocol's.
pub(crate) const SYSTEM_BYTES: &[u8] = b"a kernel and all that goes with it";

/// A packet that the Pi sends.
#[derive(Debug)]
pub(crate) enum Sent {
    /// To the machine that has this hardware address, at its DHCP port.
    ToMachine(MacAddr, Vec<u8>),
    /// To everybody's DHCP port.
    ToAll(Vec<u8>),
    /// A datagram from this port of the Pi's.
    Datagram(u16, SocketAddrV4, Vec<u8>),
}

/// A lease that is being written, and what is to be done when it is.
#[derive(Debug)]
struct Job {
    change: Change,
    reply: Option<Outgoing>,
}

#[derive(Debug)]
struct Active {
    peer: SocketAddrV4,
    request: Vec<u8>,
    blocks: Blocks<Vec<u8>>,
    terms: Terms,
    transfer: Transfer,
    /// Packets of data sent, and the waits and gaps that account for more than one each.
    sent: u64,
    reasons: u64,
    /// The highest block sent.
    highest: u64,
}

/// The Pi.
#[derive(Debug)]
pub(crate) struct Pi {
    lab: Lab,
    server: Server,
    loader: Vec<u8>,
    /// The lease journal as it is on the card.
    journal: Vec<u8>,
    /// Which leases are on the card.
    written: BTreeMap<Ipv4Addr, MacAddr>,
    /// What waits for the card, and what it is writing until when.
    waiting: Vec<Job>,
    writing: Option<(Duration, Vec<Job>)>,
    card: Duration,
    held: Vec<(Duration, Outgoing)>,
    transfers: BTreeMap<u16, Active>,
    next_port: u16,
    /// Blocks sent.
    blocks: u64,
    /// Until when the services are gone.
    down: Option<Duration>,
}

type Out = Vec<Sent>;

impl Pi {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            lab: world.lab.clone(),
            server: Server::new(world.lab.clone()),
            loader: world.loader.clone(),
            journal: store::HEADER.as_bytes().to_vec(),
            written: BTreeMap::new(),
            waiting: Vec::new(),
            writing: None,
            card: world.card,
            held: Vec::new(),
            transfers: BTreeMap::new(),
            next_port: FIRST_PORT,
            blocks: 0,
            down: None,
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down.is_some()
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let card = self.writing.as_ref().map(|(done, _)| *done);
        let held = self.held.iter().map(|(until, _)| *until).min();
        let transfers = self.transfers.values().map(|active| active.transfer.deadline()).min();
        [self.down, card, held, transfers].into_iter().flatten().min()
    }

    /// All services are killed at once, and come back after `gone`. Of what was being written any beginning is on the
    /// card.
    pub(crate) fn kill(&mut self, now: Duration, gone: Duration, dice: &mut Random) {
        if let Some((_, jobs)) = self.writing.take() {
            let lines: String = jobs.iter().map(|job| store::line(&job.change, "boot")).collect();
            let kept = dice.below(lines.len() as u64 + 1) as usize;
            self.journal.extend(&lines.as_bytes()[..kept]);
        }
        self.waiting.clear();
        self.held.clear();
        self.transfers.clear();
        self.down = Some(now + gone);
    }

    fn come_back(&mut self, now: Duration, rules: &Rules) -> Result<(), Violation> {
        self.down = None;
        self.server = Server::new(self.lab.clone());
        let read = store::read(&self.journal, "boot", millis(now));
        // As the daemon does: what is good is written anew.
        let lines: String = read.kept.values().map(store::Kept::line).collect();
        self.journal = [store::HEADER.as_bytes(), lines.as_bytes()].concat();
        self.written = read.leases.iter().map(|(address, (mac, _))| (*address, *mac)).collect();
        for (address, (mac, until)) in &read.leases {
            self.server.leases_mut().restore(*mac, *address, *until);
        }
        for (address, mac) in rules.holders(now) {
            if self.lab.node_by_address(address).is_none() && self.written.get(&address) != Some(&mac) {
                return Err(Violation::Forgotten { address, mac });
            }
        }
        Ok(())
    }

    /// A datagram came to the DHCP server's port.
    pub(crate) fn dhcp(
        &mut self,
        now: Duration,
        payload: &[u8],
        rules: &mut Rules,
    ) -> Result<Out, Violation> {
        let mut out = Out::new();
        if self.is_down() {
            return Ok(out);
        }
        let actions = self.server.handle(millis(now), payload);
        rules.decided(&self.lab, &actions)?;
        let Actions { persist, reply, .. } = actions;
        match persist {
            Some(change) => {
                self.waiting.push(Job { change, reply });
                self.write(now);
            }
            None => self.reply(now, reply, &mut out)?,
        }
        Ok(out)
    }

    /// The card takes all that waits in one go.
    fn write(&mut self, now: Duration) {
        if self.writing.is_none() && !self.waiting.is_empty() {
            self.writing = Some((now + self.card, std::mem::take(&mut self.waiting)));
        }
    }

    fn reply(&mut self, now: Duration, reply: Option<Outgoing>, out: &mut Out) -> Result<(), Violation> {
        let Some(reply) = reply else { return Ok(()) };
        if reply.delay > 0 {
            self.held.push((now + Duration::from_millis(reply.delay), reply));
            return Ok(());
        }
        if let Ok(answer) = Answer::read(&reply.payload)
            && answer.kind == Kind::Ack
            && self.lab.node_by_address(answer.address).is_none()
            && self.written.get(&answer.address) != Some(&answer.mac)
        {
            return Err(Violation::Unwritten { address: answer.address, mac: answer.mac });
        }
        out.push(match reply.to {
            Destination::Hardware { mac, .. } => Sent::ToMachine(mac, reply.payload),
            _ => Sent::ToAll(reply.payload),
        });
        Ok(())
    }

    /// The time is `now`.
    pub(crate) fn tick(&mut self, now: Duration, rules: &Rules) -> Result<Out, Violation> {
        let mut out = Out::new();
        if self.down.is_some_and(|until| until <= now) {
            self.come_back(now, rules)?;
        }
        if let Some((_, jobs)) = self.writing.take_if(|(done, _)| *done <= now) {
            for job in jobs {
                self.journal.extend(store::line(&job.change, "boot").as_bytes());
                self.server.written(&job.change);
                self.written.insert(job.change.address, job.change.mac);
                self.reply(now, job.reply, &mut out)?;
            }
            self.write(now);
        }
        for (_, mut reply) in self.held.extract_if(.., |(until, _)| *until <= now).collect::<Vec<_>>() {
            reply.delay = 0;
            self.reply(now, Some(reply), &mut out)?;
        }
        let due = self.transfers.iter().filter(|(_, active)| active.transfer.deadline() <= now);
        for port in due.map(|(port, _)| *port).collect::<Vec<_>>() {
            let Some(active) = self.transfers.get_mut(&port) else { continue };
            active.reasons += 1;
            let step = active.transfer.on_timer(now);
            self.perform(port, step, &mut out)?;
        }
        Ok(out)
    }

    /// A datagram came to one of the TFTP server's ports.
    pub(crate) fn datagram(
        &mut self,
        now: Duration,
        from: SocketAddrV4,
        to: u16,
        payload: &[u8],
    ) -> Result<Out, Violation> {
        let mut out = Out::new();
        if self.is_down() {
            return Ok(out);
        }
        if to == PORT {
            self.request(now, from, payload, &mut out)?;
            return Ok(out);
        }
        let Some(active) = self.transfers.get_mut(&to) else { return Ok(out) };
        if active.peer != from {
            let no = packet::error(Code::UnknownTid, "unknown transfer ID");
            out.push(Sent::Datagram(to, from, no));
            return Ok(out);
        }
        let Some(heard) = FromClient::parse(payload) else { return Ok(out) };
        let (before, _) = active.transfer.progress();
        let answered = active.transfer.answered();
        let is_old = matches!(heard, FromClient::Ack(number) if answered && number == before as u16);
        let step = active.transfer.on_packet(heard, now);
        if is_old && matches!(step, Step::Blocks(_) | Step::Oack) {
            return Err(Violation::Apprentice(before));
        }
        if let Step::Blocks(next) = &step
            && next.start <= active.highest
        {
            active.reasons += 1;
        }
        self.perform(to, step, &mut out)?;
        Ok(out)
    }

    fn request(
        &mut self,
        now: Duration,
        from: SocketAddrV4,
        payload: &[u8],
        out: &mut Out,
    ) -> Result<(), Violation> {
        let request = match Request::parse(payload) {
            Ok(request) => request,
            Err(refusal) => {
                let told = refusal.code().map(|code| packet::error(code, refusal.reason()));
                out.extend(told.map(|told| Sent::Datagram(PORT, from, told)));
                return Ok(());
            }
        };
        let of_peer = self.transfers.iter().filter(|(_, active)| active.peer == from);
        let of_peer: Vec<(u16, bool)> = of_peer
            .map(|(port, active)| (*port, active.request == payload && !active.transfer.answered()))
            .collect();
        if of_peer.iter().any(|(_, awaits)| *awaits) {
            return Ok(());
        }
        if let [(older, _), _, ..] = of_peer[..] {
            self.transfers.remove(&older);
        }
        let port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
        let Some(content) = self.file(&request.file) else {
            out.push(Sent::Datagram(port, from, packet::error(Code::NotFound, "no such file")));
            return Ok(());
        };
        let length = content.len() as u64;
        let blocks = match request.mode {
            Mode::Octet => Blocks::octet(content, length),
            Mode::Netascii => Blocks::netascii(content),
        };
        let terms = Terms::agree(&request.options, blocks.length(), 0);
        let (transfer, step) = Transfer::start(&terms, blocks.length(), now);
        let active = Active {
            peer: from,
            request: payload.to_vec(),
            blocks,
            terms,
            transfer,
            sent: 0,
            reasons: 0,
            highest: 0,
        };
        self.transfers.insert(port, active);
        self.perform(port, step, out)
    }

    fn perform(&mut self, port: u16, step: Step, out: &mut Out) -> Result<(), Violation> {
        let Some(active) = self.transfers.get_mut(&port) else { return Ok(()) };
        match step {
            Step::Wait => {}
            Step::Oack => {
                let oack = active.terms.oack.clone().unwrap_or_default();
                out.push(Sent::Datagram(port, active.peer, oack));
            }
            Step::Blocks(range) => {
                for number in range {
                    let mut bytes = vec![0; DATA_HEADER + usize::from(active.terms.block_size)];
                    bytes[..DATA_HEADER].copy_from_slice(&packet::data_header(number as u16));
                    let length = active.blocks.read(number, &mut bytes[DATA_HEADER..]).unwrap_or_default();
                    bytes.truncate(DATA_HEADER + length);
                    out.push(Sent::Datagram(port, active.peer, bytes));
                    active.sent += 1;
                    self.blocks += 1;
                    active.highest = active.highest.max(number);
                    if length < usize::from(active.terms.block_size) {
                        active.transfer.ends_with(number);
                        break;
                    }
                }
            }
            Step::Finished | Step::GaveUp | Step::Stopped { .. } => {
                let (sent, reasons, window) = (active.sent, active.reasons, u64::from(active.terms.window));
                let blocks = active.highest;
                self.transfers.remove(&port);
                if sent > blocks + reasons * window {
                    return Err(Violation::TooMuch { sent, blocks, reasons });
                }
            }
        }
        Ok(())
    }

    /// A file of the TFTP server: the loaders, and what is made for the machine that asks.
    fn file(&self, name: &[u8]) -> Option<Vec<u8>> {
        let name = std::str::from_utf8(name).ok()?;
        if let Some(name) = name.strip_prefix("pxelinux.cfg/") {
            return pilotlight_boot::pxelinux_config(&self.lab, name).map(String::into_bytes);
        }
        match name {
            "autoexec.ipxe" => Some(pilotlight_boot::autoexec_ipxe(&self.lab).into_bytes()),
            "undionly.kpxe" | "ipxe.efi" | "pxelinux.0" | "lpxelinux.0" => Some(self.loader.clone()),
            _ => None,
        }
    }

    /// A page of the web server.
    pub(crate) fn page(&self, target: &str) -> Option<Vec<u8>> {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        match Target::parse(path, query).ok()? {
            Target::Boot => Some(pilotlight_boot::boot_ipxe(&self.lab).into_bytes()),
            Target::Script(asking) => {
                let (script, _) =
                    pilotlight_boot::script_of(&self.lab, asking.mac, &asking.marks, asking.asked);
                Some(script.into_bytes())
            }
            Target::Asset(file) if SYSTEM.ends_with(&file) => Some(SYSTEM_BYTES.to_vec()),
            _ => None,
        }
    }

    /// What a machine may have received under this name.
    pub(crate) fn expected(&self, name: &str) -> Option<Content> {
        let bytes = if name.starts_with('/') { self.page(name) } else { self.file(name.as_bytes()) };
        bytes.map(|bytes| Content::of(&bytes))
    }

    /// How many blocks of files it has sent.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Which machines the Pi has written a lease down for.
    pub(crate) fn leases(&self) -> BTreeSet<MacAddr> {
        self.written.values().copied().collect()
    }
}

fn millis(now: Duration) -> u64 {
    now.as_millis() as u64
}
