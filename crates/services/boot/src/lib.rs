//! Which loader, script and configuration a machine gets: pure rendering of the [`Lab`](pilotlight_lab::Lab).
//!
//! This crate does no I/O and knows no packet. Nothing here quotes or escapes: every value comes from a checked
//! lab, whose names, arguments and paths cannot hold a character that means something to iPXE, PXELINUX, GRUB, a
//! kernel's command line or a preseed file.
//!
//! What reaches a disk is decided here, by two rules: an entry that installs is taken only by a node whose
//! profile says so or by a hand at the keyboard, and partitioning is answered only for a node with
//! [`install_to`](pilotlight_lab::Node::install_to).

mod client;
mod describe;
mod grub;
mod ipxe;
mod kernel;
mod preseed;
mod pxelinux;
mod url;

pub use client::{Architecture, BootFile, Client, U_BOOT_FOLDER, boot_file};
pub use describe::describe;
pub use grub::grub_config;
pub use ipxe::{autoexec_ipxe, boot_ipxe, ipxe_script, script_of};
pub use preseed::preseed;
pub use pxelinux::{pxelinux_config, u_boot_config};
pub use url::{asset_path, preseed_path};
