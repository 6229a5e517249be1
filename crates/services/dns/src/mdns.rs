//! The Pi makes itself known on its link, to whoever is there: a laptop in a network that the Pi's address does not fit
//! hears it all the same (multicast DNS, RFC 6762, and service discovery, RFC 6763).
//!
//! Values in, values out: messages come as bytes and leave as bytes; time, chance and sockets are the caller's.

mod records;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{DNSClass, Name, Record, RecordType},
    serialize::binary::BinEncodable as _,
};

use self::records::{Kind, LEGACY_TTL, Names, TOP_BIT};
pub use self::text::text;

/// The group that everybody on the link listens to.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// The port, of questions and answers alike.
pub const PORT: u16 = 5353;

/// Questions whether somebody has the name already, and the time between them (RFC 6762 § 8.1).
const PROBES: u32 = 3;
const BETWEEN_PROBES: Duration = Duration::from_millis(250);
/// Announcements once nobody said so, and the time between them (§ 8.3).
const ANNOUNCEMENTS: u32 = 2;
const BETWEEN_ANNOUNCEMENTS: Duration = Duration::from_secs(1);
/// Whoever loses a tie waits for so long (§ 8.2).
const AFTER_A_TIE: Duration = Duration::from_secs(1);
/// So many conflicts are fought out quickly, and then no more than one in five seconds (§ 8.1).
const QUICK_CONFLICTS: u32 = 15;
const AFTER_MANY_CONFLICTS: Duration = Duration::from_secs(5);
/// How long the same record is not said again to all (§ 6), unless to defend it.
const SAME_AGAIN: Duration = Duration::from_secs(1);
const DEFENDED_AGAIN: Duration = Duration::from_millis(250);
/// How long is waited with what others may answer as well (§ 6): 20 ms and up to a hundred more.
const LEAST_DELAY_MS: u64 = 20;
const MORE_DELAY_MS: u64 = 100;

/// How far the names are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Probing { sent: u32, at: Duration },
    Announcing { sent: u32, at: Duration },
    Ours,
}

/// The Pi's side of the link.
#[derive(Debug)]
pub struct Responder {
    address: Ipv4Addr,
    number: u32,
    names: Names,
    text: Vec<String>,
    state: State,
    conflicts: u32,
    /// When each record was said to all last.
    said: BTreeMap<Kind, Duration>,
    /// What is to be said to all, and when.
    pending: BTreeSet<Kind>,
    pending_at: Duration,
}

impl Responder {
    /// The responder of a host with `address` which says `text`, at `now`, a time since any fixed start. `random` keeps two
    /// that got their power at once apart.
    ///
    /// # Errors
    /// None that a checked lab can bring about: its names fit the DNS.
    pub fn new(
        address: Ipv4Addr,
        text: Vec<String>,
        now: Duration,
        random: u32,
    ) -> Result<Self, hickory_proto::ProtoError> {
        Ok(Self {
            address,
            number: 1,
            names: Names::of(1, address)?,
            text,
            state: State::Probing { sent: 0, at: now + chance(random, BETWEEN_PROBES) },
            conflicts: 0,
            said: BTreeMap::new(),
            pending: BTreeSet::new(),
            pending_at: Duration::ZERO,
        })
    }

    /// The host's name as it stands.
    pub fn host(&self) -> String {
        self.names.host.to_ascii()
    }

    /// Whether the names are known to be nobody else's.
    pub fn established(&self) -> bool {
        !matches!(self.state, State::Probing { .. })
    }

    /// When [`Self::poll`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        let state = match self.state {
            State::Probing { at, .. } | State::Announcing { at, .. } => Some(at),
            State::Ours => None,
        };
        state.into_iter().chain((!self.pending.is_empty()).then_some(self.pending_at)).min()
    }

    /// The clock moved on: what is to be said to all.
    pub fn poll(&mut self, now: Duration) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        match self.state {
            State::Probing { sent, at } if now >= at && sent < PROBES => {
                messages.push(self.probe());
                self.state = State::Probing { sent: sent + 1, at: now + BETWEEN_PROBES };
            }
            State::Probing { at, .. } if now >= at => {
                self.conflicts = 0;
                messages.push(self.announce(now));
                self.state = State::Announcing { sent: 1, at: now + BETWEEN_ANNOUNCEMENTS };
            }
            State::Announcing { sent, at } if now >= at => {
                messages.push(self.announce(now));
                self.state = if sent + 1 < ANNOUNCEMENTS {
                    State::Announcing { sent: sent + 1, at: now + BETWEEN_ANNOUNCEMENTS }
                } else {
                    State::Ours
                };
            }
            _ => {}
        }
        if !self.pending.is_empty() && now >= self.pending_at {
            let kinds: Vec<Kind> = std::mem::take(&mut self.pending).into_iter().collect();
            messages.push(self.say_to_all(&kinds, now));
        }
        messages
    }

    /// The service says something else from now on.
    pub fn say(&mut self, text: Vec<String>, now: Duration) {
        if text == self.text {
            return;
        }
        self.text = text;
        if self.established() {
            // RFC 6762 § 8.4: as if it were new, without asking whose it is.
            self.state = State::Announcing { sent: 0, at: now };
        }
    }

    /// The last word: forget what you knew (RFC 6762 § 10.1).
    pub fn goodbye(&self) -> Option<Vec<u8>> {
        let mut records = self.records(&Kind::ANNOUNCED);
        records.iter_mut().for_each(|record| record.ttl = 0);
        self.established().then(|| response(&records, &[]))
    }

    /// A datagram came from `from`, an address of the Pi's own network or, if not `near`, of another. Gives what is to be
    /// sent back to it alone; what all are to hear comes by [`Self::poll`].
    pub fn heard(
        &mut self,
        bytes: &[u8],
        (from, near): (SocketAddr, bool),
        now: Duration,
        random: u32,
    ) -> Option<Vec<u8>> {
        let message = Message::from_vec(bytes).ok()?;
        if message.metadata.op_code != OpCode::Query {
            return None;
        }
        match message.metadata.message_type {
            // RFC 6762 § 11: an answer from another port is none.
            MessageType::Response if from.port() == PORT => self.claimed(&message, now, random),
            MessageType::Response => {}
            MessageType::Query => return self.asked(&message, (from, near), now, random),
        }
        None
    }

    /// Somebody else says something of names that may be ours.
    fn claimed(&mut self, message: &Message, now: Duration, random: u32) {
        let ours = self.names.claims(&self.text);
        let contradicts = |record: &Record| {
            let of_name: Vec<&Record> = ours.iter().filter(|own| own.name == record.name).collect();
            let same = |own: &&Record| own.record_type() == record.record_type() && own.data == record.data;
            let kind = |own: &&Record| own.record_type() == record.record_type();
            // A goodbye claims nothing, and a name may have records of kinds that we have none of: then it is taken.
            record.ttl > 0
                && !of_name.is_empty()
                && !of_name.iter().any(same)
                && (matches!(self.state, State::Probing { .. }) || of_name.iter().any(kind))
                && record.record_type() != RecordType::NSEC
        };
        if !message.answers.iter().chain(&message.additionals).any(contradicts) {
            return;
        }
        self.conflicts = self.conflicts.saturating_add(1);
        if matches!(self.state, State::Probing { .. }) {
            // RFC 6762 § 9: it was there first.
            self.number = self.number.saturating_add(1);
            if let Ok(names) = Names::of(self.number, self.address) {
                self.names = names;
            }
        }
        let wait = if self.conflicts >= QUICK_CONFLICTS {
            AFTER_MANY_CONFLICTS
        } else {
            chance(random, BETWEEN_PROBES)
        };
        self.pending.clear();
        self.said.clear();
        self.state = State::Probing { sent: 0, at: now + wait };
    }

    fn asked(
        &mut self,
        message: &Message,
        (from, near): (SocketAddr, bool),
        now: Duration,
        random: u32,
    ) -> Option<Vec<u8>> {
        if let State::Probing { .. } = self.state {
            self.tie(message, now);
            return None;
        }
        let legacy = from.port() != PORT;
        let is_probe = !message.authorities.is_empty();
        let (mut alone, mut all) = (Vec::new(), Vec::new());
        for query in &message.queries {
            let class = u16::from(query.query_class());
            if ![u16::from(DNSClass::IN), u16::from(DNSClass::ANY)].contains(&(class & !TOP_BIT)) {
                continue;
            }
            for kind in self.names.answers(query.name(), query.query_type()) {
                let record = self.names.record(*kind, &self.text);
                if !legacy && knows(message, &record) {
                    continue;
                }
                let quarter = Duration::from_secs(u64::from(record.ttl)) / 4;
                let recently =
                    |within| self.said.get(kind).is_some_and(|then| now.saturating_sub(*then) < within);
                // Whoever is of another network takes nothing that is sent to it alone (RFC 6762 § 11).
                if legacy || (near && class & TOP_BIT != 0 && recently(quarter)) {
                    alone.push(*kind);
                } else if !recently(if is_probe { DEFENDED_AGAIN } else { SAME_AGAIN }) {
                    all.push(*kind);
                }
            }
        }
        self.schedule(&all, now, random);
        let more: Vec<Kind> = alone.iter().flat_map(|kind| kind.follows()).copied().collect();
        let more: Vec<Kind> = more.into_iter().filter(|kind| !alone.contains(kind)).collect();
        let (answers, more) = (self.records(&alone), self.records(&more));
        match (alone.is_empty(), legacy) {
            (true, _) => None,
            (false, true) => Some(legacy_response(message, answers, more)),
            (false, false) => Some(response(&answers, &more)),
        }
    }

    fn schedule(&mut self, kinds: &[Kind], now: Duration, random: u32) {
        if kinds.is_empty() {
            return;
        }
        let alone = kinds.iter().all(|kind| kind.is_unique());
        let delay = if alone { 0 } else { LEAST_DELAY_MS + u64::from(random) % MORE_DELAY_MS };
        let at = now + Duration::from_millis(delay);
        self.pending_at = if self.pending.is_empty() { at } else { self.pending_at.min(at) };
        self.pending.extend(kinds);
    }

    /// RFC 6762 § 8.2: two ask for the same name at once; the one whose records come later in order goes on.
    fn tie(&mut self, message: &Message, now: Duration) {
        for name in [&self.names.host, &self.names.instance] {
            let of_name = |records: &[Record]| {
                let mut keys: Vec<_> =
                    records.iter().filter(|record| record.name == *name).map(order).collect();
                keys.sort();
                keys
            };
            let theirs = of_name(&message.authorities);
            if !theirs.is_empty() && theirs > of_name(&self.names.claims(&self.text)) {
                self.state = State::Probing { sent: 0, at: now + AFTER_A_TIE };
                return;
            }
        }
    }

    fn probe(&self) -> Vec<u8> {
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        for name in [&self.names.host, &self.names.instance] {
            message.add_query(question(name));
        }
        // What we are going to say is said in the question, as it will be (§ 8.2), but without the bit (§ 10.2).
        message.add_authorities(self.names.claims(&self.text).into_iter().map(plain));
        encoded(&message)
    }

    fn announce(&mut self, now: Duration) -> Vec<u8> {
        self.say_to_all(&Kind::ANNOUNCED, now)
    }

    fn say_to_all(&mut self, kinds: &[Kind], now: Duration) -> Vec<u8> {
        let more: BTreeSet<Kind> = kinds.iter().flat_map(|kind| kind.follows()).copied().collect();
        let more: Vec<Kind> = more.into_iter().filter(|kind| !kinds.contains(kind)).collect();
        self.said.extend(kinds.iter().chain(&more).map(|kind| (*kind, now)));
        response(&self.records(kinds), &self.records(&more))
    }

    fn records(&self, kinds: &[Kind]) -> Vec<Record> {
        kinds.iter().map(|kind| self.names.record(*kind, &self.text)).collect()
    }
}

fn question(name: &Name) -> Query {
    let mut query = Query::query(name.clone(), RecordType::ANY);
    query.set_query_class(DNSClass::from(u16::from(DNSClass::IN) | TOP_BIT));
    query
}

/// Whether the asker says that it knows this already, for long enough (RFC 6762 § 7.1).
fn knows(message: &Message, record: &Record) -> bool {
    let same = |known: &&Record| {
        known.name == record.name && known.record_type() == record.record_type() && known.data == record.data
    };
    message.answers.iter().filter(same).any(|known| known.ttl >= record.ttl / 2)
}

/// What records are ordered by (RFC 6762 § 8.2): class, type, and the bytes of the data.
fn order(record: &Record) -> (u16, u16, Vec<u8>) {
    let data = record.data.to_bytes().unwrap_or_default();
    (u16::from(record.dns_class) & !TOP_BIT, u16::from(record.record_type()), data)
}

fn plain(mut record: Record) -> Record {
    record.dns_class = DNSClass::IN;
    record
}

fn response(answers: &[Record], more: &[Record]) -> Vec<u8> {
    let mut message = Message::response(0, OpCode::Query);
    message.metadata.authoritative = true;
    message.add_answers(answers.iter().cloned());
    message.add_additionals(more.iter().cloned());
    encoded(&message)
}

/// The answer to somebody who speaks the plain DNS (RFC 6762 § 6.7).
fn legacy_response(asked: &Message, answers: Vec<Record>, more: Vec<Record>) -> Vec<u8> {
    let legacy = |record: Record| {
        let mut record = plain(record);
        record.ttl = record.ttl.min(LEGACY_TTL);
        record
    };
    let mut message = Message::response(asked.metadata.id, OpCode::Query);
    message.metadata.authoritative = true;
    message.add_queries(asked.queries.iter().cloned());
    message.add_answers(answers.into_iter().map(legacy));
    message.add_additionals(more.into_iter().map(legacy));
    encoded(&message)
}

fn encoded(message: &Message) -> Vec<u8> {
    // A few short records: they fit any message.
    message.to_vec().unwrap_or_default()
}

fn chance(random: u32, within: Duration) -> Duration {
    let most = u64::try_from(within.as_millis()).unwrap_or(1).max(1);
    Duration::from_millis(u64::from(random) % most)
}
