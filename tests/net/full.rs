//! A card with no room left: who may be answered is answered, and the fault is shown where people look.

use std::{
    fs::{self, File},
    io::Write as _,
    time::Duration,
};

use anyhow::{Result, ensure};
use pilotlight_lab::MacAddr;
use pilotlight_tests::namespace::small_disk;

use crate::{
    machines::{ACK, DISCOVER, OFFER, Wire, message, renew, select, stranger},
    stage::{LAB, Stage},
};

const NODE: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0x11]);
/// How long an answer is waited for that must not come.
const SILENCE: Duration = Duration::from_millis(300);
/// What the service says of itself, as it says it to systemd.
const FAULT: &str = "serving eth0; leases cannot be written: ";

pub(crate) fn card() -> Result<()> {
    let stage = Stage::set(LAB)?;
    let state = stage.subfolder("dhcp")?;
    small_disk(&state, 64)?;
    let server = stage.dhcpd()?;
    let wire = Wire::open(&stage)?;
    let status = || fs::read_to_string(stage.path("dhcpd.err")).unwrap_or_default();
    let known = stranger(1);
    let address = wire.lease(known)?;
    let mut filler = File::create(state.join("filler"))?;
    while filler.write_all(&[0; 1024]).is_ok() {}

    // The journal's last page has room for a few more. Then somebody is offered an address and gets no ACK.
    let mut refused = None;
    for number in 2..60 {
        let offer = wire.insist(&message(stranger(number), DISCOVER, &[]), OFFER)?;
        wire.say(&select(stranger(number), offer.yiaddr))?;
        if wire.answer(stranger(number), SILENCE)?.is_none() {
            refused = Some((stranger(number), offer.yiaddr));
            break;
        }
    }
    let (refused, offered) = refused.ok_or_else(|| anyhow::anyhow!("the card is never full"))?;
    let fault =
        server.event("what is wrong", |event| event["stage"] == "ack" && event["outcome"] == "failed")?;
    ensure!(fault["reason"].as_str().is_some_and(|reason| reason.contains("No space left")), "{fault}");
    ensure!(status().contains(FAULT), "the status does not say it: {}", status());

    // What is reserved needs no card.
    ensure!(wire.lease(NODE)?.octets() == [10, 77, 0, 11], "the named machine is not served");
    // Who has a lease keeps it, for as long as the card says.
    let ack = wire.insist(&renew(known, address), ACK)?;
    let left_s = ack.number32(51).unwrap_or(0);
    ensure!(ack.yiaddr == address && (20..120).contains(&left_s), "{} for {left_s} s", ack.yiaddr);

    // There is room again, and nobody has to do anything about it.
    drop(filler);
    fs::remove_file(state.join("filler"))?;
    let ack = wire.insist(&select(refused, offered), ACK)?;
    ensure!((ack.yiaddr, ack.number32(51)) == (offered, Some(120)), "{} {:?}", ack.yiaddr, ack.number32(51));
    server.event("the end of it", |event| event["stage"] == "store" && event["outcome"] == "ok")?;
    let last = status().lines().last().map(str::to_owned);
    ensure!(last.as_deref() == Some("serving eth0"), "the status still says {last:?}");
    let ack = wire.insist(&renew(known, address), ACK)?;
    ensure!(ack.number32(51) == Some(120), "a renewal is not whole again");
    // What the card says by now is what was promised.
    let journal = fs::read_to_string(state.join("leases.journal"))?;
    ensure!(
        [address, offered].iter().all(|address| journal.contains(&format!("\"{address}\""))),
        "{journal}"
    );
    Ok(())
}
