//! The lab's time server: what it says of a clock that nobody set, and of one that somebody did.
//!
//! NTP version 4 (RFC 5905), the server's side alone. Values in, values out: packets come as bytes and leave as bytes, and
//! the time is the caller's. The Pi has no clock that goes on without power, so it does not pretend: until an operator has
//! set the time, machines are told that it is not to be believed.

mod control;
mod packet;

pub use control::{Request, RequestError, civil, read_request};
pub use packet::{Clock, Ignored, LENGTH, Timestamp, reply};
