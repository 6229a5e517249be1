//! Whole-system tests: what they share.
//!
//! `cargo xtask test net|image|boot` prepares what a layer needs and says where it is in the environment
//! ([`surroundings`]); a layer that lacks something fails and says so. A layer is a list of named scenes
//! ([`harness`]).

pub mod bad_wire;
pub mod daemon;
pub mod desk;
pub mod harness;
pub mod herd;
pub mod namespace;
pub mod process;
pub mod rack;
pub mod releases;
pub mod surroundings;

use std::time::Duration;

/// How long to wait for what comes when all is well: many times as long as anything takes on the slowest machine that tests
/// run on, emulated machines included. Nothing waits for it unless something is wrong.
pub const PATIENCE: Duration = Duration::from_mins(10);
