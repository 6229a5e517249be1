//! What all devices have in common: a state that is asked for, two orders, and that an order takes its time.

use std::time::Duration;

use crate::{Done, Error, State, Wish};

/// How long an order may take to show. A controller takes some seconds to switch a machine on; a web switch that was told to
/// spare its fuse waits between two outlets.
const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_secs(1);
/// How often it is tried to give a machine its power back, and how long is waited in between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(3);

/// Something that can be switched.
pub(crate) trait Device {
    /// Whether it has power.
    fn state(&mut self) -> Result<State, Error>;
    /// Gives the order.
    fn order(&mut self, on: bool) -> Result<(), Error>;
    /// Lets some time pass.
    fn wait(&mut self, time: Duration);
    /// Has the machine shut itself down.
    fn shut_down(&mut self) -> Result<(), Error>;
    /// Restarts a machine that is on, where that is one order; gives whether it is.
    fn restart(&mut self) -> Result<bool, Error>;
}

/// Does as `wish` says.
pub(crate) fn switch(device: &mut impl Device, wish: Wish) -> Result<Done, Error> {
    let now = device.state()?;
    match wish {
        Wish::On => bring(device, now, State::On),
        Wish::Off => bring(device, now, State::Off),
        Wish::ShutDown if now == State::Off => Ok(Done::Already(now)),
        Wish::ShutDown => device.shut_down().map(|()| Done::ShuttingDown),
        Wish::Cycle { .. } if now == State::Off => bring(device, now, State::On),
        Wish::Cycle { off_for } => {
            if device.restart()? {
                return Ok(Done::Restarted);
            }
            bring(device, now, State::Off)?;
            device.wait(off_for);
            // Who asked for a restart must not end up with a machine that is off because of one lost packet.
            let mut tried = bring(device, State::Off, State::On);
            for _ in 1..TRIES {
                if tried.is_ok() {
                    break;
                }
                device.wait(PAUSE);
                tried = bring(device, State::Off, State::On);
            }
            tried.map_err(|error| Error::LeftOff(Box::new(error)))
        }
    }
}

/// Brings it from the state `now` into the state `wanted`.
fn bring(device: &mut impl Device, now: State, wanted: State) -> Result<Done, Error> {
    if now == wanted {
        return Ok(Done::Already(now));
    }
    device.order(wanted == State::On)?;
    let mut waited = Duration::ZERO;
    loop {
        let state = device.state()?;
        if state == wanted {
            return Ok(Done::Reached(state));
        }
        if waited >= PATIENCE {
            return Err(Error::Unmoved { wanted, state, seconds: waited.as_secs() });
        }
        device.wait(STEP);
        waited += STEP;
    }
}
