//! Root tree to SD-card image.

pub mod squashfs;
