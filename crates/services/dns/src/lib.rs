//! The lab's name server: what it knows itself, what it asks others for, and what it remembers of that.
//!
//! Values in, values out: messages come as bytes and leave as bytes, and the time is the caller's. Messages are read and
//! written by `hickory-proto`; what to answer is decided here. Sockets and waiting are `pilotlight-dnsd`'s.

mod answer;
mod cache;
mod gate;
pub mod mdns;
mod upstream;
mod zone;

pub use answer::{Question, Transport, Verdict, cut, decide, fail, from_cache, refuse, relay};
pub use cache::Cache;
pub use gate::{Admission, Gate};
pub use hickory_proto::op::Message;
pub use upstream::{Refusal, accept, question};
pub use zone::Zone;
