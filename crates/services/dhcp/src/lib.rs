//! The DHCP server: which address, name and boot loader a machine is told (RFC 2131, PXE 2.1).
//!
//! Everything here takes bytes and a reading of the clock and gives back what to send, what to write down and
//! what to report. It opens no socket, reads no file, asks no clock and rolls no dice: `pilotlight-dhcpd` does.

pub mod drops;
pub mod frame;
pub mod guard;
pub mod leases;
pub mod packet;
mod reply;
pub mod server;
pub mod store;
pub mod survey;

/// Milliseconds since the Pi's power-on (`CLOCK_BOOTTIME`): it never steps, whatever sets the time of day.
pub type Millis = u64;
