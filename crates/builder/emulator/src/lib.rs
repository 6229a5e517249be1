//! The Pi and PCs in QEMU, on one wire.
//!
//! Nothing here needs root: guests meet on an Ethernet hub of our own ([`hub`]), the Pi gets the kernel, initrd,
//! device tree and command line that stand on its card's FAT partition ([`pi`]), PCs start from the firmware's
//! network boot ([`pc`]), and a [`scene::Scene`] keeps their consoles and the traffic for whoever has to find out
//! what went wrong. This crate knows neither where QEMU comes from ([`Qemu`] is passed in) nor what the guests
//! are meant to say.

pub mod asker;
pub mod card;
pub mod console;
pub mod count;
pub mod counted;
pub mod event;
pub mod fault;
pub mod hub;
mod machine;
pub mod pc;
mod pcap;
pub mod pi;
mod qemu;
pub mod router;
pub mod scene;
mod uimage;

pub use machine::{Machine, Serial};
pub use qemu::{Qemu, QemuError, Uefi};
