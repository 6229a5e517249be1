//! What systemd hands to a daemon and wants to hear from it.

use std::{
    os::fd::{FromRawFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The sockets that systemd opened for this process (`sd_listen_fds(3)`), in the order of the unit; empty when
/// it was started by hand. The first call takes them: a second one gives nothing.
pub fn listen_fds() -> Vec<OwnedFd> {
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let Ok(fds) = sd_notify::listen_fds() else { return Vec::new() };
    // SAFETY: systemd passed these descriptors to this process alone, and `TAKEN` sees to it that
    // nobody takes them twice.
    fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

/// Tells systemd that the daemon answers from now on, with one line of status. Does nothing without systemd.
pub fn ready(status: &str) {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(status)]);
}
