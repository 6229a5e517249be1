//! Root tree to SD-card image: file systems as values, and the card that they are put together to.
//!
//! [`squashfs`], [`fat`] and [`ext4`] turn a [`Tree`](pilotlight_tree::Tree) into the bytes of a file system;
//! [`card`] puts them in their places. Nothing here needs root, a mount or a loop device, asks the clock or
//! draws random numbers; only [`card`] and the reading of [`Blob`]s touch files. [`pieces`] finds again what was compressed
//! before. It knows nothing of packages,
//! boards or labs.

pub mod card;
mod digest;
pub mod ext4;
pub mod fat;
pub mod pieces;
mod sparse;
pub mod squashfs;

pub use digest::Digest;
pub use sparse::{Blob, Content, Extent, ReadAt, Sparse, Window};
