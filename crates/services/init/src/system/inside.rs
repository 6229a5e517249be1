//! Programs of the root's own, run in it before it is started: the initrd has none.

use std::{
    convert::Infallible,
    os::unix::process::CommandExt as _,
    process::{Command, ExitStatus, Stdio},
};

use rustix::process::{chdir, chroot};

use super::{
    Fault,
    mounts::{self, ROOT},
};

/// The word by which this program knows itself as the one that becomes another in the root.
pub(crate) const INSIDE: &str = "inside";

/// Runs a program of the root's with its arguments, `command`; what it says is `output`'s.
pub(crate) fn run(command: &[&str], output: fn() -> Stdio) -> Result<ExitStatus, Fault> {
    let program = "/init";
    let status = mounts::with_kernel_in_root(|| {
        Command::new(program)
            .arg(INSIDE)
            .args(command)
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .status()
    })?;
    status.map_err(Fault::file("start", program))
}

/// What the process does that [`run`] starts.
pub(crate) fn become_program(command: &[String]) -> Result<Infallible, Fault> {
    let [program, arguments @ ..] = command else {
        return Err(Fault::Content { path: INSIDE.into(), reason: "no program is named".to_owned() });
    };
    chroot(ROOT).map_err(Fault::file("change the root to", ROOT))?;
    chdir("/").map_err(Fault::file("enter", "/"))?;
    Err(Fault::file("start", program)(Command::new(program).args(arguments).exec()))
}
