//! Machines switched on and off by what their lab names for it: an outlet of a web power switch, or a system of a management
//! controller that speaks Redfish.
//!
//! What is asked, in which order, and what the answers mean is decided here upon values: requests go through a [`Wire`], which
//! says nothing of sockets, time or randomness. [`Direct`] is the one that connects; tests have others, with answers that were
//! recorded. No password is in an error or in what is printed of a value; `pilotlight-powerd` keeps them, and tells nobody.

mod device;
mod digest;
mod error;
mod http;
mod login;
mod means;
mod question;
mod redfish;
mod web_switch;
mod wire;

use std::time::Duration;

pub use digest::{Challenge, challenges};
pub use error::Error;
pub use http::{Answer, AnswerFault, Origin, Request};
pub use login::{Login, LoginFault};
pub use means::{Means, MeansFault, magic_packet};
use pilotlight_lab::DeviceKind;
pub use question::Question;
pub use wire::{Direct, WireError};

/// How long a machine stays without power when its outlet is switched off and on, unless told otherwise. Supplies keep a
/// machine going for a second or so, and boards remember for some more; with too short a pause nothing has happened to it.
pub const OFF_FOR: Duration = Duration::from_secs(10);

/// The way to a device and back.
pub trait Wire {
    /// Sends `request` and gives the answer.
    ///
    /// # Errors
    /// When there is none.
    fn ask(&mut self, request: &Request) -> Result<Answer, WireError>;

    /// Lets some time pass.
    fn wait(&mut self, time: Duration);

    /// Sixteen bytes that nobody can guess.
    ///
    /// # Errors
    /// When the system has none.
    fn random(&mut self) -> Result<[u8; 16], WireError>;
}

/// What of a device is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// The outlet with this number printed on it, from 1.
    Outlet(u8),
    /// The system of this name.
    System(&'a str),
}

/// What is to become of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It has power and runs.
    On,
    /// It has none, whatever it is doing.
    Off,
    /// It is told to end what it does, and switches itself off when it has.
    ShutDown,
    /// It begins anew, whatever it is doing. One that is off is switched on.
    Cycle {
        /// How long it stays off where that is not the device's to say.
        off_for: Duration,
    },
}

/// Whether a machine has power.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has.
    On,
    /// It has not.
    Off,
    /// Something in between, in the device's word: `PoweringOn`, `Paused`.
    Other(String),
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Other(word) => word,
        })
    }
}

/// What became of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Nothing had to be done: it was in this state.
    Already(State),
    /// The device was asked, and says that it is in this state now.
    Reached(State),
    /// It was told to shut down, which takes its time and may fail.
    ShuttingDown,
    /// It was restarted, which shows in no state.
    Restarted,
}

/// Whether the machine has power.
///
/// # Errors
/// When the device gives no answer, or none that says so.
pub fn status(wire: &mut impl Wire, login: &Login, target: Target<'_>) -> Result<State, Error> {
    match target {
        Target::Outlet(number) => device::Device::state(&mut web_switch::Outlet::new(wire, login, number)),
        Target::System(name) => redfish::System::new(wire, login, name).with(device::Device::state),
    }
}

/// Has the machine do as `wish` says, and waits until the device says so.
///
/// # Errors
/// When the device gives no answer, refuses, or does not do as it was told.
pub fn switch(wire: &mut impl Wire, login: &Login, target: Target<'_>, wish: Wish) -> Result<Done, Error> {
    match target {
        Target::Outlet(number) => device::switch(&mut web_switch::Outlet::new(wire, login, number), wish),
        Target::System(name) => {
            redfish::System::new(wire, login, name).with(|system| device::switch(system, wish))
        }
    }
}

/// Whether a device of this kind lets `login` in; changes nothing.
///
/// # Errors
/// [`Error::NotLetIn`] when not, others when that cannot be told.
pub fn check(wire: &mut impl Wire, login: &Login, kind: DeviceKind) -> Result<(), Error> {
    match kind {
        DeviceKind::WebSwitch => web_switch::check(wire, login),
        DeviceKind::Redfish => redfish::check(wire, login),
    }
}
