//! A TFTP server that only sends: RFC 1350 with the options of RFC 2347, 2348, 2349 and 7440.
//!
//! This library decides: bytes and a time go in, what to send comes out. It opens no socket and no file and
//! never asks the time; `pilotlight-tftpd` does that around it. Writing is not refused by a setting here, it
//! does not exist.

pub mod content;
pub mod packet;
mod retry;
pub mod terms;
pub mod transfer;
pub mod turns;

pub use content::{Blocks, Packets, ReadAt};
pub use packet::{Asked, Code, FromClient, Mode, Refusal, Request};
pub use terms::Terms;
pub use transfer::{Progress, Step, Transfer};
pub use turns::Turns;
