//! A card that takes its time: loaded into a daemon (`LD_PRELOAD`, ld.so(8)), it has each `fdatasync(2)` take longer by as
//! many milliseconds as the environment says in `PILOTLIGHT_SLOW_CARD_MS`. What was to be written is written all the same.

use std::{ffi::c_int, thread, time::Duration};

use nix::libc;

/// The name of the variable.
const MILLISECONDS: &str = "PILOTLIGHT_SLOW_CARD_MS";

/// `fdatasync(2)`, late.
// SAFETY: the C library's function of this name has the same signature, and what it promises is kept.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    let late = std::env::var(MILLISECONDS).ok().and_then(|value| value.parse().ok());
    thread::sleep(Duration::from_millis(late.unwrap_or(0)));
    // SAFETY: the system call takes any number for a descriptor, and touches no memory of ours. `syscall` sets errno.
    unsafe { libc::syscall(libc::SYS_fdatasync, descriptor) as c_int }
}
