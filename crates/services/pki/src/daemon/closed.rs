//! The daemon while there is no authority: it says why, and waits for a backup.

use std::os::unix::net::{UnixListener, UnixStream};

use anyhow::Context as _;
use pilotlight_kit::{Event, Events, systemd};
use pilotlight_pki::{Authority, Closed};

use crate::{Arguments, PATIENCE, SERVICE, caller, keep, read_line, say, told};

/// Answers in the name of `closed` until an operator has brought an authority. Where none may be brought, only a new start of
/// the Pi helps.
pub(crate) fn wait(
    arguments: &Arguments,
    listener: &UnixListener,
    events: &Events,
    closed: &Closed,
) -> anyhow::Result<Authority> {
    events.emit(Event::failed(SERVICE, "made", &closed.reason));
    systemd::ready("Refusing: there is no authority");
    loop {
        let (stream, _) = listener.accept().context("cannot take a connection")?;
        match serve(arguments, events, closed, &stream) {
            Ok(Some(authority)) => return Ok(authority),
            Ok(None) => {}
            Err(fault) => events.emit(Event::failed(SERVICE, "answer", format!("{fault:#}"))),
        }
    }
}

fn serve(
    arguments: &Arguments,
    events: &Events,
    closed: &Closed,
    stream: &UnixStream,
) -> anyhow::Result<Option<Authority>> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let caller = caller(arguments, stream)?;
    let line = read_line(stream).context("no question came")?;
    let (answer, record, authority) = closed.answer(&line, caller);
    if let Some(authority) = &authority {
        keep::set_aside(&arguments.state)?;
        keep::save(&arguments.state, authority)?;
    }
    if let Some(record) = record {
        events.emit(told(record));
    }
    match say(stream, &answer) {
        // What is in force does not hang upon whether anybody still listens.
        Err(fault) if authority.is_none() => Err(fault),
        _ => Ok(authority),
    }
}
