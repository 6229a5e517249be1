//! `pilotlight-lab-stated`: the sockets, files and clock around [`pilotlight_lab_state`].

mod desk;
mod journal;
mod socket;
mod witness;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Parser;
use desk::Desk;
use pilotlight_kit::{Event, Events, card, drops::Drops, events::LONGEST_DATAGRAM, lab, signals, systemd};
use pilotlight_lab::paths;
use pilotlight_lab_state::{Allowances, Intake, Refusal, Taken, intake::Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use witness::Witness;

const SERVICE: &str = "lab-state";
/// Datagrams taken in a row before what they hold is written and the flush gets its turn.
const DATAGRAMS_IN_A_ROW: usize = 64;
/// What is said of the events of a flood that are not kept.
const FLOOD: &str = "events beyond what the card is asked to bear";

/// Keeps the log of all events, and what becomes of the nodes.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The socket to take events from, when systemd hands over none.
    #[arg(long, value_name = "SOCKET", default_value = paths::EVENTS_SOCKET)]
    events: PathBuf,
    /// The folder of the log.
    #[arg(long, value_name = "DIR", default_value = paths::EVENTS_DIR)]
    state: PathBuf,
    /// A user who may send events besides the one who runs this, by number, and the service it speaks for; may
    /// be given more than once. The defaults are the image's own users.
    #[arg(long, value_name = "UID[=SERVICE]", default_values = ["901=dhcp", "902=tftp", "903=http", "907=dns", "908=ntp", "909=pki", "910=power"])]
    allow_uid: Vec<Sender>,
    /// The socket on which operators change the nodes' state, when systemd hands over none; nobody can, unless given.
    #[arg(long, value_name = "SOCKET")]
    desk: Option<PathBuf>,
    /// The file of that state.
    #[arg(long, value_name = "FILE", default_value = paths::LAB_STATE)]
    lab_state: PathBuf,
    /// What `init` found on the card.
    #[arg(long, value_name = "FILE", default_value = paths::CARD_STATUS)]
    card: PathBuf,
    /// The lab in force.
    #[arg(long, value_name = "FILE", default_value = paths::LAB)]
    lab: PathBuf,
    /// The socket of the certificate authority, which is told of machines that boot.
    #[arg(long, value_name = "SOCKET", default_value = paths::PKI_SOCKET)]
    pki: PathBuf,
    /// Folders whose index says which versions of systems the Pi has; may be given more than once.
    #[arg(long = "index", value_name = "DIR", default_values = [paths::HTTP_ROOT, paths::ASSETS])]
    indexes: Vec<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilotlight-lab-stated: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = signals::stop_requests().context("cannot wait for signals")?;
    let (socket, listener) =
        socket::open(systemd::listen_fds(), &arguments.events, arguments.desk.as_deref())?;
    // Without a lab nobody boots by it.
    let witness = match lab::load(&arguments.lab) {
        Ok(lab) => Some(Witness::start(&lab, arguments.pki).context("cannot start a thread")?),
        Err(_) => None,
    };
    let desk = Arc::new(Desk {
        lab: arguments.lab,
        indexes: arguments.indexes,
        state: arguments.lab_state,
        events: Mutex::new(Events::new(&arguments.events)),
    });
    desk.begin(card::forgets(&arguments.card));
    if let Some(listener) = listener {
        Arc::clone(&desk).open(listener).context("cannot wait for operators")?;
    }
    let own = Sender { uid: rustix::process::getuid().as_raw(), service: None };
    let intake = Intake::new(arguments.allow_uid.into_iter().chain([own]));
    let mut journal = journal::Journal::new(&arguments.state);
    let mut drops = Drops::default();
    let mut allowances = Allowances::default();
    let started = Instant::now();
    // One byte more than is taken, so that what is too long shows.
    let mut buffer = vec![0; LONGEST_DATAGRAM + 1];
    systemd::ready(&format!("Writing {}", journal.path().display()));
    loop {
        let mut wanted = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&stop, PollFlags::IN)];
        let wait = journal.flush_at().map(|at| at.saturating_sub(started.elapsed()));
        let wait = wait.or(drops.waiting().then_some(Duration::from_secs(10)));
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        match poll(&mut wanted, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for events"),
        }
        let stopping = !wanted[1].revents().is_empty();
        for _ in 0..DATAGRAMS_IN_A_ROW {
            let Some((length, uid)) = socket::receive(&socket, &mut buffer)? else { break };
            let now = started.elapsed();
            let mut keep = |taken: Result<Taken, Refusal>| {
                let reason = match taken {
                    Ok(Taken { line, installs, meets, starts }) => {
                        if let (Some((start, node)), Some(witness)) = (starts, &witness) {
                            witness.saw(start, &node);
                        }
                        // Whatever the log can bear of a flood.
                        if let Some(node) = installs {
                            desk.installed(&node);
                        }
                        if let Some((node, mac)) = meets {
                            desk.met(&node, mac);
                        }
                        if allowances.take(uid.unwrap_or_default(), line.len() as u64, now) {
                            return journal.append(&line, now);
                        }
                        FLOOD
                    }
                    Err(refusal) => refusal.reason(),
                };
                if let Some(count) = drops.count(reason, now) {
                    journal.own(dropped(reason, count), now);
                }
            };
            match intake.lines(&buffer[..length], uid) {
                Ok(lines) => lines.for_each(keep),
                Err(refusal) => keep(Err(refusal)),
            }
        }
        let now = started.elapsed();
        for (reason, count) in drops.overdue(now) {
            journal.own(dropped(reason, count), now);
        }
        if stopping {
            journal.finish(now);
            return Ok(());
        }
        journal.write(now);
        journal.flush(now);
    }
}

fn dropped(reason: &str, count: u64) -> Event {
    Event::dropped(SERVICE, "drop", reason).fact("count", count)
}

/// An event of this daemon as a line, stamped with both clocks: it does not send to itself.
fn stamped(mut event: Event) -> Vec<u8> {
    event.stamp();
    let mut line = serde_json::to_vec(&event).unwrap_or_default();
    line.push(b'\n');
    line
}
