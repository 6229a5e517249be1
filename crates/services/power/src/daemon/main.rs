//! `pilotlight-powerd`: switches machines for operators, and keeps what the devices want to be told for it.
//!
//! systemd starts it when somebody asks, and it ends when nobody has for a while. What it has begun it finishes, whoever asked
//! has gone away or not: a machine that was switched off to be switched on again must not stay off because a login broke.

mod desk;
mod keys;
mod wake;

use std::{
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Parser;
use desk::Desk;
use keys::Keys;
use pilotlight_kit::{Events, card, signals, systemd};
use pilotlight_lab::paths;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long it waits for the next question before it ends.
const IDLE: Duration = Duration::from_secs(60);
/// How many are served at once; others wait in the socket.
const MOST: usize = 16;
/// Between two looks at the threads while all are busy.
const PAUSE: Duration = Duration::from_millis(100);

/// Switches machines for operators.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The socket to answer on, when systemd hands over none. It is then answered on without an end.
    #[arg(long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
    /// The folder of what the devices' users are.
    #[arg(long, value_name = "DIR", default_value = paths::POWER_STATE)]
    state: PathBuf,
    /// The lab in force.
    #[arg(long, value_name = "FILE", default_value = paths::LAB)]
    lab: PathBuf,
    /// What has become of its nodes since.
    #[arg(long, value_name = "FILE", default_value = paths::LAB_STATE)]
    lab_state: PathBuf,
    /// What `init` found on the card.
    #[arg(long, value_name = "FILE", default_value = paths::CARD_STATUS)]
    card: PathBuf,
    /// Where events go.
    #[arg(long, value_name = "SOCKET", default_value = paths::EVENTS_SOCKET)]
    events: PathBuf,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilotlight-powerd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = signals::stop_requests().context("cannot wait for signals")?;
    let given = systemd::listen_fds().into_iter().next();
    let lasting = given.is_none();
    let listener = match (given, &arguments.socket) {
        (Some(given), _) => UnixListener::from(given),
        (None, Some(path)) => listen(path).with_context(|| format!("cannot answer at {}", path.display()))?,
        (None, None) => bail!("systemd handed over no socket: name one with --socket"),
    };
    listener.set_nonblocking(true).context("cannot set up the socket")?;
    let forgets = card::forgets(&arguments.card);
    let desk = Desk::new(
        (arguments.lab, arguments.lab_state),
        Keys::new(arguments.state),
        forgets,
        Events::new(&arguments.events),
    );
    let desk = Arc::new(desk);
    let mut served: Vec<JoinHandle<()>> = Vec::new();
    systemd::ready("Answering");
    loop {
        let mut wanted = [PollFd::new(&stop, PollFlags::IN), PollFd::new(&listener, PollFlags::IN)];
        let asked = match poll(&mut wanted, Timespec::try_from(IDLE).ok().as_ref()) {
            Ok(count) => count > 0,
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno).context("cannot wait for questions"),
        };
        let stopping = !wanted[0].revents().is_empty();
        served.retain(|thread| !thread.is_finished());
        if stopping || (!asked && served.is_empty() && !lasting) {
            // Whoever comes now waits in systemd's socket, and has it started anew.
            for thread in served {
                let _ = thread.join();
            }
            return Ok(());
        }
        if served.len() >= MOST {
            thread::sleep(PAUSE);
            continue;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                let desk = Arc::clone(&desk);
                // Who goes away is no fault.
                let serve = move || drop(desk.serve(&stream));
                let thread = thread::Builder::new().name("switch".to_owned()).spawn(serve);
                served.push(thread.context("cannot start a thread")?);
            }
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// A socket in the place of the one that a former run left behind.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(path),
    }
}
