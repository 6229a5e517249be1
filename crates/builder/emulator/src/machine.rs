//! One running QEMU.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use crate::{Qemu, QemuError, console::Console};

/// Where a guest's serial console goes.
#[derive(Debug, Clone)]
pub enum Serial {
    /// To this terminal; Ctrl-A X ends the machine.
    Terminal,
    /// To a [`Console`], and to `NAME.log` beside `NAME.qemu.log` (QEMU's own complaints) in this folder.
    Captured(PathBuf),
}

impl Serial {
    /// The character device `console` that the guest's serial port is tied to.
    pub(crate) fn chardev(&self) -> [OsString; 2] {
        let device = match self {
            Self::Terminal => "stdio,id=console,mux=on,signal=off",
            Self::Captured(_) => "stdio,id=console,signal=off",
        };
        ["-chardev".into(), device.into()]
    }

    /// On a terminal, QEMU's monitor behind Ctrl-A C.
    pub(crate) fn monitor(&self) -> Vec<OsString> {
        match self {
            Self::Terminal => vec!["-mon".into(), "console".into()],
            Self::Captured(_) => Vec::new(),
        }
    }
}

/// A running machine. Dropping it ends it.
#[derive(Debug)]
pub struct Machine {
    name: String,
    child: Child,
    console: Option<Console>,
}

impl Machine {
    /// Starts `program` with `args` as the machine `name`.
    ///
    /// The machine ends with the thread that starts it (`PR_SET_PDEATHSIG`), so that a killed test leaves
    /// nothing behind.
    pub(crate) fn start(
        qemu: &Qemu,
        program: &Path,
        name: &str,
        args: &[OsString],
        serial: &Serial,
    ) -> Result<Self, QemuError> {
        let mut command = Command::new(program);
        command.args(args).env("QEMU_MODULE_DIR", &qemu.modules);
        if let Serial::Captured(folder) = serial {
            let path = folder.join(format!("{name}.qemu.log"));
            let mut complaints = File::create(&path).map_err(QemuError::file("write", &path))?;
            writeln!(complaints, "{command:?}").map_err(QemuError::file("write", &path))?;
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(complaints);
        }
        end_with_this_thread(&mut command);
        let child = command.spawn().map_err(|source| QemuError::Start {
            program: program.to_owned(),
            machine: name.to_owned(),
            source,
        })?;
        let mut machine = Self { name: name.to_owned(), console: None, child };
        if let (Serial::Captured(folder), Some(output)) = (serial, machine.child.stdout.take()) {
            let path = folder.join(format!("{name}.log"));
            machine.console = Some(Console::start(output, &path).map_err(QemuError::file("write", &path))?);
        }
        Ok(machine)
    }

    /// The machine's name in its scene.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says, unless it says so on the terminal.
    pub fn console(&self) -> Option<&Console> {
        self.console.as_ref()
    }

    /// Types `text` on its serial console.
    pub fn type_text(&mut self, text: &str) -> io::Result<()> {
        match &mut self.child.stdin {
            Some(input) => input.write_all(text.as_bytes()).and_then(|()| input.flush()),
            None => Err(io::Error::other("the console is on the terminal")),
        }
    }

    /// Has QEMU end in good order, which gives its plugins the time to report.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM)?;
        self.child.wait()
    }

    /// Waits until the machine ends by itself: the guest powers off or reboots, or the operator ends it.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has the kernel end the command's process when the calling thread ends, however it ends.
fn end_with_this_thread(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only system calls are made; nothing is allocated and no lock is taken.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            // The parent may have gone before the signal was asked for.
            if rustix::process::getppid() == Some(parent) {
                Ok(())
            } else {
                Err(io::Error::from(rustix::io::Errno::SRCH))
            }
        });
    }
}
