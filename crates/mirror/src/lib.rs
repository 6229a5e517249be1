//! What a lab's machines are started with and given, from those who make it: found, verified, locked, fetched.
//!
//! ```text
//! lab.toml ─ wanted ─┐
//!   sources ─ release ─ verify ─→ lab.lock ─ fetch ─→ cache ─→ the card's data partition
//! ```
//! [`Mirror::lock`] asks for what the lab names and is not locked yet: it finds the version that a channel has now, and
//! believes of it only what a pinned key has signed; where nobody signs, what came first counts from then on. The [`Lock`]
//! names each file by its address, size and SHA-256. [`Mirror::fetch`] brings those bytes into the cache, whoever gives
//! them. This crate does not know what becomes of them.

mod desk;
mod error;
pub mod handover;
mod images;
mod lock;
mod order;
mod refresh;
mod release;
mod sources;
mod wanted;

pub use desk::{Mirror, Room, Update};
pub use error::MirrorError;
pub use lock::{Lock, LockError, LockedFile, LockedImage, LockedRelease};
pub use order::newer;
pub use refresh::{Act, Fit, Held, Here};
pub use sources::{Listed, Plain, Signed, Sources, SourcesError};
pub use wanted::{Wanted, systems};
