//! The loop: waits for packets, for the card, for the interface and for the end.

mod others;

use std::{
    fs::Permissions,
    net::SocketAddrV4,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use anyhow::Context as _;
use pilotlight_dhcp::{
    Millis,
    drops::{Dropped, Drops, Overflow},
    guard::Guard,
    packet::Packet,
    server::{Actions, Outgoing, Port, Server},
    survey::Survey,
};
use pilotlight_kit::{Event, Events, Outcome, event::since_power_on_ms, lab::Current, systemd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    commit::{Committer, Job, News},
    control::Control,
    journal::{Restored, Store},
    wire::{BROADCASTS, Changes, Link, Wire, receive},
};

/// A UDP payload is never longer, in bytes.
const BUFFER: usize = 65_536;
/// How many packets of one socket are taken before the others have their turn.
const BATCH: usize = 64;
/// How often an interface that is not ready is looked at although nothing was told, in milliseconds.
const LOOK_AGAIN: Millis = 10_000;
/// Where so many wait in one socket, some may have found no room: the largest datagrams fill it with about as many.
const CROWDED: usize = 4;
/// How long after that the drops are looked at, in milliseconds: what waited is taken by then, mostly.
const COUNT_AFTER: Millis = 200;
/// How many answers are held back at most, for boot ROMs that are not listening yet. Beyond it they go at once.
const MOST_HELD: usize = 64;

/// How long what was decided is gathered before it is told, in milliseconds.
const TELL_AFTER: Millis = 5;

/// Where a message says whose it is.
const HARDWARE_ADDRESS: std::ops::Range<usize> = 28..34;

/// The wire while it is there.
struct Serving {
    wire: Wire,
    guard: Guard,
    survey: Option<Survey>,
    overflow: Overflow,
}

impl Serving {
    /// Holds the client's port as long as anybody here wants it.
    fn listen(&mut self) -> std::io::Result<()> {
        self.wire.listen(self.guard.listening() || self.survey.is_some())
    }
}

/// An answer that is held back, and until when.
struct Held {
    until: Millis,
    reply: Outgoing,
    events: Vec<Event>,
}

/// The server and everything it needs.
pub(crate) struct Daemon {
    lab: Current,
    server: Server,
    events: Arc<Events>,
    committer: Committer,
    drops: Drops,
    changes: Changes,
    control: Control,
    serving: Option<Serving>,
    held: Vec<Held>,
    status: String,
    status_file: PathBuf,
    /// Why leases cannot be written, as far as is known.
    fault: Option<String>,
    /// When to look at what the kernel dropped.
    count: Option<Millis>,
    /// When what was decided is told, and when that was done last.
    tell: Option<Millis>,
    told: Millis,
    buffer: Vec<u8>,
}

impl Daemon {
    pub(crate) fn new(
        lab: Current,
        events: Events,
        store: Store,
        leases: &[Restored],
        control: Control,
        status_file: PathBuf,
    ) -> anyhow::Result<Self> {
        let events = Arc::new(events);
        let mut daemon = Self {
            server: Server::new(lab.now().as_ref().clone()),
            lab,
            committer: Committer::start(store, Arc::clone(&events))?,
            events,
            drops: Drops::default(),
            changes: Changes::watch().context("watch the network interfaces")?,
            control,
            serving: None,
            held: Vec::new(),
            status: String::new(),
            status_file,
            fault: None,
            count: None,
            tell: None,
            told: 0,
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
            self.survey();
            self.report();
            self.tell(since_power_on_ms());
            let ready = self.wait(stop)?;
            if ready.stop {
                return Ok(());
            }
            if ready.commits {
                self.commits();
            }
            if ready.changes {
                let index = self.serving.as_ref().map(|serving| serving.wire.link.index());
                let was_down = self.changes.drain(index);
                if let Some(serving) = self.serving.as_mut().filter(|_| was_down) {
                    serving.wire.link.running = false;
                }
            }
            if ready.changes || self.serving.is_none() {
                self.look()?;
            }
            self.packets();
            let now = since_power_on_ms();
            for due in self.held.extract_if(.., |held| held.until <= now).collect::<Vec<_>>() {
                self.send(Some(&due.reply), due.events);
            }
            self.overflow(now);
            for event in self.drops.flush(now) {
                self.events.hold(event);
            }
        }
    }

    /// Tells what was decided: at once where there is little, and a while of it in one go where there is much.
    fn tell(&mut self, now: Millis) {
        let due = self.tell.unwrap_or_default().max(self.told + TELL_AFTER);
        if now >= due {
            self.told = now;
            self.tell = self.events.flush().map(|again| now + again.as_millis() as Millis);
        } else {
            self.tell = Some(due);
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
        fds.extend(self.control.listener().map(|listener| PollFd::new(listener, PollFlags::IN)));
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
        let survey = self.serving.as_ref().and_then(|serving| serving.survey.as_ref()).map(Survey::deadline);
        guard
            .into_iter()
            .chain(survey)
            .chain(self.count)
            .chain(self.tell)
            .chain(self.drops.deadline())
            .chain(held)
            .min()
    }

    /// Compares the interface with what it was: it may have come, gone, or come back as another one.
    fn look(&mut self) -> anyhow::Result<()> {
        let network = &self.lab.in_force().network;
        let link = Link::find(&network.interface, network.address).context("list the network interfaces")?;
        if let Some(serving) = &mut self.serving {
            match link {
                Some(link) if link.is_same(&serving.wire.link) => {
                    if link.running && !serving.wire.link.running {
                        serving.guard.link_up(self.lab.in_force());
                    }
                    serving.wire.link = link;
                    return Ok(());
                }
                _ => self.serving = None,
            }
        }
        let Some(link) = link.filter(|link| link.addressed) else { return Ok(()) };
        match Wire::open(&network.interface, network.address, link) {
            Ok(wire) => {
                let guard = Guard::new(self.lab.in_force(), link.mac);
                self.serving = Some(Serving { guard, wire, survey: None, overflow: Overflow::default() })
            }
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

    fn packets(&mut self) {
        self.learn();
        let mut buffer = std::mem::take(&mut self.buffer);
        // First: who was offered an address that somebody has is refused it, if it asks for it now.
        self.conflicts(&mut buffer);
        // Under more than can be done, an exchange that has begun is worth more than one that has not.
        let mut busy = false;
        for at in 0..4 {
            if at == 3 && busy {
                break;
            }
            for taken in 1..=BATCH {
                let Some(serving) = &mut self.serving else { break };
                let (socket, port) = serving.wire.servers()[at];
                let Some((payload, from)) = receive(socket, &mut buffer) else { break };
                if BROADCASTS.contains(&at) {
                    serving.overflow.taken();
                }
                self.request(port, payload, from);
                busy |= taken == BATCH;
                if taken == CROWDED {
                    self.count.get_or_insert_with(|| since_power_on_ms() + COUNT_AFTER);
                }
            }
        }
        self.other_servers(&mut buffer);
        self.buffer = buffer;
    }

    /// Looks whether more is known of the lab's nodes by now, where the lab leaves anything to be found out.
    fn learn(&mut self) {
        if !self.lab.in_force().recognises() {
            return;
        }
        let before = self.lab.last();
        let now = self.lab.now();
        for fault in self.lab.faults() {
            self.events.hold(Event::failed("dhcp", "state", fault));
        }
        if !Rc::ptr_eq(&before, &now) {
            self.server.learn(now.as_ref().clone());
        }
    }

    /// Tells what the kernel had no room for.
    fn overflow(&mut self, now: Millis) {
        if self.count.is_none_or(|count| now < count) {
            return;
        }
        self.count = None;
        let Some(serving) = &mut self.serving else { return };
        // A kernel that does not tell has nothing to be told.
        let times = serving.wire.counters().map_or(0, |counters| serving.overflow.dropped(counters));
        if times == 0 {
            return;
        }
        let reason = "the kernel had no room for them: more came than could be looked at".to_owned();
        let dropped = Dropped { kind: "overflow", reason, mac: None, node: None };
        self.drops.note_many(now, dropped, times).into_iter().for_each(|event| self.events.hold(event));
    }

    fn request(&mut self, port: Port, payload: &[u8], from: SocketAddrV4) {
        let Some(serving) = &self.serving else { return };
        // The Pi's own questions for other servers come back to it.
        if payload.get(HARDWARE_ADDRESS) == Some(&serving.wire.link.mac.0) {
            return;
        }
        let now = since_power_on_ms();
        let actions = match port {
            _ if !serving.guard.serving() => silence(serving, payload),
            Port::Dhcp => self.server.handle(now, payload),
            Port::Boot => self.server.handle_boot(payload, from),
        };
        if let Some(event) = actions.dropped.and_then(|dropped| self.drops.note(now, dropped)) {
            self.events.hold(event);
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
                News::Written(jobs) => {
                    if let Some(fault) = self.fault.take() {
                        let event = Event::ok("dhcp", "store").fact("fault", fault);
                        self.events.hold(event.fact("message", "leases are written again"));
                    }
                    for job in jobs {
                        self.server.written(&job.change);
                        self.perform(job.reply, job.events);
                    }
                }
                News::Failed(jobs, reason) => {
                    for job in jobs {
                        self.not_written(job, &reason);
                    }
                    self.fault = Some(reason);
                }
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
    /// a second machine. So who has a lease hears how much of that is left, and nobody else is answered; machines ask
    /// again, and reserved addresses are not concerned.
    fn not_written(&mut self, mut job: Job, reason: &str) {
        let left_s = self.server.not_written(since_power_on_ms(), &job.change, job.reply.as_mut());
        let reason = format!("the lease was not written: {reason}");
        let Some(left_s) = left_s else { return self.fail(job.events, &reason) };
        let told = |event: Event| event.fact("lease-s", left_s).fact("message", reason.as_str());
        self.perform(job.reply, job.events.into_iter().map(told).collect());
    }

    fn perform(&mut self, reply: Option<Outgoing>, events: Vec<Event>) {
        match reply {
            Some(reply) if reply.delay > 0 && self.held.len() < MOST_HELD => {
                self.held.push(Held { until: since_power_on_ms() + reply.delay, reply, events });
            }
            reply => self.send(reply.as_ref(), events),
        }
    }

    fn send(&mut self, reply: Option<&Outgoing>, events: Vec<Event>) {
        let sent = match (reply, &self.serving) {
            (None, _) => Ok(()),
            (Some(_), None) => Err("the interface is gone".to_owned()),
            (Some(reply), Some(serving)) => serving.wire.send(reply).map_err(|error| error.to_string()),
        };
        match sent {
            Ok(()) => events.into_iter().for_each(|event| self.events.hold(event)),
            Err(error) => self.fail(events, &format!("the answer was not sent: {error}")),
        }
    }

    fn fail(&mut self, events: Vec<Event>, reason: &str) {
        for mut event in events {
            event.outcome = Outcome::Failed;
            event.reason = Some(reason.to_owned());
            self.events.hold(event);
        }
    }

    /// Keeps what systemd and the console say of the service true.
    fn report(&mut self) {
        let interface = &self.lab.in_force().network.interface;
        let status = match &self.serving {
            None => {
                format!("waiting for {interface} with the address {}", self.lab.in_force().network.address)
            }
            Some(serving) => match serving.guard.other() {
                Some(other) => format!("silent: another DHCP server at {other} answers on {interface}"),
                None if serving.guard.serving() => match &self.fault {
                    Some(fault) => format!("serving {interface}; leases cannot be written: {fault}"),
                    None => format!("serving {interface}"),
                },
                None => format!("asking for another DHCP server on {interface}"),
            },
        };
        if status != self.status {
            systemd::ready(&status);
            eprintln!("{status}");
            // Where there is no folder for it, nobody looks there.
            if std::fs::write(&self.status_file, format!("{status}\n")).is_ok() {
                let _ = std::fs::set_permissions(&self.status_file, Permissions::from_mode(0o644));
            }
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

/// Counts what is left unanswered because another server is there.
fn silence(serving: &Serving, payload: &[u8]) -> Actions {
    let Some(other) = serving.guard.other() else { return Actions::default() };
    let mac = Packet::parse(payload).ok().map(|packet| packet.mac);
    let reason = format!("not answered: another DHCP server at {other} is on this wire");
    Actions { dropped: Some(Dropped { kind: "silent", reason, mac, node: None }), ..Actions::default() }
}

fn is_passing(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NODEV | Errno::NXIO | Errno::ADDRNOTAVAIL | Errno::NETDOWN))
}
