//! What the daemons share: events, sockets handed over by systemd, readiness.
//!
//! Nothing here knows a protocol.

pub mod assets;
pub mod beneath;
pub mod card;
pub mod drops;
pub mod event;
pub mod events;
pub mod interface;
pub mod keep;
pub mod lab;
pub mod limit;
pub mod line;
pub mod pktinfo;
pub mod signals;
pub mod systemd;

pub use event::{Event, Outcome};
pub use events::Events;
