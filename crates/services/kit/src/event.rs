//! Events: one line of JSON for each decision a daemon takes.
//!
//! A line goes to standard output (under systemd: the journal) and, as a datagram, to `lab-state`, which keeps
//! the log on the data partition. An event that `lab-state` cannot take is still in the journal: events never
//! hold up an answer.

use std::{
    collections::BTreeMap,
    io::Write as _,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use pilotlight_lab::MacAddr;
use serde::{Deserialize, Serialize};

/// How a decision came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was left undone on purpose: the input was bad, or not for us. `reason` says why.
    Dropped,
    /// It could not be done. `reason` says why.
    Failed,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// Milliseconds since 1970-01-01T00:00:00Z by the Pi's clock, which may be wrong until it is set.
    #[serde(default)]
    pub unix_ms: u64,
    /// Milliseconds since the Pi's power-on; never steps.
    #[serde(default)]
    pub boot_ms: u64,
    /// The daemon: `dhcp`, `tftp`, `http`, …
    pub service: String,
    /// What was decided: `offer`, `ack`, `read`, `get`, …
    pub stage: String,
    /// How it came out.
    pub outcome: Outcome,
    /// The node's name, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The machine's hardware address, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Why, in words, when it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// More facts: `address`, `file`, `bytes`, …
    #[serde(default, flatten, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, serde_json::Value>,
}

impl Event {
    /// A decision that was carried out.
    pub fn ok(service: &str, stage: &str) -> Self {
        Self::new(service, stage, Outcome::Ok, None)
    }

    /// Something left undone on purpose.
    pub fn dropped(service: &str, stage: &str, reason: impl ToString) -> Self {
        Self::new(service, stage, Outcome::Dropped, Some(reason.to_string()))
    }

    /// Something that could not be done.
    pub fn failed(service: &str, stage: &str, reason: impl ToString) -> Self {
        Self::new(service, stage, Outcome::Failed, Some(reason.to_string()))
    }

    /// Names the machine.
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = Some(mac.to_string());
        self
    }

    /// Names the node, when the lab knows it.
    pub fn node(mut self, name: Option<&str>) -> Self {
        self.node = name.map(str::to_owned);
        self
    }

    /// Adds a fact.
    pub fn fact(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    fn new(service: &str, stage: &str, outcome: Outcome, reason: Option<String>) -> Self {
        Self {
            unix_ms: 0,
            boot_ms: 0,
            service: service.to_owned(),
            stage: stage.to_owned(),
            outcome,
            node: None,
            mac: None,
            reason,
            facts: BTreeMap::new(),
        }
    }
}

/// The longest datagram that `lab-state` takes, in bytes. It holds as many events as fit, a line each.
pub const LONGEST_DATAGRAM: usize = 8 * 1024;
/// Held lines of this many bytes leave without being asked to.
const MOST_HELD: usize = 64 * 1024;

/// Where a daemon's events go.
#[derive(Debug)]
pub struct Events {
    log: PathBuf,
    socket: Option<UnixDatagram>,
    held: Mutex<Held>,
}

/// What has not left yet.
#[derive(Debug, Default)]
struct Held {
    lines: Vec<u8>,
    /// Events that `lab-state` did not take since it last took one.
    unsent: u64,
}

impl Events {
    /// Events to standard output and to `lab-state` at `log`, which need not be there yet or ever.
    pub fn new(log: &Path) -> Self {
        let socket = UnixDatagram::unbound().ok().filter(|socket| socket.set_nonblocking(true).is_ok());
        Self { log: log.to_owned(), socket, held: Mutex::default() }
    }

    /// Stamps `event` with both clocks and sends it out. Never blocks on `lab-state`, never fails.
    pub fn emit(&self, event: Event) {
        self.hold(event);
        self.flush();
    }

    /// Stamps `event` with both clocks and keeps it until [`Events::flush`]: for a daemon that decides many times
    /// between two looks at its sockets, and sends what it decided in one go before it waits again.
    pub fn hold(&self, mut event: Event) {
        event.unix_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        event.boot_ms = since_power_on_ms();
        let mut held = self.held();
        if held.unsent > 0 && held.lines.is_empty() {
            event.facts.insert("events-unsent".to_owned(), held.unsent.into());
        }
        let before = held.lines.len();
        match serde_json::to_writer(&mut held.lines, &event) {
            Ok(()) => held.lines.push(b'\n'),
            Err(_) => held.lines.truncate(before),
        }
        if held.lines.len() > MOST_HELD {
            self.send(&mut held);
        }
    }

    /// Sends out what is held.
    pub fn flush(&self) {
        self.send(&mut self.held());
    }

    fn send(&self, held: &mut Held) {
        if held.lines.is_empty() {
            return;
        }
        for (datagram, count) in datagrams(&held.lines) {
            let sent = self.socket.as_ref().is_some_and(|socket| socket.send_to(datagram, &self.log).is_ok());
            held.unsent = if sent { 0 } else { held.unsent + count };
        }
        let mut out = std::io::stdout().lock();
        // A closed standard output must not take the service down with it.
        let _ = out.write_all(&held.lines).and_then(|()| out.flush());
        held.lines.clear();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts lines into pieces for a datagram each, with the number of lines in it. The last line feed of each is left out.
fn datagrams(mut lines: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    std::iter::from_fn(move || {
        let (mut end, mut count) = (0, 0);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if count > 0 && end + line.len() > LONGEST_DATAGRAM {
                break;
            }
            end += line.len();
            count += 1;
        }
        let (datagram, rest) = lines.split_at_checked(end)?;
        lines = rest;
        (count > 0).then(|| (datagram.strip_suffix(b"\n").unwrap_or(datagram), count))
    })
}

/// Milliseconds since power-on, suspended time included (`CLOCK_BOOTTIME`).
pub fn since_power_on_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_leave_together_and_each_whole() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("events.sock");
        let events = Events::new(&path);
        // Nobody listens yet.
        events.emit(Event::ok("test", "first"));
        events.hold(Event::ok("test", "second"));
        let log = UnixDatagram::bind(&path).unwrap();
        log.set_nonblocking(true).unwrap();
        let mut buffer = [0; LONGEST_DATAGRAM + 1];
        assert!(log.recv(&mut buffer).is_err(), "an event was not held");
        for number in 0..200u64 {
            events.hold(Event::ok("test", "more").fact("number", number));
        }
        events.flush();
        let (mut told, mut datagrams) = (Vec::new(), 0);
        while let Ok(length) = log.recv(&mut buffer) {
            assert!(length <= LONGEST_DATAGRAM);
            datagrams += 1;
            let lines = buffer[..length].split(|byte| *byte == b'\n');
            told.extend(lines.map(|line| serde_json::from_slice::<Event>(line).unwrap()));
        }
        assert!(datagrams < 10, "{datagrams} datagrams");
        let unsent: Vec<_> = told.iter().filter_map(|event| event.facts.get("events-unsent")).collect();
        assert_eq!((told.len(), unsent), (201, vec![&serde_json::Value::from(1)]));
        assert_eq!(told.last().and_then(|event| event.facts.get("number")), Some(&199.into()));
    }
}
