//! The pool: which address belongs to which machine, and until when.
//!
//! Machines are told apart by hardware address alone, whatever client identifier they send: boot ROM, loader,
//! installer and system each bring their own (RFC 4361 § 6.3), and a machine must not move between them.
//! Reserved addresses never come up here. Nothing here is durable: `store` keeps what was promised.
//!
//! A wire full of strangers costs no more for each than an empty one: what is free, and what is free next, is found
//! without a search.

mod gaps;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use pilotlight_lab::{Lab, MacAddr, Pool};

use crate::Millis;
use gaps::Gaps;

/// How long an offered address is kept for the machine it was offered to.
pub const OFFER_HOLD: Millis = 60_000;
/// How long an address that some other machine was seen using is given to nobody (RFC 2131 § 4.3.3).
pub const QUARANTINE: Millis = 3_600_000;
/// How many addresses are remembered at most: what a Pi 3 can spare, and far beyond what one wire carries.
const MOST_ENTRIES: usize = 65_536;

/// Why there is no address for a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// The lab has no pool, and the machine is not named.
    #[error("not named in lab.toml, and there is no pool for machines that are not")]
    NoPool,
    /// Every address of the pool is taken.
    #[error("every address of the pool is taken")]
    Exhausted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Offered,
    Bound,
    Declined,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    mac: MacAddr,
    standing: Standing,
    until: Millis,
    /// Until when the machine has the address by what is on the card.
    written: Millis,
}

/// The pool's addresses and who has them.
#[derive(Debug)]
pub struct Leases {
    pool: Option<Pool>,
    /// Addresses that are somebody's for good: the Pi's, the reserved ones, router, name servers.
    excluded: BTreeSet<Ipv4Addr>,
    entries: BTreeMap<Ipv4Addr, Entry>,
    by_mac: BTreeMap<MacAddr, Ipv4Addr>,
    /// Addresses of the pool that nobody was given.
    untouched: Gaps,
    /// When what was merely offered is free again.
    offers: BTreeSet<(Millis, Ipv4Addr)>,
    /// When everything else is.
    leases: BTreeSet<(Millis, Ipv4Addr)>,
}

impl Leases {
    /// An untouched pool.
    pub fn new(lab: &Lab) -> Self {
        let network = &lab.network;
        let base = Ipv4Addr::from_bits(network.address.to_bits() & network.mask().to_bits());
        let excluded = lab.nodes.iter().filter_map(|node| node.address);
        let excluded = excluded.chain(network.router).chain(network.dns.iter().copied());
        let excluded: BTreeSet<_> = excluded.chain([network.address, network.broadcast(), base]).collect();
        let mut untouched = Gaps::default();
        if let Some(Pool { first, last }) = network.pool {
            untouched = Gaps::all(first.to_bits(), last.to_bits());
            excluded.iter().for_each(|address| untouched.take(address.to_bits()));
        }
        Self {
            pool: network.pool,
            excluded,
            entries: BTreeMap::new(),
            by_mac: BTreeMap::new(),
            untouched,
            offers: BTreeSet::new(),
            leases: BTreeSet::new(),
        }
    }

    /// Takes up a lease from before a restart. One that the lab has no room for any more is forgotten.
    pub fn restore(&mut self, mac: MacAddr, address: Ipv4Addr, until: Millis) {
        if self.in_pool(address) && self.entries.len() < MOST_ENTRIES {
            self.put(address, Entry { mac, standing: Standing::Bound, until, written: until });
        }
    }

    /// The address that this machine has or last had.
    pub fn held_by(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.by_mac.get(&mac).copied()
    }

    /// The machine that has this address now; none when it is free.
    pub fn holder(&self, now: Millis, address: Ipv4Addr) -> Option<MacAddr> {
        self.entries.get(&address).filter(|entry| entry.until > now).map(|entry| entry.mac)
    }

    /// Whether this address is one of the pool's, and neither reserved nor the Pi's own.
    pub fn in_pool(&self, address: Ipv4Addr) -> bool {
        self.pool.is_some_and(|pool| (pool.first..=pool.last).contains(&address))
            && !self.excluded.contains(&address)
    }

    /// Whether this machine may have this address now.
    pub fn available_to(&self, now: Millis, mac: MacAddr, address: Ipv4Addr) -> bool {
        self.in_pool(address)
            && self.entries.get(&address).is_none_or(|entry| {
                entry.until <= now || (entry.mac == mac && entry.standing != Standing::Declined)
            })
    }

    /// Finds an address in the order of RFC 2131 § 4.3.1 (the machine's own, the one it asks for, one that
    /// nobody had, the one that has been free the longest) and keeps it for a minute.
    ///
    /// # Errors
    /// [`NoAddress`] when there is none.
    pub fn propose(
        &mut self,
        now: Millis,
        mac: MacAddr,
        wanted: Option<Ipv4Addr>,
    ) -> Result<Ipv4Addr, NoAddress> {
        let own = self.held_by(mac).filter(|address| self.available_to(now, mac, *address));
        let wanted = wanted.filter(|address| self.available_to(now, mac, *address));
        let address = match own.or(wanted) {
            Some(address) => address,
            None => {
                self.forget_offers(now);
                self.untouched(mac)?.or_else(|| self.longest_free(now)).ok_or(NoAddress::Exhausted)?
            }
        };
        let offer = Entry { mac, standing: Standing::Offered, until: now + OFFER_HOLD, written: 0 };
        let entry = match self.entries.get(&address) {
            Some(entry) if entry.mac == mac && entry.standing != Standing::Declined => {
                Entry { until: entry.until.max(offer.until), ..*entry }
            }
            _ => offer,
        };
        self.put(address, entry);
        Ok(address)
    }

    /// Gives the address to the machine. The caller has asked [`Self::available_to`].
    pub fn bind(&mut self, mac: MacAddr, address: Ipv4Addr, until: Millis) {
        let own = self.entries.get(&address).filter(|entry| entry.mac == mac);
        let written = own.map_or(0, |entry| entry.written);
        self.put(address, Entry { mac, standing: Standing::Bound, until, written });
    }

    /// What was promised by [`Self::bind`] is on the card.
    pub fn written(&mut self, mac: MacAddr, address: Ipv4Addr, until: Millis) {
        if let Some(entry) = self.entries.get_mut(&address).filter(|entry| entry.mac == mac) {
            entry.written = until;
        }
    }

    /// Takes the promise back when it could not be written down: what is left is what the card says, and where that is
    /// nothing, the address is merely kept for a minute. Says until when the machine has it.
    pub fn unbind(&mut self, now: Millis, mac: MacAddr, address: Ipv4Addr) -> Option<Millis> {
        let entry = *self.entries.get(&address).filter(|entry| entry.mac == mac)?;
        if entry.standing == Standing::Bound && entry.written > now {
            self.put(address, Entry { until: entry.written, ..entry });
            return Some(entry.written);
        }
        self.put(address, Entry { mac, standing: Standing::Offered, until: now + OFFER_HOLD, written: 0 });
        None
    }

    /// Ends the machine's lease; the address stays the first one it is offered. False when it has no such.
    pub fn release(&mut self, now: Millis, mac: MacAddr, address: Ipv4Addr) -> bool {
        let entry = self.entries.get(&address).copied();
        let Some(entry) = entry.filter(|entry| entry.mac == mac && entry.standing != Standing::Declined)
        else {
            return false;
        };
        self.put(address, Entry { until: now, written: 0, ..entry });
        true
    }

    /// Drops an offer that the machine did not take.
    pub fn withdraw(&mut self, mac: MacAddr) {
        let Some(address) = self.held_by(mac) else { return };
        if self.entries.get(&address).is_some_and(|entry| entry.standing == Standing::Offered) {
            self.remove(address);
        }
    }

    /// Gives the address to nobody for a while, because the machine found it in use. False when it was not
    /// this machine's to decline.
    pub fn decline(&mut self, now: Millis, mac: MacAddr, address: Ipv4Addr) -> bool {
        if self.held_by(mac) != Some(address) {
            return false;
        }
        let entry = Entry { mac, standing: Standing::Declined, until: now + QUARANTINE, written: 0 };
        self.put(address, entry);
        self.by_mac.remove(&mac);
        true
    }

    /// Gives an offered address to nobody for a while, because `by` has it. Says whom it was offered to; none when it
    /// is not offered to anybody else: who has a lease finds out for itself (RFC 2131 § 4.4.1).
    pub fn in_use(&mut self, now: Millis, address: Ipv4Addr, by: MacAddr) -> Option<MacAddr> {
        let entry = self.entries.get(&address)?;
        let offered = entry.standing == Standing::Offered && entry.until > now && entry.mac != by;
        let mac = offered.then_some(entry.mac)?;
        self.decline(now, mac, address).then_some(mac)
    }

    /// Whether this address is newly offered, to a machine that did not have it before.
    pub fn is_offer(&self, address: Ipv4Addr) -> bool {
        self.entries.get(&address).is_some_and(|entry| entry.standing == Standing::Offered)
    }

    /// Forgets whatever the machine has: it is reserved an address now.
    pub fn forget(&mut self, mac: MacAddr) -> Option<Ipv4Addr> {
        let address = self.held_by(mac)?;
        self.remove(address);
        Some(address)
    }

    fn put(&mut self, address: Ipv4Addr, entry: Entry) {
        if self.held_by(entry.mac).is_some_and(|other| other != address) {
            self.forget(entry.mac);
        }
        self.remove(address);
        self.untouched.take(address.to_bits());
        self.ends(entry.standing).insert((entry.until, address));
        self.entries.insert(address, entry);
        self.by_mac.insert(entry.mac, address);
    }

    fn remove(&mut self, address: Ipv4Addr) {
        let Some(entry) = self.entries.remove(&address) else { return };
        self.ends(entry.standing).remove(&(entry.until, address));
        self.untouched.give_back(address.to_bits());
        if self.by_mac.get(&entry.mac) == Some(&address) {
            self.by_mac.remove(&entry.mac);
        }
    }

    fn ends(&mut self, standing: Standing) -> &mut BTreeSet<(Millis, Ipv4Addr)> {
        match standing {
            Standing::Offered => &mut self.offers,
            Standing::Bound | Standing::Declined => &mut self.leases,
        }
    }

    /// An offer that nobody took leaves no trace.
    fn forget_offers(&mut self, now: Millis) {
        while let Some((_, address)) = self.offers.first().filter(|(until, _)| *until <= now) {
            let address = *address;
            self.remove(address);
        }
    }

    /// An address that nobody was ever given. Where the search starts depends on the machine alone, so that
    /// it tends to get the same address even when all leases are lost.
    fn untouched(&self, mac: MacAddr) -> Result<Option<Ipv4Addr>, NoAddress> {
        let pool = self.pool.ok_or(NoAddress::NoPool)?;
        if self.entries.len() >= MOST_ENTRIES {
            return Ok(None);
        }
        let (first, last) = (pool.first.to_bits(), pool.last.to_bits());
        let start = first + (fnv1a(&mac.0) % (u64::from(last - first) + 1)) as u32;
        Ok(self.untouched.next(start).map(Ipv4Addr::from_bits))
    }

    fn longest_free(&self, now: Millis) -> Option<Ipv4Addr> {
        self.leases.first().filter(|(until, _)| *until <= now).map(|(_, address)| *address)
    }
}

/// FNV-1a over 64 bits: the same on every machine and in every version.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
