//! Letting a peer drop groups that it cannot drop.
//!
//! The map of an ordinary user's namespace has one group, and the kernel lets nobody in it call `setgroups(2)`. Some
//! servers end over that. A filter of system calls tells them that it worked: there is nothing to be dropped.

use std::{io, os::unix::process::CommandExt as _, process::Command};

use nix::libc;

/// Has `setgroups(2)` do nothing and succeed in `command` and whatever it starts.
pub(crate) fn pretend_to_drop(command: &mut Command) {
    let step = |code: u32, otherwise, k| libc::sock_filter { code: code as u16, jt: 0, jf: otherwise, k };
    let filter = [
        // The number of the call is the first field of `struct seccomp_data`.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_setgroups as u32),
        // An error of number 0 is success.
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: two system calls between fork and exec; the program that the second one reads lives longer than it.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes system calls and nothing else.
    unsafe { command.pre_exec(install) };
}
