//! What a power cut may leave on a card.
//!
//! A card promises only what was written before a flush that it answered. Of what was written since, any part may be
//! there, in sectors, whatever the order. QEMU records a guest's writes and flushes ([`Log`]); from that every such
//! state can be put together ([`Cuts`]) and looked at ([`State`]). Killing QEMU shows none of this: the host keeps what
//! the guest has not flushed.

mod log;
mod state;

pub use log::{Entry, Log, LogError, SECTOR};
pub use state::{Cuts, State};
