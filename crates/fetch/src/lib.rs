//! Files from outside: asked for at several addresses, resumed, retried, verified, and kept by their digest.
//!
//! A [`Cache`] holds files by SHA-256. A [`Client`] opens a [`Session`], which brings what is known by its digest into
//! the cache ([`Session::file`]) and reads what has to be believed first ([`Session::document`]). A [`Keyring`] of
//! pinned OpenPGP keys says what is to be believed. What the files are for is the business of those who ask.

mod cache;
mod digest;
mod hosts;
mod http;
mod keyring;
mod progress;
mod scribe;
mod session;
#[cfg(feature = "testing")]
pub mod testing;
mod transfer;

pub use cache::{Cache, CacheError, map};
pub use digest::{Digest, NotADigest};
pub use hosts::host;
pub use http::{Fault, Headers, Patience};
pub use keyring::{KeyError, Keyring, SignatureError};
pub use progress::{Item, Progress, Show};
pub use session::{Attempt, Client, Failure, Session, Want};
pub use transfer::Expected;
