//! The transfers in progress: a fixed number of places, found by client and by time without looking at all of them.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    ops::Range,
    time::Duration,
};

use pilotlight_tftp::{Blocks, FromClient, Terms, Transfer};

use crate::{files::Content, sockets::Line};

/// The most transfers at a time: a rack of a thousand machines that powers on together, each of which may have begun
/// anew and left its first transfer behind. Each holds two descriptors (`LimitNOFILE=` of the unit) and about a kilobyte,
/// and four more where its client has no window.
pub(crate) const MOST_TRANSFERS: usize = 2048;
/// The most transfers with one address that has not answered in any of them: a firmware has one or two. Whoever sends
/// requests in another's name makes us send no more than these.
pub(crate) const MOST_UNANSWERED: u32 = 8;
/// When the table is full, a client that has not answered for this long makes room. Even a ROM that looks at its network
/// card between other work answers sooner.
const HALF_OPEN: Duration = Duration::from_millis(500);

/// One transfer with all that belongs to it.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) line: Line,
    pub(crate) peer: SocketAddr,
    /// The request as it came, to know it again when the client repeats it.
    pub(crate) request: Vec<u8>,
    pub(crate) file: String,
    pub(crate) length: u64,
    pub(crate) blocks: Blocks<Content>,
    pub(crate) terms: Terms,
    pub(crate) transfer: Transfer,
    /// What is still to be sent, when it is not this transfer's turn or the socket could take no more.
    pub(crate) pending: Range<u64>,
    /// Whether several blocks may go out by one call: until the kernel refuses it.
    pub(crate) together: bool,
    pub(crate) started: Duration,
}

/// The places.
#[derive(Debug, Default)]
pub(crate) struct Table {
    places: Vec<Option<Place>>,
    free: Vec<usize>,
    /// The transfers of each client and port, oldest first.
    by_peer: HashMap<SocketAddr, Vec<usize>>,
    /// Deadlines, or times before them: looked up again when they come.
    timers: BinaryHeap<Reverse<(Duration, usize, u64)>>,
    /// Those that had not been answered when they were put in, oldest first.
    half_open: VecDeque<(usize, u64)>,
    unanswered: HashMap<IpAddr, u32>,
    /// Of the next transfer, to know it from an earlier one in the same place.
    number: u64,
}

#[derive(Debug)]
struct Place {
    active: Active,
    number: u64,
    /// The timer that counts; others of this transfer are left over.
    timer: Duration,
    unanswered: bool,
}

impl Table {
    /// Whether this client, by its port, has made the same request and not yet answered.
    pub(crate) fn awaits(&self, peer: SocketAddr, request: &[u8]) -> bool {
        let places = self.by_peer.get(&peer).into_iter().flatten();
        let mut actives = places.filter_map(|place| Some(&self.places.get(*place)?.as_ref()?.active));
        actives.any(|active| active.request == request && !active.transfer.answered())
    }

    /// The place of the oldest transfer of this client and port, when it has `count` or more.
    pub(crate) fn oldest_of(&self, count: usize, peer: SocketAddr) -> Option<usize> {
        let places = self.by_peer.get(&peer)?;
        places.first().copied().filter(|_| places.len() >= count)
    }

    /// The place of the transfer that a packet of this client and port is meant for, where all leave from one port: the
    /// latest, unless an ACK brings on only the one before it.
    pub(crate) fn meant(&self, peer: SocketAddr, packet: Option<&FromClient>) -> Option<usize> {
        let places = self.by_peer.get(&peer)?;
        let expects = |place: &usize| match (packet, self.places.get(*place)) {
            (Some(FromClient::Ack(block)), Some(Some(slot))) => slot.active.transfer.expects(*block),
            _ => false,
        };
        places.iter().rev().copied().find(expects).or_else(|| places.last().copied())
    }

    /// The place of a transfer of this client and port that began before the one at `place`.
    pub(crate) fn before(&self, place: usize, peer: SocketAddr) -> Option<usize> {
        self.by_peer.get(&peer)?.first().copied().filter(|first| *first != place)
    }

    /// How many transfers there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether `address` has as many transfers that it never answered as anybody may have.
    pub(crate) fn is_silent(&self, address: IpAddr) -> bool {
        self.unanswered.get(&address).is_some_and(|count| *count >= MOST_UNANSWERED)
    }

    pub(crate) fn get(&mut self, place: usize) -> Option<&mut Active> {
        self.places.get_mut(place)?.as_mut().map(|place| &mut place.active)
    }

    pub(crate) fn take(&mut self, place: usize) -> Option<Active> {
        let taken = self.places.get_mut(place)?.take()?;
        self.free.push(place);
        if let Some(places) = self.by_peer.get_mut(&taken.active.peer) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.by_peer.remove(&taken.active.peer);
            }
        }
        if taken.unanswered {
            self.answered(taken.active.peer.ip());
        }
        Some(taken.active)
    }

    /// Puts a transfer into a free place, one that [`Table::free`] gave.
    pub(crate) fn put(&mut self, place: usize, active: Active) {
        let (peer, timer) = (active.peer, active.transfer.deadline());
        self.number += 1;
        let number = self.number;
        if let Some(slot) = self.places.get_mut(place) {
            *slot = Some(Place { active, number, timer, unanswered: true });
            if self.free.last() == Some(&place) {
                self.free.pop();
            } else {
                self.free.retain(|free| *free != place);
            }
            self.by_peer.entry(peer).or_default().push(place);
            *self.unanswered.entry(peer.ip()).or_default() += 1;
            // What is over is forgotten here, so that the queue is no longer than the table for long.
            self.oldest_half_open();
            self.half_open.push_back((place, number));
            self.timers.push(Reverse((timer, place, number)));
        }
    }

    /// A free place; none when all are taken.
    pub(crate) fn free(&mut self) -> Option<usize> {
        if let Some(place) = self.free.last() {
            return Some(*place);
        }
        (self.places.len() < MOST_TRANSFERS).then(|| {
            self.places.push(None);
            self.free.push(self.places.len() - 1);
            self.places.len() - 1
        })
    }

    /// Takes note of what has become of a transfer: whether its client has answered, and when its timer runs out.
    pub(crate) fn note(&mut self, place: usize) {
        let Some(Some(slot)) = self.places.get_mut(place) else { return };
        let deadline = slot.active.transfer.deadline();
        if deadline < slot.timer {
            slot.timer = deadline;
            self.timers.push(Reverse((deadline, place, slot.number)));
        }
        if slot.unanswered && slot.active.transfer.answered() {
            slot.unanswered = false;
            let address = slot.active.peer.ip();
            self.answered(address);
        }
    }

    fn answered(&mut self, address: IpAddr) {
        if let Some(count) = self.unanswered.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.unanswered.remove(&address);
            }
        }
    }

    /// The transfer that should make room at `now`: the oldest whose client never answered. Forged requests
    /// can fill the table, but not keep it full.
    pub(crate) fn expendable(&mut self, now: Duration) -> Option<usize> {
        let (place, slot) = self.oldest_half_open()?;
        (now.saturating_sub(slot.active.started) >= HALF_OPEN).then_some(place)
    }

    fn oldest_half_open(&mut self) -> Option<(usize, &Place)> {
        while let Some((place, number)) = self.half_open.front().copied() {
            let slot = self.places.get(place).and_then(Option::as_ref);
            if slot.is_some_and(|slot| slot.number == number && slot.unanswered) {
                break;
            }
            self.half_open.pop_front();
        }
        let (place, _) = self.half_open.front()?;
        Some((*place, self.places.get(*place)?.as_ref()?))
    }

    /// The next time that a transfer's timer may run out.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.timers.peek().map(|Reverse((time, ..))| *time)
    }

    /// A place whose timer has run out. [`Table::note`] or [`Table::take`] must follow a step that it makes.
    pub(crate) fn expired(&mut self, now: Duration) -> Option<usize> {
        while let Some(Reverse((time, place, number))) = self.timers.peek().copied() {
            if time > now {
                break;
            }
            self.timers.pop();
            let Some(Some(slot)) = self.places.get_mut(place) else { continue };
            if slot.number != number || slot.timer != time {
                continue;
            }
            let deadline = slot.active.transfer.deadline();
            if deadline <= now {
                // Its next timer is set when the step has been taken.
                slot.timer = Duration::MAX;
                return Some(place);
            }
            slot.timer = deadline;
            self.timers.push(Reverse((deadline, place, number)));
        }
        None
    }

    /// Empties the table.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Active> {
        let places = std::mem::take(self).places;
        places.into_iter().flatten().map(|place| place.active)
    }
}
