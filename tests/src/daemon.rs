//! Our daemons, run on this machine as systemd would run them.

use std::{
    fs::File,
    io::IoSliceMut,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use pilotlight_emulator::console::{Console, Heard, Seen};
use rustix::{
    io::{Errno, FdFlags, fcntl_setfd},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    process::{Pid, Signal, kill_process},
};
use serde_json::Value;

use crate::{
    namespace::Cable,
    process,
    surroundings::{self, Tools},
};

/// Long enough for any machine; nothing waits for it unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon. Dropping it ends it; on a failure its log is shown first.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    console: Console,
    log: PathBuf,
    /// What it tells the one who started it.
    notify: UnixDatagram,
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
        Self::run(cable, command, label, environment, folder)
    }

    /// Starts the daemon on the services' side of `cable`, and hands it descriptors by their names as systemd does
    /// (sd_listen_fds_with_names(3)): no more than seven. `label` tells one start from the next. What it wants kept at its end
    /// [`Daemon::end_and_keep`] gives.
    pub fn start_handed(
        cable: &Cable,
        (name, label): (&str, &str),
        arguments: &[&str],
        handed: &[(String, OwnedFd)],
        folder: &Path,
    ) -> Result<Self> {
        // The daemon wants its own number, which only a process knows that is about to become it; and what it is handed from
        // descriptor 3 on, which is where the shell puts it.
        let mut line = r#"LISTEN_PID=$$ exec "$0" "$@""#.to_owned();
        let mut inherited = Vec::new();
        for (number, (_, fd)) in (3..).zip(handed) {
            let copy = fd.try_clone().context("could not pass a descriptor on")?;
            fcntl_setfd(&copy, FdFlags::empty()).context("could not pass a descriptor on")?;
            line.push_str(&format!(" {number}<&{from} {from}<&-", from = copy.as_raw_fd()));
            inherited.push(copy);
        }
        // Not every shell knows descriptors beyond 9.
        let mut command = Tools::clients()?.command("busybox")?;
        command.args(["sh", "-c", &line]).arg(surroundings::daemon(name)?).args(arguments);
        let names: Vec<&str> = handed.iter().map(|(name, _)| name.as_str()).collect();
        let environment = [
            ("LISTEN_FDS", handed.len().to_string()),
            ("LISTEN_FDNAMES", names.join(":")),
            ("FDSTORE", "10000".to_owned()),
        ];
        Self::run(Some(cable), command, label, &environment, folder)
    }

    /// Asks it to end, as for a restart, and gives the descriptors that it wants kept for the next one.
    pub fn end_and_keep(&mut self) -> Result<Vec<(String, OwnedFd)>> {
        self.killed = true;
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let mut kept = Vec::new();
        let end = Instant::now() + PATIENCE;
        // All that it said is there once it has ended.
        let mut over = false;
        loop {
            match told(&self.notify)? {
                Some((text, Some(fd))) => {
                    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
                    if let Some(name) = name.filter(|_| text.lines().any(|line| line == "FDSTORE=1")) {
                        kept.push((name.to_owned(), fd));
                    }
                    // What belongs to a barrier is closed by now.
                }
                Some((_, None)) => {}
                None if over => return Ok(kept),
                None => over = self.child.try_wait()?.is_some(),
            }
            if Instant::now() > end {
                bail!("{} did not end", self.name);
            }
        }
    }

    fn run(
        cable: Option<&Cable>,
        mut command: Command,
        label: &str,
        environment: &[(&str, String)],
        folder: &Path,
    ) -> Result<Self> {
        let notify = folder.join(format!("{label}.notify"));
        let socket = UnixDatagram::bind(&notify)
            .with_context(|| format!("could not listen on {}", notify.display()))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        command
            .env_clear()
            .envs(environment.iter().cloned())
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null());
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
        let name = label.to_owned();
        let mut daemon = Self { name, child, console, log: complaints, notify: socket, killed: false };
        daemon.wait_until_ready()?;
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

    fn wait_until_ready(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.must_be_alive()?;
            if told(&self.notify)?.is_some_and(|(text, _)| text.lines().any(|line| line == "READY=1")) {
                return Ok(());
            }
        }
        bail!("{} never reported itself ready\n{}", self.name, self.complaints())
    }

    fn complaints(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// One message of sd_notify(3), with the descriptor that came with it; none after 50 ms.
fn told(socket: &UnixDatagram) -> Result<Option<(String, Option<OwnedFd>)>> {
    let mut buffer = [0; 4096];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut buffer)];
    let received = match recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
        Ok(received) => received,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        Err(errno) => return Err(errno).context("could not hear a daemon"),
    };
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(Some((String::from_utf8_lossy(&buffer[..received.bytes]).into_owned(), fd)))
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
