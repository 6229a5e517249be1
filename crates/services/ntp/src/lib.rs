//! The lab's time server: what it says of a clock that nobody set, and of one that somebody did; and how it sets its own by
//! others.
//!
//! NTP version 4 (RFC 5905). Values in, values out: packets come as bytes and leave as bytes, and the time is the caller's.
//! A Pi has no clock that goes on without power, so it does not pretend: until an operator, time servers that agree or a
//! clock chip have vouched for the time, machines are told that it is not to be believed.

pub mod clock;
mod control;
mod packet;
mod timestamp;
pub mod upstream;

pub use clock::Clock;
pub use control::{Request, RequestError, civil, read_request};
pub use packet::{Ignored, LENGTH, reply};
pub use timestamp::Timestamp;
