//! An image onto a card: which devices there are, which of them may be written, what is written where, and the
//! writing itself.
//!
//! What decides ([`Device::objection`], [`Plan`]) takes values and gives values. [`list`] reads what the kernel
//! tells of its disks, `write` does the writing; neither knows how progress is shown.

mod device;
mod lab;
mod listing;
mod os_list;
mod plan;
mod write;

pub use device::{Device, Objection, PLAUSIBLE};
pub use lab::{LabError, with_lab};
pub use listing::{Disks, list};
pub use os_list::{OsEntry, day, os_list};
pub use plan::{Kept, Plan, PlanError};
pub use write::{FlashError, Stage, Target, write};
