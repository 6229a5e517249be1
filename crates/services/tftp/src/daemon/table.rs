//! The transfers in progress: a fixed number of places.

use std::{net::SocketAddr, ops::Range, time::Duration};

use mio::net::UdpSocket;
use pilotlight_tftp::{Blocks, Terms, Transfer};

use crate::files::Content;

/// The most transfers at a time. Each holds a descriptor or two and a few kilobytes.
pub(crate) const MOST_TRANSFERS: usize = 256;
/// When the table is full, a client that has not answered for this long makes room.
const HALF_OPEN: Duration = Duration::from_secs(1);

/// One transfer with all that belongs to it.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) socket: UdpSocket,
    pub(crate) peer: SocketAddr,
    /// The request as it came, to know it again when the client repeats it.
    pub(crate) request: Vec<u8>,
    pub(crate) file: String,
    pub(crate) length: u64,
    pub(crate) blocks: Blocks<Content>,
    pub(crate) terms: Terms,
    pub(crate) transfer: Transfer,
    /// What is still to be sent, when the socket could take no more.
    pub(crate) pending: Range<u64>,
    pub(crate) started: Duration,
}

/// The places.
#[derive(Debug, Default)]
pub(crate) struct Table {
    places: Vec<Option<Active>>,
}

impl Table {
    /// Whether this client, by its port, has made the same request and not yet answered.
    pub(crate) fn awaits(&self, peer: SocketAddr, request: &[u8]) -> bool {
        let same = |active: &Active| active.peer == peer && active.request == request;
        self.places.iter().flatten().any(|active| same(active) && !active.transfer.answered())
    }

    /// The place of the older transfer of this client and port, when it has two.
    pub(crate) fn older_of_two(&self, peer: SocketAddr) -> Option<usize> {
        let places = self.places.iter().enumerate();
        let of_peer = places.filter_map(|(place, active)| Some((active.as_ref()?, place)));
        let mut of_peer = of_peer.filter(|(active, _)| active.peer == peer);
        let (one, other) = (of_peer.next()?, of_peer.next()?);
        Some(if other.0.started < one.0.started { other.1 } else { one.1 })
    }

    pub(crate) fn get(&mut self, place: usize) -> Option<&mut Active> {
        self.places.get_mut(place)?.as_mut()
    }

    pub(crate) fn take(&mut self, place: usize) -> Option<Active> {
        self.places.get_mut(place)?.take()
    }

    pub(crate) fn put(&mut self, place: usize, active: Active) {
        if let Some(place) = self.places.get_mut(place) {
            *place = Some(active);
        }
    }

    /// A free place; none when all are taken.
    pub(crate) fn free(&mut self) -> Option<usize> {
        if let Some(place) = self.places.iter().position(Option::is_none) {
            return Some(place);
        }
        (self.places.len() < MOST_TRANSFERS).then(|| {
            self.places.push(None);
            self.places.len() - 1
        })
    }

    /// The transfer that should make room at `now`: the oldest whose client never answered. Forged requests
    /// can fill the table, but not keep it full.
    pub(crate) fn expendable(&self, now: Duration) -> Option<usize> {
        let half_open = self.places.iter().enumerate().filter_map(|(place, active)| {
            let active = active.as_ref()?;
            let old = now.saturating_sub(active.started) >= HALF_OPEN;
            (old && !active.transfer.answered()).then_some((active.started, place))
        });
        half_open.min().map(|(_, place)| place)
    }

    /// The next time that a transfer's timer runs out.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.places.iter().flatten().map(|active| active.transfer.deadline()).min()
    }

    /// The places whose timers have run out.
    pub(crate) fn expired(&self, now: Duration) -> Vec<usize> {
        let expired = |active: &Active| active.transfer.deadline() <= now;
        let places = self.places.iter().enumerate();
        places.filter(|(_, active)| active.as_ref().is_some_and(expired)).map(|(place, _)| place).collect()
    }

    /// Empties the table.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Active> {
        std::mem::take(&mut self.places).into_iter().flatten()
    }
}
