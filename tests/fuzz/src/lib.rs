//! Arbitrary input for every parser that meets the network, a person's file or a card (rule 10).
//!
//! A [`Target`] takes bytes and must not panic; what it promises besides is asserted in it. It answers with a number for
//! what kind of outcome it was, and input with a new outcome joins the [`Herd`] that further input is made from: a guide
//! that needs no instrumented build. The inputs that a herd begins with lie in `corpus/TARGET/`.

mod dhcp;
mod herd;
mod pki;
mod power;
mod targets;

pub use herd::Herd;
pub use targets::{TARGETS, Target};

use std::{fs, io, path::Path};

/// The inputs of a target in the tree, by the names of their files.
///
/// # Errors
/// The target has no corpus.
pub fn corpus(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut paths: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(fs::read).collect()
}
