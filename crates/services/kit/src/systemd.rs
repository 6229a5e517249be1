//! What systemd hands to a daemon and wants to hear from it.

use std::{
    env, io,
    os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::{PipeFlags, pipe_with},
};
use sd_notify::NotifyState;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// What the names of kept descriptors begin with: no unit is called so.
const KEPT: &str = "kept-";
/// How long systemd may take to note what it is to keep.
const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// What systemd hands to a process.
#[derive(Debug, Default)]
pub struct Handed {
    /// The sockets that it opened, in the order of the unit.
    pub sockets: Vec<OwnedFd>,
    /// What the process before this one had it [`keep`], by the names given then.
    pub kept: Vec<(String, OwnedFd)>,
}

/// What systemd hands to this process (`sd_listen_fds_with_names(3)`); nothing when it was started by hand. The first call takes
/// it: a second one gives nothing. What was kept is kept no longer.
pub fn handed() -> Handed {
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Handed::default();
    }
    let Ok(fds) = sd_notify::listen_fds() else { return Handed::default() };
    // SAFETY: systemd passed these descriptors to this process alone, and `TAKEN` sees to it that
    // nobody takes them twice.
    let fds = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut handed = Handed::default();
    for fd in fds {
        match names.next().and_then(|name| name.strip_prefix(KEPT)) {
            Some(name) => handed.kept.push((name.to_owned(), fd)),
            None => handed.sockets.push(fd),
        }
    }
    for (name, _) in &handed.kept {
        let name = format!("{KEPT}{name}");
        let _ = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
    }
    handed
}

/// The sockets of [`handed`], for who keeps nothing.
pub fn listen_fds() -> Vec<OwnedFd> {
    handed().sockets
}

/// How many descriptors systemd keeps for this service (`FileDescriptorStoreMax=` of its unit; systemd 254 and later).
pub fn room() -> usize {
    env::var("FDSTORE").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Has systemd keep a descriptor for the next process of this service, if that is started at once: not when the service is
/// stopped. It has done so when [`kept`] says so.
///
/// # Errors
/// systemd does not hear.
pub fn keep(name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    let name = format!("{KEPT}{name}");
    sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(&name)], &[fd])
}

/// Waits until systemd has read all that it was told (`sd_notify_barrier(3)`).
///
/// # Errors
/// It has not within two seconds.
pub fn kept() -> io::Result<()> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[write.as_fd()])?;
    drop(write);
    let mut hung_up = [PollFd::new(&read, PollFlags::HUP)];
    if poll(&mut hung_up, Some(&PATIENCE))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(())
}

/// Tells systemd that the daemon answers from now on, with one line of status. Does nothing without systemd.
pub fn ready(status: &str) {
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}
