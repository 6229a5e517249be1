//! The one writer of the event log.
//!
//! This library decides: whether a datagram holds events and may come from its sender, how much of them the card is asked to
//! bear, and when the log is turned over and made durable. It opens no file and no socket and never asks the time;
//! `pilotlight-lab-stated` does that around it.

pub mod intake;
pub mod policy;

pub use intake::{Intake, Refusal};
pub use policy::{Allowances, Policy, Write};
