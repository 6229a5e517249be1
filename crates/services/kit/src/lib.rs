//! What the daemons share: events, sockets handed over by systemd, readiness.
//!
//! Nothing here knows a protocol.

pub mod event;
pub mod systemd;

pub use event::{Event, Events, Outcome};
