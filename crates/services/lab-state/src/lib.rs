//! The one writer of the event log, and of what becomes of the nodes while the lab is in force.
//!
//! This library decides: whether a datagram holds events and may come from its sender, how much of them the card is asked to
//! bear, when the log is turned over and made durable, what an operator's line means, and which events are an installation,
//! a meeting or a start. It opens no file and no socket and never asks the time;
//! `pilotlight-lab-stated` does that around it.

pub mod intake;
pub mod policy;
pub mod wish;

pub use intake::{Intake, Refusal, Start, Taken};
pub use policy::{Allowances, Policy, Write};
pub use wish::Wish;
