//! Our daemons, run on this machine as systemd would run them.

use std::{
    fs::File,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use pilotlight_emulator::console::{Console, Heard, Seen};
use serde_json::Value;

use crate::{namespace::Cable, process, surroundings};

/// Long enough for any machine; nothing waits for it unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon. Dropping it ends it; on a failure its log is shown first.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    console: Console,
    log: PathBuf,
    /// Its end is part of the scene, and nothing to be shown.
    killed: bool,
}

impl Daemon {
    /// Starts the daemon `name` on the services' side of `cable`, or on the clients' when there is none, and waits
    /// until it reports itself ready. `label` tells two of a kind apart; logs go to `folder`.
    pub fn start(
        cable: Option<&Cable>,
        name: &str,
        label: &str,
        arguments: &[&str],
        folder: &Path,
    ) -> Result<Self> {
        Self::start_with(cable, name, label, arguments, &[], folder)
    }

    /// The same, with `environment` and nothing else in its environment.
    pub fn start_with(
        cable: Option<&Cable>,
        name: &str,
        label: &str,
        arguments: &[&str],
        environment: &[(&str, String)],
        folder: &Path,
    ) -> Result<Self> {
        let mut command = Command::new(surroundings::daemon(name)?);
        command.args(arguments);
        Self::run(cable, command, Stdio::null(), label, environment, folder)
    }

    /// Starts the daemon on the services' side of `cable`, and hands it a socket as systemd does (sd_listen_fds(3)).
    /// `label` tells one start from the next.
    pub fn start_handed(
        cable: &Cable,
        (name, label): (&str, &str),
        arguments: &[&str],
        socket: Option<&OwnedFd>,
        folder: &Path,
    ) -> Result<Self> {
        let Some(socket) = socket else {
            return Self::start(Some(cable), name, label, arguments, folder);
        };
        // The daemon wants its own number, which only a process knows that is about to become it; and the socket as
        // descriptor 3, which is where the shell puts it.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"LISTEN_PID=$$ exec "$0" "$@" 3<&0 </dev/null"#]);
        command.arg(surroundings::daemon(name)?).args(arguments);
        let socket = socket.try_clone().context("could not pass a socket on")?;
        let environment = [("LISTEN_FDS", "1".to_owned())];
        Self::run(Some(cable), command, socket.into(), label, &environment, folder)
    }

    fn run(
        cable: Option<&Cable>,
        mut command: Command,
        input: Stdio,
        label: &str,
        environment: &[(&str, String)],
        folder: &Path,
    ) -> Result<Self> {
        let notify = folder.join(format!("{label}.notify"));
        let ready = UnixDatagram::bind(&notify)
            .with_context(|| format!("could not listen on {}", notify.display()))?;
        ready.set_read_timeout(Some(Duration::from_millis(50)))?;
        command.env_clear().envs(environment.iter().cloned()).env("NOTIFY_SOCKET", &notify).stdin(input);
        let log = folder.join(format!("{label}.log"));
        let complaints = folder.join(format!("{label}.err"));
        command.stdout(Stdio::piped()).stderr(File::create(&complaints)?);
        process::end_with_this_thread(&mut command);
        if let Some(cable) = cable {
            cable.on_server_side(&mut command)?;
        }
        let mut child = command.spawn().with_context(|| format!("could not start {label}"))?;
        let output = child.stdout.take().context("the daemon has no standard output")?;
        let console = Console::start(output, &log)?;
        let mut daemon = Self { name: label.to_owned(), child, console, log: complaints, killed: false };
        daemon.wait_until_ready(&ready)?;
        Ok(daemon)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as a fault of its own or a lack of memory would.
    pub fn kill(&mut self) -> Result<()> {
        self.killed = true;
        self.child.kill().and_then(|()| self.child.wait()).map(drop).context("could not kill a daemon")
    }

    /// The events so far that `wanted` wants.
    pub fn events(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let heard = self.console.heard();
        heard.events.iter().map(|seen| seen.event.clone()).filter(|event| wanted(event)).collect()
    }

    /// Waits for the first event that `wanted` wants.
    pub fn event(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let find = |heard: &Heard| {
            heard.events.iter().map(|seen: &Seen| &seen.event).find(|event| wanted(event)).cloned()
        };
        self.console.wait(PATIENCE, find).with_context(|| format!("{}: {what}", self.name))
    }

    /// Waits until there are `count` events that `wanted` wants.
    pub fn events_at_least(&self, count: usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        let find = |heard: &Heard| {
            (heard.events.iter().filter(|seen| wanted(&seen.event)).count() >= count).then_some(())
        };
        self.console.wait(PATIENCE, find).with_context(|| format!("{}: {count} times {what}", self.name))
    }

    /// Fails unless the daemon is still running.
    pub fn must_be_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended: {status}\n{}", self.name, self.complaints()),
        }
    }

    fn wait_until_ready(&mut self, socket: &UnixDatagram) -> Result<()> {
        let end = std::time::Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        while std::time::Instant::now() < end {
            self.must_be_alive()?;
            let Ok(length) = socket.recv(&mut buffer) else { continue };
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == "READY=1") {
                return Ok(());
            }
        }
        bail!("{} never reported itself ready\n{}", self.name, self.complaints())
    }

    fn complaints(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.killed {
            return;
        }
        // The harness shows this when the scene failed, and throws it away otherwise.
        eprintln!("--- {}", self.name);
        let heard = self.console.heard();
        for line in &heard.lines[heard.lines.len().saturating_sub(20)..] {
            eprintln!("{:9.3} {}", line.at.as_secs_f64(), line.text);
        }
        eprint!("{}", self.complaints());
    }
}
