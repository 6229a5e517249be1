//! Machines that boot, as values: what happens to one goes in with a reading of the clock, and what it does comes out.
//!
//! A [`Machine`] is on the other side of the wire from the services: firmware that asks for an address after its own
//! waits, loaders that fetch files with their own habits, and machines that vanish, never acknowledge or flood. It
//! opens no socket and never asks the time; the [`simulator`] plays hundreds of whole boots in a second against what the
//! services decide, and the bench plays a thousand at once against the daemons.
//!
//! Packets are read and written here by codecs of its own, so that a mistake of the services' codecs cannot hide.

mod address;
pub mod content;
pub mod dhcp;
pub mod fetch;
pub mod firmware;
pub mod frame;
pub mod machine;
pub mod plan;
pub mod simulator;
pub mod tftp;

pub use content::{Content, Growing};
pub use machine::{Input, Machine, Output, Standing};
pub use plan::{Chain, Plan, Trouble};
