//! Root tree to SD-card image.
