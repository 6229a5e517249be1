//! The daemon: one operator at a time, one step after the other.

use std::{
    fs,
    io::{BufReader, BufWriter},
    os::unix::net::{UnixListener, UnixStream},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use pilotlight_disk::Trial;
use pilotlight_lab::paths;
use pilotlight_update::{
    Area, Hash, Known, Manifest, Message, Reply, Status, VERSION, arm, find_in_place, index, missing, read,
    send, table, take, verify,
};
use serde_json::Value;

use crate::{
    disk::{Card, Stretch},
    last::{Last, State},
    restart,
};

/// How long the desk may be silent: it works out what to send, and its line may be slow.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn serve() -> anyhow::Result<()> {
    let socket = pilotlight_kit::systemd::listen_fds().into_iter().next();
    let listener = UnixListener::from(socket.context("no socket was handed over: systemd starts this")?);
    pilotlight_kit::systemd::ready("waits for an update");
    for stream in listener.incoming() {
        let stream = stream.context("cannot take a connection")?;
        if let Err(error) = talk(&stream) {
            eprintln!("pilotlight-updated: {error:#}");
            // Whoever is still there hears why.
            let _ = send(&mut &stream, &Reply::Refused(format!("{error:#}")));
        }
    }
    Ok(())
}

fn talk(stream: &UnixStream) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)))?;
    let (mut from, mut to) = (BufReader::new(stream), BufWriter::new(stream));
    let Message::Hello(version) = read(&mut from)? else { bail!("the desk did not greet") };
    let card = Card::open()?;
    let table = table(&card)?;
    let status = Status {
        version: VERSION,
        board: text(paths::BOARD)?.trim().to_owned(),
        signature: format!("{:08x}", table.signature),
        slot: card.running.name().to_owned(),
        trial: table.trial != Trial::Settled,
        lab: lab(),
        last: Last::read().map(|last| last.words(card.running, table.trial != Trial::Settled)),
    };
    send(&mut to, &Reply::Status(status.clone()))?;
    ensure!(version == VERSION, "the desk speaks version {version} of this exchange, this Pi {VERSION}");

    // Whoever only asked how it is hangs up here.
    let Ok(Message::Offer(manifest)) = read(&mut from) else { return Ok(()) };
    ensure!(
        manifest.board == status.board,
        "the offer is for the board {}, this is a {}",
        manifest.board,
        status.board
    );
    if let Some(lab) = &status.lab {
        let other = "the offer brings another lab than the card's: ask again for the one that is on the card";
        ensure!(manifest.lab == Hash::of(lab.as_bytes()), other);
    }
    let known = known(&card, &manifest)?;
    let need = missing(&manifest, &table, card.running, &known)?;
    println!(
        "an operator brings slot {}: {} of {} pieces are new",
        manifest.slot,
        need.len(),
        manifest.pieces.len()
    );
    send(&mut to, &Reply::Need(need))?;
    take(&card, &manifest, &known, &mut from)?;
    verify(&card, &manifest)?;
    Last { slot: manifest.slot.clone(), state: State::Armed, reason: String::new() }.write();
    arm(&card, manifest.check()?)?;
    println!("slot {} starts next, on trial", manifest.slot);
    send(&mut to, &Reply::Armed)?;
    restart()
}

/// What the running slot has, as far as the offer reaches, and what is in its place already.
fn known(card: &Card, manifest: &Manifest) -> anyhow::Result<Known> {
    let mut known = Known::new();
    manifest.check()?;
    for area in [Area::Boot, Area::Root] {
        let place = area.of(card.running);
        // What was pushed back by something new is found a little further on than the offer reaches.
        let len = manifest.reach(area).saturating_mul(2).min(place.len);
        index(Stretch::new(card, place.start, len), place.start, &mut known)
            .with_context(|| format!("cannot read slot {}", card.running))?;
    }
    find_in_place(card, manifest, &mut known)?;
    Ok(known)
}

/// The lab on the card: the one in force, where that came from the card.
fn lab() -> Option<String> {
    let status: Value = serde_json::from_str(&text(paths::LAB_STATUS).ok()?).ok()?;
    (status["source"] == "card").then(|| text(paths::LAB).ok()).flatten()
}

fn text(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}
