//! The files that a lab is read from, and those that follow from it.

use std::path::Path;

use pilotlight_disk::Trial;
use pilotlight_init::{
    lab::{Choice, LARGEST, Source},
    login, network,
    status::{self, Card},
};
use pilotlight_lab::paths;

use super::{
    Fault,
    card::Found,
    files,
    mounts::{in_root, with_fat},
};

/// The network file for systemd-networkd; the number puts it before anything that the image brings.
const NETWORK: &str = "/run/systemd/network/10-pilotlight.network";
const RESOLV_CONF: &str = "/run/pilotlight/resolv.conf";

/// What may be the lab, in the order of its right.
pub(crate) fn candidates(found: &Found, data: bool) -> Vec<(Source, Result<String, String>)> {
    let card = with_fat(&found.boot, |folder| files::read_text(&folder.join(paths::LAB_ON_CARD), LARGEST));
    let text = |result: Result<String, Fault>| result.map_err(|fault| fault.chain());
    let mut candidates = vec![(Source::Card, text(card.and_then(|read| read)))];
    let last_good = in_root(paths::LAST_GOOD_LAB);
    // Without one there is nothing to say: a card that was never given a valid lab has none.
    if data && last_good.exists() {
        candidates.push((Source::LastGood, text(files::read_text(&last_good, LARGEST))));
    }
    candidates.push((Source::Default, text(files::read_text(&in_root(paths::DEFAULT_LAB), LARGEST))));
    candidates
}

/// Keeps the card's lab as the last good one, if it is not that already.
pub(crate) fn keep(choice: &Choice, data: bool) -> Result<(), Fault> {
    let path = in_root(paths::LAST_GOOD_LAB);
    let known = || files::read(&path, LARGEST).is_ok_and(|text| text == choice.text.as_bytes());
    if !data || choice.source != Source::Card || known() {
        return Ok(());
    }
    files::replace(&path, choice.text.as_bytes(), 0o644)
}

/// Puts the lab in force, and what follows from it, where the services look.
pub(crate) fn publish(choice: &Choice, card: &Card) -> Result<(), Fault> {
    let write = |path: &str, text: &str| files::write(Path::new(path), text);
    write(paths::LAB, &choice.text)?;
    write(paths::LAB_STATUS, &format!("{}\n", status::lab_json(choice)))?;
    write(paths::CARD_STATUS, &format!("{}\n", status::card_json(card)))?;
    if card.trial != Trial::Settled {
        write(paths::ON_TRIAL, "")?;
    }
    if !choice.lab.operators.is_empty() {
        // Root's, readable by all: what is in it is public, and the login reads it as the operator.
        write(&format!("{}/.ssh/authorized_keys", paths::LOGIN_HOME), &login::authorized_keys(&choice.lab))?;
    }
    write(NETWORK, &network::networkd(&choice.lab.network))?;
    write(RESOLV_CONF, &network::resolv_conf(&choice.lab.network))
}
