//! What wakes the event loop when something is due.
//!
//! A transfer's deadline moves on with every packet. The timer is not set anew for that: it may ring early, and is then set for
//! what is due next. A wait with a time limit would have the kernel set and stop a timer for every block.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// A timer.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// Can be read when it has rung.
    pub(crate) timer: OwnedFd,
    /// When it rings; none when it has rung.
    set: Option<Duration>,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { timer, set: None })
    }

    /// Has it ring at `due` or before it, as far as `now` tells.
    pub(crate) fn by(&mut self, due: Duration, now: Duration) -> io::Result<()> {
        if self.set.is_some_and(|set| set <= due) {
            return Ok(());
        }
        // A time of nothing would stop it.
        let wait = due.saturating_sub(now).max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Duration::ZERO.try_into().unwrap_or_default(),
            it_value: wait.try_into().map_err(io::Error::other)?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.set = Some(due);
        Ok(())
    }

    /// It has rung.
    pub(crate) fn rang(&mut self) {
        self.set = None;
        // How often is of no interest, and nothing there means that it was set again meanwhile.
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
    }
}
