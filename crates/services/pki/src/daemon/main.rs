//! `pilotlight-pkid`: the socket, files, clocks and randomness around [`pilotlight_pki::Desk`].

mod closed;
mod keep;

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use pilotlight_kit::{Event, card, events::Events, lab, systemd};
use pilotlight_lab::{paths, users};
use pilotlight_pki::{
    Answer, Arms, Authority, Caller, Clock, Closed, Denial, Desk, LONGEST_LINE, Now, Purpose, Record,
    TimeTrust,
};
use ring::rand::SystemRandom;

const SERVICE: &str = "pki";
/// How long one caller may take over its line, and over taking the answer.
const PATIENCE: Duration = Duration::from_secs(5);
const FORGETS: &str =
    "the data partition is amiss: an authority that the Pi forgets at its next start is not made";

/// Keeps the lab's certificate authority, and answers one line on each connection.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The socket to answer on, when systemd hands over none.
    #[arg(long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
    /// The folder of the keys.
    #[arg(long, value_name = "DIR", default_value = paths::PKI_STATE)]
    state: PathBuf,
    /// A file that is as old as the system: a new authority begins then, whatever the clock says.
    #[arg(long, value_name = "FILE", default_value = paths::DEFAULT_LAB)]
    built: PathBuf,
    /// What `init` found on the card.
    #[arg(long, value_name = "FILE", default_value = paths::CARD_STATUS)]
    card: PathBuf,
    /// The lab in force.
    #[arg(long, value_name = "FILE", default_value = paths::LAB)]
    lab: PathBuf,
    /// What has become of its nodes since.
    #[arg(long, value_name = "FILE", default_value = paths::LAB_STATE)]
    lab_state: PathBuf,
    /// There once the time is trusted.
    #[arg(long, value_name = "FILE", default_value = paths::CLOCK_SET)]
    clock_set: PathBuf,
    /// Where events go.
    #[arg(long, value_name = "SOCKET", default_value = paths::EVENTS_SOCKET)]
    events: PathBuf,
    /// A user who is an operator, by number; may be given more than once.
    #[arg(long, value_name = "UID", default_values_t = [users::OPERATOR])]
    operator: Vec<u32>,
    /// A user who faces the wire, by number; may be given more than once.
    #[arg(long, value_name = "UID", default_values_t = [users::HTTP])]
    wire: Vec<u32>,
    /// A user who sees machines boot, by number; may be given more than once.
    #[arg(long, value_name = "UID", default_values_t = [users::STATE])]
    witness: Vec<u32>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilotlight-pkid: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let random = SystemRandom::new();
    let events = Events::new(&arguments.events);
    let listener = listen(arguments.socket.as_deref())?;
    let authority = match keep::load(&arguments.state) {
        Ok(Some(authority)) => authority,
        Ok(None) if card::forgets(&arguments.card) => {
            let reason = FORGETS.to_owned();
            closed::wait(arguments, &listener, &events, &Closed { reason, restorable: false })?
        }
        Ok(None) => {
            let authority =
                Authority::make(age(&arguments.built)?, &random).context("cannot make an authority")?;
            keep::save(&arguments.state, &authority)?;
            events.emit(Event::ok(SERVICE, "made"));
            authority
        }
        // Never made anew: all that it signed would be worth nothing.
        Err(fault) => {
            let reason = format!("{fault:#}");
            closed::wait(arguments, &listener, &events, &Closed { reason, restorable: true })?
        }
    };
    let mut desk = Desk { authority, arms: Arms::default() };
    systemd::ready("Answering");
    loop {
        let (stream, _) = listener.accept().context("cannot take a connection")?;
        if let Err(fault) = serve(arguments, &mut desk, &stream, &random, &events) {
            events.emit(Event::failed(SERVICE, "answer", format!("{fault:#}")));
        }
    }
}

/// Who asks, as the kernel says.
fn caller(arguments: &Arguments, stream: &UnixStream) -> anyhow::Result<Caller> {
    let peer = rustix::net::sockopt::socket_peercred(stream).context("the kernel does not say who asks")?;
    let uid = peer.uid.as_raw();
    let callers = [
        (&arguments.operator, Caller::Operator),
        (&arguments.wire, Caller::Wire),
        (&arguments.witness, Caller::Witness),
    ];
    let caller = callers.into_iter().find(|(users, _)| users.contains(&uid));
    caller.map(|(_, caller)| caller).with_context(|| format!("user {uid} may ask nothing"))
}

/// When a file was changed last, in seconds since 1970.
fn age(path: &Path) -> anyhow::Result<u64> {
    let changed = std::fs::metadata(path).and_then(|file| file.modified());
    let changed = changed.with_context(|| format!("cannot tell how old {} is", path.display()))?;
    Ok(changed.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn listen(path: Option<&Path>) -> anyhow::Result<UnixListener> {
    if let Some(given) = systemd::listen_fds().into_iter().next() {
        return Ok(UnixListener::from(given));
    }
    let path = path.context("systemd handed over no socket: name one with --socket")?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        _ => {}
    }
    UnixListener::bind(path).with_context(|| format!("cannot answer at {}", path.display()))
}

fn serve(
    arguments: &Arguments,
    desk: &mut Desk,
    stream: &UnixStream,
    random: &SystemRandom,
    events: &Events,
) -> anyhow::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let caller = caller(arguments, stream)?;
    let line = read_line(stream).context("no question came")?;
    let lab = lab::load_now(&arguments.lab, &arguments.lab_state)?;
    let trust = if arguments.clock_set.exists() { TimeTrust::Trusted } else { TimeTrust::Untrusted };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let boot = pilotlight_kit::event::since_power_on_ms() / 1000;
    let clock = Clock { now, trust };
    let (answer, record) = desk.answer(&line, caller, Now { boot, clock, lab: &lab, random });
    if answer == Answer::Restored
        && let Err(fault) = keep::save(&arguments.state, &desk.authority)
    {
        // What is on the disk counts, so that a restart changes nothing.
        if let Some(kept) = keep::load(&arguments.state)? {
            desk.authority = kept;
        }
        return Err(fault);
    }
    if let Some(record) = record {
        events.emit(told(record));
    }
    say(stream, &answer)
}

fn say(mut stream: &UnixStream, answer: &Answer) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    stream.write_all(&text).context("the answer was not taken")
}

/// A line, or what came instead of one: no longer than one byte more than is taken, so that what is too long shows. All
/// of it has to come in time, since the others wait meanwhile.
fn read_line(mut stream: &UnixStream) -> anyhow::Result<Vec<u8>> {
    let begun = Instant::now();
    let (mut line, mut piece) = (Vec::new(), [0; 4096]);
    while line.len() <= LONGEST_LINE && !line.ends_with(b"\n") {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        ensure!(!left.is_zero(), "it took longer than {} s", PATIENCE.as_secs());
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut piece)?;
        if count == 0 {
            break;
        }
        line.extend(piece.iter().take(count));
    }
    Ok(line)
}

fn told(record: Record) -> Event {
    let issued = |stage, node: String, purpose: Purpose| {
        Event::ok(SERVICE, stage).node(Some(&node)).fact("purpose", purpose.name())
    };
    match record {
        Record::Armed(node, by) => Event::ok(SERVICE, "armed").node(Some(&node)).fact("by", by.name()),
        Record::Handed(node) => Event::ok(SERVICE, "token").node(Some(&node)),
        Record::Issued(node, purpose) => issued("issued", node, purpose),
        Record::Renewed(node, purpose) => issued("renewed", node, purpose),
        Record::Again(node, purpose) => issued("again", node, purpose),
        Record::Keys(what) => Event::ok(SERVICE, what),
        Record::Refused(Denial { reason, alarm, mac, node, from }) => {
            let stage = if alarm { "alarm" } else { "refused" };
            let mut event = Event::dropped(SERVICE, stage, reason).node(node.as_deref());
            if let Some(mac) = mac {
                event = event.mac(mac);
            }
            // Not `address`: that is the machine's own, and this is whoever it was.
            match from {
                Some(from) => event.fact("from", from.to_string()),
                None => event,
            }
        }
    }
}
