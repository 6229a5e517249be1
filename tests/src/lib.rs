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
