//! A new system for the other slot of a card: what is sent, what is there already, in which order it is written, and
//! how it is tried.
//!
//! ```text
//! desk                                   Pi
//!  ── Hello ──────────────────────────▶
//!  ◀─────────────────────────── Status ──  which slot runs, which lab is in force
//!  ── Offer: the pieces of the system ─▶
//!  ◀───────────── Need: these of them ──   the others are in the running slot, or were sent before
//!  ── a piece, a piece, … ────────────▶    written to the other slot
//!  ◀──────────────────────────── Armed ──  all read back; the other slot starts next, once
//! ```
//! This library asks no clock, opens nothing and knows no network: a card is anything that is a [`Disk`]. The daemon
//! beside it performs, and the desk uses the same types.

mod change;
mod cut;
mod manifest;
mod wire;

pub use change::{ChangeError, Disk, arm, find_in_place, go_back, missing, settle, table, take, verify};
pub use cut::{Known, cut, index};
pub use manifest::{Area, Hash, Manifest, ManifestError, Piece};
pub use wire::{FrameError, LONGEST, Message, Reply, Status, VERSION, read, send, send_piece};
