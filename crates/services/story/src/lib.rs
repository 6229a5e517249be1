//! What the events tell of one machine's last boot: which of seven stages it came to and when, and where it stopped, the
//! likeliest reason in words.
//!
//! Values in, values out: the events, the lab and the time are the caller's. Nothing here opens a log or knows where one is.

mod judge;
mod machine;
mod read;
mod silent;
mod stage;
mod tell;

pub use judge::{Judgement, State};
pub use machine::{Machine, NoMachine};
pub use read::{Step, Told, What, When};
pub use silent::silent;
pub use stage::Stage;
pub use tell::{Story, utc};
