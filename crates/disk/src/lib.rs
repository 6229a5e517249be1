//! The card's layout: where the slots lie, the table that says which one starts, what the kernel's command line
//! tells `init` about it, and the map of the blocks that an image holds.
//!
//! Builder, `init` and update use the same code, so that they cannot disagree. This crate does no I/O: it turns
//! bytes into values and values into bytes. It knows nothing of the file systems inside the partitions.

pub mod block_map;
pub mod layout;
pub mod mbr;
mod params;
mod slot;

pub use block_map::{BlockMap, BlockMapError, Range};
pub use layout::Extent;
pub use mbr::{Mbr, MbrError, Partition, Trial};
pub use params::{ParamError, Params};
pub use slot::Slot;
