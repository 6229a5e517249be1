//! The web server of a lab: HTTP/1.1 as far as files, scripts and short reports need it, which page a target means, which
//! part of a file was asked for, and who may hold a connection.
//!
//! This library decides; it opens no socket and no file and never asks the time. `pilotlight-httpd` performs. The protocol is
//! our own because of what no library offers: bodies that go from the page cache to the wire without passing through this
//! process (`sendfile(2)`), an exact count of what has left, and connections that hold no buffer while nothing happens.

pub mod body;
pub mod dialogue;
pub mod head;
pub mod places;
pub mod reply;
pub mod select;
pub mod target;
pub mod warmth;

pub use dialogue::{Dialogue, Next};
pub use head::{HeadError, Method, Request};
pub use places::{Holder, Places};
pub use reply::{Reply, Then};
pub use select::{Selection, select};
pub use target::{Authority, Selected, Target, TargetError};
pub use warmth::Warmth;
