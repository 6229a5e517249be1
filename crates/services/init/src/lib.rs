//! What PID 1 of the initrd decides: which disk is the card, which slot to start, how far the data partition
//! may grow, which lab is in force, what the clock may be moved to.
//!
//! Values in, values out: this library mounts nothing, opens nothing and asks no clock. The binary beside it
//! performs, and it knows nothing of units, services or networks beyond the files it leaves for them.

pub mod clock;
pub mod ext4;
pub mod identity;
pub mod lab;
pub mod login;
pub mod network;
pub mod request;
pub mod rtnetlink;
pub mod search;
pub mod status;
