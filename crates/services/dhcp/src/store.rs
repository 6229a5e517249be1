//! What leases look like when they are written down, and what they are worth when they are read again.
//!
//! A journal: one line for each promise, checksum first, the last one for an address counts. A line that a
//! power cut tore was never acknowledged; a line that the card lost costs one lease and not all of them. (A
//! database was tried: redb 4.5 panics on a damaged file, which would end a service that must go on.)
//!
//! The Pi has no clock of its own, and the time of day jumps when the network sets it. So a lease is kept as
//! its length and the moment that it was given, in milliseconds since power-on, with the name of that boot.
//! After a restart in the same boot the rest is exact. After a reboot nobody knows how long the Pi was off:
//! the lease counts in full from then on, which at worst keeps an address back a while longer than promised,
//! and never gives it to a second machine.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use pilotlight_lab::MacAddr;
use serde::{Deserialize, Serialize};

use crate::Millis;

/// A lease to write down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The machine.
    pub mac: MacAddr,
    /// The address, which is what it is found by.
    pub address: Ipv4Addr,
    /// How long it lasts from `at` on, in seconds; 0 ends it.
    pub lease_s: u32,
    /// When it was given.
    pub at: Millis,
}

/// The first line of a journal.
pub const HEADER: &str = "pilotlight leases 1\n";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    address: Ipv4Addr,
    mac: String,
    lease_s: u32,
    /// The kernel's `boot_id`.
    boot: String,
    at_ms: Millis,
}

/// A lease that is written down, and the boot that it was given in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The lease.
    pub change: Change,
    /// The kernel's name of that boot.
    pub boot: Arc<str>,
}

impl Kept {
    /// The line to write for it.
    pub fn line(&self) -> String {
        line(&self.change, &self.boot)
    }
}

/// The line to write for a lease that was given in the boot `boot`.
pub fn line(change: &Change, boot: &str) -> String {
    let record = Record {
        address: change.address,
        mac: change.mac.to_string(),
        lease_s: change.lease_s,
        boot: boot.to_owned(),
        at_ms: change.at,
    };
    // A struct of texts and numbers has a JSON form.
    let json = serde_json::to_string(&record).unwrap_or_default();
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

/// A journal that was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// Whose each address is, and until when in this boot.
    pub leases: BTreeMap<Ipv4Addr, (MacAddr, Millis)>,
    /// The same as they were written, to write them again.
    pub kept: BTreeMap<Ipv4Addr, Kept>,
    /// How many lines were acknowledged once and are lost.
    pub damaged: usize,
}

/// Reads a journal in the boot `boot`, which is at `now`. Anything can be read: what is no journal is damage.
pub fn read(bytes: &[u8], boot: &str, now: Millis) -> Journal {
    let mut journal = Journal::default();
    if bytes.is_empty() {
        return journal;
    }
    // Bad lines at the very end are a torn write. They become damage when a good one follows.
    let mut doubtful = 0;
    let mut boots: Vec<Arc<str>> = Vec::new();
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    if lines.next() != Some(HEADER.as_bytes()) {
        journal.damaged += 1;
    }
    for line in lines {
        let Some((record, mac)) = record(line) else {
            doubtful += 1;
            continue;
        };
        journal.damaged += std::mem::take(&mut doubtful);
        let from = if record.boot == boot { record.at_ms.min(now) } else { now };
        let until = from.saturating_add(u64::from(record.lease_s) * 1000);
        journal.leases.insert(record.address, (mac, until));
        let known = boots.iter().find(|known| ***known == *record.boot).cloned();
        let boot = known.unwrap_or_else(|| {
            boots.push(record.boot.as_str().into());
            record.boot.as_str().into()
        });
        let change = Change { mac, address: record.address, lease_s: record.lease_s, at: record.at_ms };
        journal.kept.insert(record.address, Kept { change, boot });
    }
    journal
}

fn record(line: &[u8]) -> Option<(Record, MacAddr)> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, json) = line.split_once(' ')?;
    if sum.len() != 8 || u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(json.as_bytes())) {
        return None;
    }
    let record: Record = serde_json::from_str(json).ok()?;
    let mac = record.mac.parse().ok()?;
    Some((record, mac))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change(last: u8, lease_s: u32, at: Millis) -> Change {
        Change { mac: MacAddr([2, 0, 0, 0, 0, last]), address: Ipv4Addr::new(10, 0, 0, last), lease_s, at }
    }

    fn journal(changes: &[Change]) -> String {
        changes.iter().fold(HEADER.to_owned(), |text, change| text + &line(change, "a"))
    }

    #[test]
    fn what_is_left_of_a_lease() {
        for (name, given, now, boot, until) in [
            ("restarted in the same boot", change(7, 600, 5_000), 65_000, "a", 605_000),
            ("run out meanwhile", change(7, 600, 5_000), 900_000, "a", 605_000),
            ("after a reboot it counts in full", change(7, 600, 5_000_000), 9_000, "b", 609_000),
            ("released", change(7, 0, 5_000), 9_000, "a", 5_000),
            ("released before the reboot", change(7, 0, 5_000), 9_000, "b", 9_000),
            ("a record from later than now", change(7, 600, u64::MAX), 9_000, "a", 609_000),
        ] {
            let journal = read(journal(&[given]).as_bytes(), boot, now);
            assert_eq!(journal.leases, BTreeMap::from([(given.address, (given.mac, until))]), "{name}");
            assert_eq!(journal.damaged, 0);
        }
    }

    #[test]
    fn the_last_line_of_an_address_counts_and_is_written_again() {
        let read =
            read(journal(&[change(1, 600, 1), change(2, 600, 2), change(1, 900, 3)]).as_bytes(), "a", 3);
        assert_eq!(read.leases[&Ipv4Addr::new(10, 0, 0, 1)].1, 900_003);
        assert_eq!(
            read.kept.values().map(Kept::line).collect::<String>(),
            [line(&change(1, 900, 3), "a"), line(&change(2, 600, 2), "a"),].concat()
        );
    }

    #[test]
    fn a_torn_end_is_no_damage_and_a_hole_costs_one_lease() {
        let whole = journal(&[change(1, 600, 1), change(2, 600, 2), change(3, 600, 3)]);
        let bytes = whole.as_bytes();
        let count = |bytes: &[u8]| {
            let read = read(bytes, "a", 3);
            (read.leases.len(), read.damaged)
        };
        assert_eq!(count(bytes), (3, 0));
        assert_eq!(count(&bytes[..bytes.len() - 1]), (2, 0), "without its end, a line is none");
        assert_eq!(count(&[bytes, &[0; 3000]].concat()), (3, 0), "zeros where nothing was written yet");
        assert_eq!(count(HEADER.as_bytes()), (0, 0));
        assert_eq!(count(b""), (0, 0));
        let mut hole = bytes.to_vec();
        hole[HEADER.len() + 20] ^= 1;
        assert_eq!(count(&hole), (2, 1));
        assert_eq!(count(b"garbage"), (0, 1));
        assert_eq!(count(&[0; 100_000]), (0, 1));
    }

    proptest! {
        #[test]
        fn wherever_the_power_goes_what_was_there_before_stays(cut in 0usize..600) {
            let changes: Vec<_> = (1..=5).map(|last| change(last, 600, u64::from(last))).collect();
            let whole = journal(&changes);
            let cut = cut.min(whole.len());
            let read = read(&whole.as_bytes()[..cut], "a", 9);
            let ended = whole.as_bytes()[..cut].iter().filter(|byte| **byte == b'\n').count();
            prop_assert_eq!(read.leases.len(), ended.saturating_sub(1));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            read(&bytes, "a", 9);
        }

        #[test]
        fn flipped_bits_make_no_lease_up(at in 0usize..500, bit in 0u8..8) {
            let changes: Vec<_> = (1..=5).map(|last| change(last, 600, u64::from(last))).collect();
            let mut bytes = journal(&changes).into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let read = read(&bytes, "a", 9);
            let known = changes.iter().map(|change| (change.address, (change.mac, change.at + 600_000)));
            let known: BTreeMap<_, _> = known.collect();
            prop_assert!(read.leases.len() >= 3);
            prop_assert!(read.leases.iter().all(|(address, lease)| known.get(address) == Some(lease)));
        }
    }
}
