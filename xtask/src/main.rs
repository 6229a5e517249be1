//! The builder's command line.

fn main() {}
