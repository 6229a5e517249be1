//! The one writer of the event log.
//!
//! This library decides: whether a datagram is an event and may come from its sender, and when the log is
//! turned over and made durable. It opens no file and no socket and never asks the time;
//! `pilotlight-lab-stated` does that around it.

pub mod intake;
pub mod policy;

pub use intake::{Intake, Refusal};
pub use policy::{Policy, Write};
