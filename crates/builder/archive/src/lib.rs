//! Signed Debian-style archives: locked, verified, unpacked.
//!
//! ```text
//! archives.toml ─ spec ──┐
//!   mirrors ─ release ─ index ─ solve ─→ lock ─ fetch ─→ cache ─ unpack ─→ packages
//! ```
//! [`Archives::lock`] asks the archives what they have, believing only what a pinned key signed, and writes down
//! every package by size and SHA-256. [`Archives::fetch`] brings those bytes into the cache, whoever gives them,
//! and [`Archives::packages`] turns them into values. This crate does not know what the packages are for, never
//! runs anything out of them, and never writes outside of its cache.

mod archives;
mod date;
pub mod deb822;
mod fetch;
mod index;
mod lock;
mod mirrors;
mod nearest;
pub mod relation;
mod release;
mod relock;
mod review;
mod solve;
mod spec;
#[cfg(feature = "testing")]
pub mod testing;
mod unpack;

pub use archives::{Archives, Error};
pub use date::{day, stamp};
pub use fetch::{FetchError, FileKind, GoneFile};
pub use index::IndexError;
pub use lock::{Lock, LockError, LockedIndex, LockedPackage, LockedRelease, LockedSet, Origin};
pub use mirrors::{AptText, MirrorError, Mirrors, read_apt, resolve as resolve_mirrors, resolve_snapshots};
pub use release::{Release, ReleaseError};
pub use relock::Update;
pub use review::{Lacking, Review, Unknown};
pub use solve::SolveError;
pub use spec::{ArchiveSpec, KeySpec, Provided, SetSpec, Spec, SpecError, Suite, Wish};
pub use unpack::{Keep, UnpackError, UnpackFault, unpack};
