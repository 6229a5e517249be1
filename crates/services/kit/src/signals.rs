//! The request to stop, as a descriptor that any event loop can wait for.

use std::{io, os::fd::OwnedFd};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

/// A descriptor that becomes readable when the process is asked to stop (`SIGTERM`, `SIGINT`), which from now
/// on do nothing else. Call it before any thread is started: threads inherit the mask.
///
/// # Errors
/// When the kernel has no descriptor left.
pub fn stop_requests() -> io::Result<OwnedFd> {
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTERM);
    stop.add(Signal::SIGINT);
    stop.thread_block()?;
    let descriptor = SignalFd::with_flags(&stop, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    Ok(descriptor.into())
}
