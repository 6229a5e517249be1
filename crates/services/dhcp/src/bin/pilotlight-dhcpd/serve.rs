//! The loop: waits for packets, for the card, for the interface and for the end.

use std::{
    net::SocketAddrV4,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};

use anyhow::Context as _;
use pilotlight_dhcp::{
    Millis,
    drops::{Dropped, Drops},
    guard::Guard,
    packet::Packet,
    server::{Actions, Outgoing, Port, Server},
};
use pilotlight_kit::{Event, Events, Outcome, event::since_power_on_ms, systemd};
use pilotlight_lab::Lab;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    commit::{Committer, Job, News},
    journal::{Restored, Store},
    wire::{Changes, Link, Wire, receive},
};

/// A UDP payload is never longer, in bytes.
const BUFFER: usize = 65_536;
/// How many packets of one socket are taken before the others have their turn.
const BATCH: usize = 64;
/// How often an interface that is not ready is looked at although nothing was told, in milliseconds.
const LOOK_AGAIN: Millis = 10_000;
/// How many answers are held back at most, for boot ROMs that are not listening yet. Beyond it they go at once.
const MOST_HELD: usize = 64;

/// The wire while it is there.
struct Serving {
    wire: Wire,
    guard: Guard,
}

/// An answer that is held back, and until when.
struct Held {
    until: Millis,
    reply: Outgoing,
    events: Vec<Event>,
}

/// The server and everything it needs.
pub(crate) struct Daemon {
    lab: Lab,
    server: Server,
    events: Arc<Events>,
    committer: Committer,
    drops: Drops,
    changes: Changes,
    serving: Option<Serving>,
    held: Vec<Held>,
    status: String,
    buffer: Vec<u8>,
}

impl Daemon {
    pub(crate) fn new(lab: Lab, events: Events, store: Store, leases: &[Restored]) -> anyhow::Result<Self> {
        let events = Arc::new(events);
        let mut daemon = Self {
            server: Server::new(lab.clone()),
            lab,
            committer: Committer::start(store, Arc::clone(&events))?,
            events,
            drops: Drops::default(),
            changes: Changes::watch().context("watch the network interfaces")?,
            serving: None,
            held: Vec::new(),
            status: String::new(),
            buffer: vec![0; BUFFER],
        };
        daemon.restore(leases);
        Ok(daemon)
    }

    /// Serves until `stop` becomes readable. Ready from the first moment: the interface of a Pi hangs on USB
    /// and appears when it likes.
    pub(crate) fn run(&mut self, stop: &OwnedFd) -> anyhow::Result<()> {
        self.look()?;
        loop {
            self.guard();
            self.report();
            let ready = self.wait(stop)?;
            if ready.stop {
                return Ok(());
            }
            if ready.commits {
                self.commits();
            }
            if ready.changes {
                self.changes.drain();
            }
            if ready.changes || self.serving.is_none() {
                self.look()?;
            }
            self.packets();
            let now = since_power_on_ms();
            for due in self.held.extract_if(.., |held| held.until <= now).collect::<Vec<_>>() {
                self.send(Some(&due.reply), due.events);
            }
            for event in self.drops.flush(now) {
                self.events.emit(event);
            }
        }
    }

    fn wait(&self, stop: &OwnedFd) -> anyhow::Result<Ready> {
        let mut fds = vec![
            PollFd::new(stop, PollFlags::IN),
            PollFd::from_borrowed_fd(self.committer.wake(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.changes.as_fd(), PollFlags::IN),
        ];
        if let Some(serving) = &self.serving {
            let servers = serving.wire.servers().map(|(socket, _)| socket);
            let sockets = servers.into_iter().chain(serving.wire.probe());
            fds.extend(sockets.map(|socket| PollFd::new(socket, PollFlags::IN)));
            fds.push(PollFd::new(serving.wire.frames(), PollFlags::IN));
        }
        let timeout = self.deadline().map(|deadline| {
            let left = deadline.saturating_sub(since_power_on_ms());
            Timespec { tv_sec: (left / 1000) as i64, tv_nsec: (left % 1000 * 1_000_000) as _ }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for packets"),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready { stop: ready(0), commits: ready(1), changes: ready(2) })
    }

    fn deadline(&self) -> Option<Millis> {
        let guard = match &self.serving {
            Some(serving) if serving.wire.link.running => serving.guard.deadline(),
            Some(_) => None,
            None => Some(since_power_on_ms() + LOOK_AGAIN),
        };
        let held = self.held.iter().map(|held| held.until);
        guard.into_iter().chain(self.drops.deadline()).chain(held).min()
    }

    /// Compares the interface with what it was: it may have come, gone, or come back as another one.
    fn look(&mut self) -> anyhow::Result<()> {
        let network = &self.lab.network;
        let link = Link::find(&network.interface, network.address).context("list the network interfaces")?;
        if let Some(serving) = &mut self.serving {
            match link {
                Some(link) if link.is_same(&serving.wire.link) => {
                    if link.running && !serving.wire.link.running {
                        serving.guard.link_up(&self.lab);
                    }
                    serving.wire.link = link;
                    return Ok(());
                }
                _ => self.serving = None,
            }
        }
        let Some(link) = link.filter(|link| link.addressed) else { return Ok(()) };
        match Wire::open(&network.interface, network.address, link) {
            Ok(wire) => self.serving = Some(Serving { guard: Guard::new(&self.lab, link.mac), wire }),
            // It was there a moment ago. The next change, or the next look, finds it again.
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                let interface = &network.interface;
                return Err(error).with_context(|| {
                    format!("open UDP port 67 on {interface}; it takes CAP_NET_BIND_SERVICE and CAP_NET_RAW")
                });
            }
        }
        Ok(())
    }

    fn guard(&mut self) {
        let Some(Serving { wire, guard }) = &mut self.serving else { return };
        let now = since_power_on_ms();
        if !wire.link.running || guard.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let wish = guard.poll(now, random());
        let opened = wire.listen(guard.listening());
        if let Some(question) = wish.send
            && let Err(error) = opened.and_then(|()| wire.ask(&question))
        {
            guard.unsent(now);
            let reason = format!("the question for other DHCP servers was not sent: {error}");
            let dropped = Dropped { kind: "probe-unsent", reason, mac: None, node: None };
            if let Some(event) = self.drops.note(now, dropped) {
                self.events.emit(event);
            }
        }
        if let Some(event) = wish.event {
            self.events.emit(event);
        }
    }

    fn packets(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        // First: who was offered an address that somebody has is refused it, if it asks for it now.
        self.conflicts(&mut buffer);
        for at in 0..3 {
            for _ in 0..BATCH {
                let Some(serving) = &self.serving else { break };
                let (socket, port) = serving.wire.servers()[at];
                let Some((payload, from)) = receive(socket, &mut buffer) else { break };
                self.request(port, payload, from);
            }
        }
        self.other_servers(&mut buffer);
        self.buffer = buffer;
    }

    fn conflicts(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Some(heard) = self.serving.as_ref().and_then(|serving| serving.wire.heard(buffer)) else {
                break;
            };
            let now = since_power_on_ms();
            if let Some(event) = heard.and_then(|end| self.server.in_use(now, end.address, end.mac)) {
                self.events.emit(event);
            }
        }
    }

    fn other_servers(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Some(Serving { wire, guard }) = &mut self.serving else { break };
            let Some((payload, _)) = wire.probe().and_then(|probe| receive(probe, buffer)) else { break };
            if let Some(event) = guard.heard(since_power_on_ms(), payload) {
                self.events.emit(event);
            }
            if !guard.listening() {
                let _ = wire.listen(false);
            }
        }
    }

    fn request(&mut self, port: Port, payload: &[u8], from: SocketAddrV4) {
        let Some(serving) = &self.serving else { return };
        let now = since_power_on_ms();
        let actions = match port {
            _ if !serving.guard.serving() => silence(serving, payload),
            Port::Dhcp => self.server.handle(now, payload),
            Port::Boot => self.server.handle_boot(payload, from),
        };
        if let Some(event) = actions.dropped.and_then(|dropped| self.drops.note(now, dropped)) {
            self.events.emit(event);
        }
        if let (Some(address), Some(serving)) = (actions.probe, &self.serving) {
            // Not sent is as good as not answered.
            let _ = serving.wire.who_has(address);
        }
        let Some(change) = actions.persist else {
            self.perform(actions.reply, actions.events);
            return;
        };
        if let Err(job) = self.committer.submit(Job { change, reply: actions.reply, events: actions.events })
        {
            self.not_written(*job, "too many leases wait for the card");
        }
    }

    fn commits(&mut self) {
        for news in self.committer.news() {
            match news {
                News::Written(job) => self.perform(job.reply, job.events),
                News::Failed(job, reason) => self.not_written(job, &reason),
                News::Found(leases) => self.restore(&leases),
            }
        }
    }

    fn restore(&mut self, leases: &[Restored]) {
        for lease in leases {
            self.server.leases_mut().restore(lease.mac, lease.address, lease.until);
        }
    }

    /// A pool address is promised only when the promise is on the card: after a power cut it could be given to
    /// a second machine. So there is no answer; the machine asks again, and reserved addresses are not
    /// concerned.
    fn not_written(&mut self, job: Job, reason: &str) {
        self.server.not_written(since_power_on_ms(), &job.change);
        self.fail(job.events, &format!("the lease was not written: {reason}"));
    }

    fn perform(&mut self, reply: Option<Outgoing>, events: Vec<Event>) {
        match reply {
            Some(reply) if reply.delay > 0 && self.held.len() < MOST_HELD => {
                self.held.push(Held { until: since_power_on_ms() + reply.delay, reply, events });
            }
            reply => self.send(reply.as_ref(), events),
        }
    }

    fn send(&self, reply: Option<&Outgoing>, events: Vec<Event>) {
        let sent = match (reply, &self.serving) {
            (None, _) => Ok(()),
            (Some(_), None) => Err("the interface is gone".to_owned()),
            (Some(reply), Some(serving)) => serving.wire.send(reply).map_err(|error| error.to_string()),
        };
        match sent {
            Ok(()) => events.into_iter().for_each(|event| self.events.emit(event)),
            Err(error) => self.fail(events, &format!("the answer was not sent: {error}")),
        }
    }

    fn fail(&self, events: Vec<Event>, reason: &str) {
        for mut event in events {
            event.outcome = Outcome::Failed;
            event.reason = Some(reason.to_owned());
            self.events.emit(event);
        }
    }

    /// Keeps systemd's status line true.
    fn report(&mut self) {
        let interface = &self.lab.network.interface;
        let status = match &self.serving {
            None => format!("waiting for {interface} with the address {}", self.lab.network.address),
            Some(serving) => match serving.guard.other() {
                Some(other) => format!("silent: another DHCP server at {other} answers on {interface}"),
                None if serving.guard.serving() => format!("serving {interface}"),
                None => format!("asking for another DHCP server on {interface}"),
            },
        };
        if status != self.status {
            systemd::ready(&status);
            eprintln!("{status}");
            self.status = status;
        }
    }
}

/// What the wait was ended by, beside packets: those are looked for every time.
struct Ready {
    stop: bool,
    commits: bool,
    changes: bool,
}

/// Counts what is left unanswered because another server is there; the guard's own question comes back too.
fn silence(serving: &Serving, payload: &[u8]) -> Actions {
    let Some(other) = serving.guard.other() else { return Actions::default() };
    let mac = Packet::parse(payload).ok().map(|packet| packet.mac);
    if mac == Some(serving.wire.link.mac) {
        return Actions::default();
    }
    let reason = format!("not answered: another DHCP server at {other} is on this wire");
    Actions { dropped: Some(Dropped { kind: "silent", reason, mac, node: None }), ..Actions::default() }
}

fn is_passing(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NODEV | Errno::NXIO | Errno::ADDRNOTAVAIL | Errno::NETDOWN))
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_ne_bytes(bytes)
}
