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
        self.note_many(now, dropped, 1)
    }

    /// Counts so many of one kind at once.
    pub fn note_many(&mut self, now: Millis, dropped: Dropped, times: u64) -> Option<Event> {
        let mut key = (dropped.kind, dropped.mac);
        if self.counts.len() >= MOST_KINDS && !self.counts.contains_key(&key) {
            key.1 = None;
        }
        if let Some(count) = self.counts.get_mut(&key) {
            count.repeated += times;
            count.last = dropped;
            return None;
        }
        let event = event(&dropped);
        let event = if times > 1 { event.fact("times", times) } else { event };
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

/// What the kernel dropped of the requests before anybody could look at them, for want of room.
///
/// It counts in one number for each socket what it had no room for and what the socket's filter refused. The two sockets
/// that take broadcasts refuse what the other one takes: so each broadcast is counted once by the filter of one of them,
/// and by the other one when it was dropped there, or else it is taken or waits. As it is known only how many wait at most,
/// this is too low while some do, never too high, and is made good when they are taken.
#[derive(Debug, Default)]
pub struct Overflow {
    /// What the counters said last.
    seen: Counters,
    /// Broadcasts that were refused or dropped and not told of, less those that were taken.
    open: i64,
}

/// What the kernel counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// The two sockets for broadcasts.
    pub broadcasts: [u32; 2],
    /// Those without a filter.
    pub others: [u32; 2],
    /// How many broadcasts wait at most.
    pub waiting: u32,
}

impl Overflow {
    /// A broadcast was taken.
    pub fn taken(&mut self) {
        self.open -= 1;
    }

    /// How many were dropped and not told of yet.
    pub fn dropped(&mut self, now: Counters) -> u64 {
        let more = |now: [u32; 2], seen: [u32; 2]| -> i64 {
            now.iter().zip(seen).map(|(now, seen)| i64::from(now.wrapping_sub(seen))).sum()
        };
        self.open += more(now.broadcasts, self.seen.broadcasts);
        let others = more(now.others, self.seen.others);
        self.seen = now;
        // One that was dropped was counted twice.
        let dropped = ((self.open - i64::from(now.waiting)) / 2).max(0);
        self.open -= 2 * dropped;
        (dropped + others).unsigned_abs()
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
    fn what_the_kernel_drops_is_told_from_what_the_other_socket_takes() {
        let mut overflow = Overflow::default();
        let mut check = |taken: usize, waiting: u32, broadcasts: [u32; 2], others: [u32; 2], expect: u64| {
            (0..taken).for_each(|_| overflow.taken());
            assert_eq!(overflow.dropped(Counters { broadcasts, others, waiting }), expect);
        };
        // Ten DISCOVERs, which one socket refuses, and four of all else, which the other one does.
        check(14, 0, [10, 4], [0, 0], 0);
        // A hundred DISCOVERs: thirty were dropped, fifty are taken and twenty wait, which may be forty for all that is known.
        check(50, 40, [110, 34], [0, 0], 20);
        check(20, 0, [110, 34], [0, 0], 10);
        check(0, 0, [110, 34], [3, 2], 5);
        // The counters begin again at 0 some time.
        check(0, 0, [110, 34], [u32::MAX, 2], u64::from(u32::MAX) - 3);
        check(0, 0, [110, 34], [1, 2], 2);
    }

    #[test]
    fn many_at_once_are_one_event_with_their_number() {
        let mut drops = Drops::default();
        assert_eq!(drops.note_many(0, garbage(1), 500).unwrap().facts["times"], 500);
        assert_eq!(drops.note_many(1, garbage(1), 70), None);
        assert_eq!(drops.flush(WINDOW)[0].facts["times"], 70);
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
