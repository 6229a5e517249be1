//! Drops, counted: the first of a kind is reported at once, its repetitions once every ten seconds as a
//! number. A flood of garbage fills neither the journal nor the memory.

use std::collections::BTreeMap;

use pilotlight_kit::Event;
use pilotlight_lab::MacAddr;

use crate::Millis;

/// How long repetitions are gathered.
pub const WINDOW: Millis = 10_000;
/// How many kinds of drop are told apart at a time; beyond it, machines are not told apart any more.
const MOST_KINDS: usize = 256;

/// A message that was left without an answer, on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// A short fixed name for counting.
    pub kind: &'static str,
    /// Why, in words.
    pub reason: String,
    /// The machine; none when the message is too broken to believe what it says.
    pub mac: Option<MacAddr>,
    /// The node's name.
    pub node: Option<String>,
}

#[derive(Debug)]
struct Count {
    since: Millis,
    repeated: u64,
    last: Dropped,
}

/// The drops of the last ten seconds.
#[derive(Debug, Default)]
pub struct Drops {
    counts: BTreeMap<(&'static str, Option<MacAddr>), Count>,
}

impl Drops {
    /// Counts a drop; the first of its kind is an event.
    pub fn note(&mut self, now: Millis, dropped: Dropped) -> Option<Event> {
        let mut key = (dropped.kind, dropped.mac);
        if self.counts.len() >= MOST_KINDS && !self.counts.contains_key(&key) {
            key.1 = None;
        }
        if let Some(count) = self.counts.get_mut(&key) {
            count.repeated += 1;
            count.last = dropped;
            return None;
        }
        let event = event(&dropped);
        self.counts.insert(key, Count { since: now, repeated: 0, last: dropped });
        Some(event)
    }

    /// What was repeated in the windows that are over.
    pub fn flush(&mut self, now: Millis) -> Vec<Event> {
        let mut events = Vec::new();
        self.counts.retain(|_, count| {
            if now < count.since + WINDOW {
                return true;
            }
            if count.repeated == 0 {
                return false;
            }
            events.push(event(&count.last).fact("times", count.repeated));
            count.since = now;
            count.repeated = 0;
            true
        });
        events
    }

    /// When [`Self::flush`] has something to do.
    pub fn deadline(&self) -> Option<Millis> {
        self.counts.values().map(|count| count.since + WINDOW).min()
    }
}

fn event(dropped: &Dropped) -> Event {
    let event = Event::dropped("dhcp", "drop", &dropped.reason).fact("kind", dropped.kind);
    let event = event.node(dropped.node.as_deref());
    match dropped.mac {
        Some(mac) => event.mac(mac),
        None => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn garbage(n: u8) -> Dropped {
        Dropped { kind: "hlen", reason: format!("hlen {n}"), mac: None, node: None }
    }

    #[test]
    fn a_flood_is_one_event_and_one_number() {
        let mut drops = Drops::default();
        let first = drops.note(5, garbage(255)).unwrap();
        assert_eq!(first.reason.as_deref(), Some("hlen 255"));
        for n in 0..100_000u32 {
            assert_eq!(drops.note(6, garbage(n as u8)), None);
        }
        assert_eq!(drops.flush(WINDOW + 4), [], "the window is still open");
        let later = drops.flush(WINDOW + 5);
        assert_eq!(later.len(), 1);
        assert_eq!(later[0].facts["times"], 100_000);
        assert_eq!(drops.flush(2 * WINDOW + 5), []);
        assert_eq!(drops.deadline(), None, "nothing is waited for when nothing comes");
    }

    #[test]
    fn machines_are_told_apart_until_there_are_too_many() {
        let mut drops = Drops::default();
        let from = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            Dropped {
                kind: "no-pool",
                reason: "no pool".into(),
                mac: Some(MacAddr([2, 0, a, b, c, d])),
                node: None,
            }
        };
        let events = (0..10_000).filter_map(|n| drops.note(0, from(n))).count();
        assert_eq!(events, MOST_KINDS + 1);
        assert!(drops.counts.len() <= MOST_KINDS + 1);
    }
}
