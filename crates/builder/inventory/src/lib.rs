//! What is in an image, told to people and to scanners: a manifest of every file ([`manifest`]), a bill of
//! materials ([`bom`]), and what everything costs ([`spend`]).
//!
//! Values in, values out: the same packages give the same text, byte for byte. This crate does no I/O and knows no
//! clock.

pub mod bom;
mod copyright;
mod graph;
pub mod manifest;
pub mod spend;

pub use graph::Graph;
