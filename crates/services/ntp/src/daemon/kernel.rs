//! The kernel's clock: set at once, or led.

use std::{io, time::Duration};

use libc::{c_int, c_long, timex};

/// Sets the clock to `time` since 1970.
pub(crate) fn set(time: Duration) -> io::Result<()> {
    let seconds = time.as_secs().cast_signed();
    let spec = rustix::time::Timespec { tv_sec: seconds, tv_nsec: time.subsec_nanos().into() };
    Ok(rustix::time::clock_settime(rustix::time::ClockId::Realtime, spec)?)
}

/// Has the kernel lead the clock, which is behind by `offset` nanoseconds, half a second at most, and learn from that how
/// fast it runs; `pause` is the time until it is told again, and the clock may be wrong by `distance` besides.
pub(crate) fn lead(offset: i64, pause: Duration, distance: Duration) -> io::Result<()> {
    let constant = pause.as_secs().max(16).ilog2() - 4;
    adjust(|timex| {
        timex.modes |= libc::ADJ_OFFSET | libc::ADJ_NANO | libc::ADJ_TIMECONST;
        timex.status = libc::STA_PLL;
        timex.offset = offset as c_long;
        timex.constant = constant as c_long;
        timex.maxerror = micros(distance);
    })
}

/// Tells the kernel that the clock is right, but for `distance`: from then on it sets a clock chip by it.
pub(crate) fn is_right(distance: Duration) -> io::Result<()> {
    adjust(|timex| timex.maxerror = micros(distance))
}

fn micros(span: Duration) -> c_long {
    c_long::try_from(span.as_micros()).unwrap_or(c_long::MAX)
}

fn adjust(change: impl FnOnce(&mut timex)) -> io::Result<()> {
    // SAFETY: a structure of integers, for which all zeros is a value.
    let mut timex: timex = unsafe { std::mem::zeroed() };
    // A status without STA_UNSYNC: the time is right.
    timex.modes = libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
    change(&mut timex);
    timex.esterror = timex.maxerror;
    // SAFETY: the structure lives through the call, which reads and writes nothing else.
    let state: c_int = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
