//! `pilotlight-refresh`: brings onto the card, once, what the lab's channels have now, or what a desk hands over.
//!
//! A timer starts it on a Pi with a way out, or an operator over its socket. What is to be done in which order says
//! [`pilotlight_mirror::Here`]; this does it.
//! Nothing that fails here is a fault of the Pi: it goes on serving what it has, and the timer comes again.

mod shelf;

use std::{
    collections::BTreeSet,
    io::{BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use clap::Parser;
use pilotlight_fetch::{Client, Show};
use pilotlight_kit::{Event, Events, lab, systemd};
use pilotlight_lab::paths;
use pilotlight_mirror::{
    Here, Lock, Mirror, MirrorError, Room, Sources, Update,
    handover::{self, Question},
};

use crate::shelf::Shelf;

const SERVICE: &str = "mirror";
/// What stays free for leases, events, certificates and an ext4's own comfort.
const RESERVE_MIB: u64 = 128;
/// The longest an operator may say nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks for what the lab's channels have now, and brings it onto the card.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The lab in force.
    #[arg(long, value_name = "FILE", default_value = paths::LAB)]
    lab: PathBuf,
    /// What is handed to machines, and kept by this program.
    #[arg(long, value_name = "DIR", default_value = paths::ASSETS)]
    assets: PathBuf,
    /// The file that says that the clock can be believed: signatures are judged by it.
    #[arg(long, value_name = "FILE", default_value = paths::CLOCK_SET)]
    clock_set: PathBuf,
    /// Where releases come from and whose keys count, instead of what was built in.
    #[arg(long, value_name = "FILE")]
    sources: Option<PathBuf>,
    /// How much of the card stays free, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = RESERVE_MIB)]
    reserve: u64,
    /// The socket that takes events.
    #[arg(long, value_name = "SOCKET", default_value = paths::EVENTS_SOCKET)]
    events: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let events = Events::new(&arguments.events);
    let mut operator = operator();
    let outcome = match &mut operator {
        None => run(&arguments, false),
        Some(operator) => asked(&arguments, operator),
    };
    let (event, answer) = match outcome {
        Ok(Outcome::Idle(why)) => (Event::dropped(SERVICE, "refresh", why), format!("refused: {why}")),
        Ok(Outcome::Current) => (Event::ok(SERVICE, "current"), "nothing new".to_owned()),
        Ok(Outcome::Changed(lines)) => {
            let answer = lines.join("\n");
            (Event::ok(SERVICE, "refreshed").fact("changes", lines), answer)
        }
        Err(fault) => {
            let fault = format!("{fault:#}");
            (Event::failed(SERVICE, "refresh", &fault), format!("refused: {fault}"))
        }
    };
    events.emit(event);
    if let Some(operator) = &mut operator {
        // Who has gone away reads it in the events.
        let _ = operator.get_mut().write_all(format!("{answer}\n").as_bytes());
    }
    ExitCode::SUCCESS
}

/// The operator who waits for what comes of it; none when it was the timer.
fn operator() -> Option<BufReader<UnixStream>> {
    let listener = UnixListener::from(systemd::listen_fds().into_iter().next()?);
    listener.set_nonblocking(true).ok()?;
    let (stream, _) = listener.accept().ok()?;
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(BufReader::new(stream))
}

fn asked(arguments: &Arguments, operator: &mut BufReader<UnixStream>) -> anyhow::Result<Outcome> {
    match handover::read_question(operator)? {
        Question::Look => run(arguments, true),
        Question::Take(lock) => take(arguments, lock, operator),
    }
}

/// What came of looking.
enum Outcome {
    /// Nobody was asked, for this reason.
    Idle(&'static str),
    /// All is here.
    Current,
    /// What is new, line by line.
    Changed(Vec<String>),
}

fn run(arguments: &Arguments, is_asked: bool) -> anyhow::Result<Outcome> {
    let lab = lab::load(&arguments.lab)?;
    let idle = |why| Ok(Outcome::Idle(why));
    if lab.network.upstream.is_empty() {
        return idle("the lab has no upstream");
    }
    if !is_asked && !lab.refreshes() {
        return idle("the lab does not want it (mirror.refresh)");
    }
    if !arguments.clock_set.exists() {
        return idle("nobody has vouched for the clock yet, and signatures are judged by it");
    }
    let sources = match &arguments.sources {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Sources::parse(&text.with_context(|| format!("cannot read {}", path.display()))?)?
        }
        None => Sources::own()?,
    };
    let shelf = Shelf::open(&arguments.assets)?;
    let here = Mutex::new(shelf.look()?);
    let old = state(&here).lock.clone();
    let make_room = |wanted: u64| shelf.make_room(&here, wanted, arguments.reserve << 20);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mirror = Mirror {
        cache: shelf.cache(),
        sources: &sources,
        client: Client::with_own_roots(),
        show: Show::Nothing,
        now: now.cast_signed(),
        room: Some(Room(&make_room)),
    };
    let found = mirror.lock(&lab, &old, &Update::Systems(Vec::new()))?;
    let now_here = state(&here).clone();
    let lacking = now_here.lacking(&found);
    if let Some((path, _)) = lacking.iter().find(|(_, file)| file.url.is_empty()) {
        bail!("{path} is damaged, and only the builder makes it: hand it over (`cargo xtask mirror --to`)");
    }
    mirror.bring(lacking)?;
    settle(&shelf, &here, &found, &old)
}

/// Takes what a desk has of this lock and the card has not. What the Pi's own lab wants besides stays.
fn take(
    arguments: &Arguments,
    mut found: Lock,
    operator: &mut BufReader<UnixStream>,
) -> anyhow::Result<Outcome> {
    let shelf = Shelf::open(&arguments.assets)?;
    let here = Mutex::new(shelf.look()?);
    let old = state(&here).lock.clone();
    found.keep_of(&old, &lab::load(&arguments.lab)?, &Sources::own()?);
    // What came before of another hand-over, and was interrupted, only takes room.
    shelf.cache().keep_only(&found.all().values().map(|file| file.sha256).collect())?;
    // A file that has several places comes once.
    let lacking = |here: &Here| -> Vec<_> {
        let mut asked = BTreeSet::new();
        let files = here.lacking(&found).into_iter().map(|(path, file)| (path, file.clone()));
        files
            .filter(|(_, file)| !shelf.cache().has(&file.sha256, file.size) && asked.insert(file.sha256))
            .collect()
    };
    let wanted = lacking(&state(&here)).iter().map(|(_, file)| file.size).sum();
    shelf
        .make_room(&here, wanted, arguments.reserve << 20)
        .map_err(|free| MirrorError::NoRoom { wanted, free })?;
    let lacking = lacking(&state(&here));
    handover::send_need(operator.get_mut(), lacking.iter().map(|(path, _)| path.as_str()))?;
    for (path, file) in &lacking {
        shelf
            .cache()
            .receive(operator, file.size, &file.sha256)
            .with_context(|| format!("{path} was not taken"))?;
    }
    settle(&shelf, &here, &found, &old)
}

/// Puts what was found into its place.
fn settle(shelf: &Shelf, here: &Mutex<Here>, found: &Lock, old: &Lock) -> anyhow::Result<Outcome> {
    let acts = state(here).acts(found);
    for act in acts {
        shelf.perform(act)?;
    }
    shelf.cache().keep_only(&BTreeSet::new())?;
    let changes = found.changes(old);
    Ok(if changes.is_empty() { Outcome::Current } else { Outcome::Changed(changes) })
}

fn state(here: &Mutex<Here>) -> MutexGuard<'_, Here> {
    here.lock().unwrap_or_else(PoisonError::into_inner)
}
