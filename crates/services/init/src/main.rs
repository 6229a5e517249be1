//! PID 1 of the initrd: from the kernel's hand-over to systemd on the card's root, or on a machine without a system of its
//! own on a root that it fetches.
//!
//! This binary performs what the library of the same name decides. A start that fails says on the console what
//! was looked for and what was seen, and restarts the board after a pause: a card never hangs in silence.

mod system;

use std::{path::Path, process::ExitCode, time::Instant};

use pilotlight_disk::Params;
use pilotlight_init::{
    lab,
    netroot::NetRoot,
    request,
    status::{self, Card},
};

use crate::system::{
    Fault,
    card::Found,
    clock,
    console::Console,
    data, files, identity, inside, labs, modules,
    mounts::{self, ROOT},
    netroot, network, switch,
};

/// No status that e2fsck(8) has for success.
const HELPER_FAILED: u8 = 127;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        match arguments.as_slice() {
            [word, wish @ ..] if word == network::WAIT => return helper(network::wait(wish)),
            [word, command @ ..] if word == inside::INSIDE => {
                return helper(inside::become_program(command).map(|never| match never {}));
            }
            _ => {}
        }
        eprintln!("pilotlight-init: this is PID 1 of an initrd; it does nothing anywhere else");
        return ExitCode::from(2);
    }
    let started = Instant::now();
    let early = mounts::kernel_file_systems();
    let console = Console::open();
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let start = || match NetRoot::parse(&line)? {
        Some(root) => netroot::start(started, &root, &console),
        None => start(started, &line, &console),
    };
    let Err(fault) = early.and_then(|()| start()).map(|never| match never {});
    console.fault(&fault);
    switch::restart(request::pause_before_restart(&line), &console)
}

/// How a process ends that PID 1 has started.
fn helper(result: Result<(), Fault>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            Console::open().note(&fault.chain());
            HELPER_FAILED.into()
        }
    }
}

fn start(started: Instant, line: &str, console: &Console) -> Result<std::convert::Infallible, Fault> {
    let params = Params::parse(line)?;
    let mut notes = Vec::new();
    // Before there is an interface.
    note(&mut notes, "the network", network::ask_nothing_of_the_wire());
    notes.extend(modules::load(Path::new("/")));
    let found = Found::wait(params, console)?;
    mounts::root(&found.root)?;

    let data = data::mount(&found, &mut notes, console);
    note(&mut notes, "the clock", clock::set_forward());
    note(&mut notes, "the machine's identity", identity::provide(data.is_ok()));
    note(&mut notes, "the random seed", identity::stir(data.is_ok()));
    let choice = lab::choose(labs::candidates(&found, data.is_ok())).map_err(Fault::NoLab)?;
    note(&mut notes, "the network", network::bring_up(&choice.lab.network));
    note(&mut notes, "the last good lab", labs::keep(&choice, data.is_ok()));

    let card = Card {
        disk: found.disk.clone(),
        signature: params.disk,
        slot: params.slot,
        trial: found.table.trial,
        root: files::name(&found.root),
        data: data.state,
        data_bytes: data.bytes,
        grown_from: data.grown_from,
        notes,
    };
    labs::publish(&choice, &card)?;
    for note in &card.notes {
        console.note(note);
    }
    if let Some(reason) = card.data.reason() {
        console.say(&format!("data {}: {reason}", card.data.name()));
    }
    if let Some(problem) = &choice.problem {
        console.say(&format!("lab from {}, because\n{problem}", choice.source.name()));
    }
    console.say(&status::line(&card, choice.source, started.elapsed().as_secs_f64()));
    switch::root(Path::new(ROOT))
}

/// What does not stop the start is noted, for the status file and the kernel log.
fn note(notes: &mut Vec<String>, what: &str, result: Result<(), Fault>) {
    if let Err(fault) = result {
        notes.push(format!("{what}: {}", fault.chain()));
    }
}
