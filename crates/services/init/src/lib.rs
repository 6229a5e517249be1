//! What PID 1 of the initrd decides: which disk is the card, which slot to start, how far the data partition
//! may grow, which lab is in force, what the clock may be moved to; and on a machine without a system of its own, what
//! it asks the network for.
//!
//! Values in, values out: this library mounts nothing, opens nothing and asks no clock. The binary beside it
//! performs, and it knows nothing of units, services or networks beyond the files it leaves for them.

pub mod clock;
pub mod dhcp;
pub mod ext4;
pub mod fetch;
pub mod identity;
pub mod lab;
pub mod login;
pub mod netroot;
pub mod network;
pub mod request;
pub mod rtnetlink;
pub mod search;
pub mod status;
