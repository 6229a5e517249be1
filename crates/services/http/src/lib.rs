//! The web server of a lab: which page a target means, which part of a file was asked for, and how much of an
//! answer has left.
//!
//! This library decides; it opens no socket and no file and never asks the time. The protocol itself is
//! hyper's, and `pilotlight-httpd` joins the two.

pub mod ledger;
pub mod select;
pub mod target;

pub use ledger::{Ledger, Sent};
pub use select::{Selection, select};
pub use target::{Target, TargetError};
