//! A card that takes its time, which cards do: an OFFER does not wait for it, an ACK does, and soon enough.

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_lab::MacAddr;
use pilotlight_tests::daemon::PATIENCE;

use crate::{
    machines::{ACK, DISCOVER, OFFER, Wire, message, select, stranger},
    stage::{LAB, Stage},
};

/// Machines that ask at once.
const MACHINES: u8 = 50;
/// What firmware waits for an ACK before it asks again: EDK II's first round (PXE 2.1 § 2.2.6).
const FIRMWARE_WAITS: Duration = Duration::from_secs(4);

/// A machine by its number.
fn machine(number: u8) -> MacAddr {
    stranger(number.into())
}

/// The next answer: its kind, its machine, and the address.
fn hear(wire: &Wire) -> Result<(u8, u8, Ipv4Addr)> {
    let packet = wire.hear(PATIENCE)?.context("no answer came")?;
    Ok((packet.kind.into(), packet.mac.0[5], packet.yiaddr))
}

pub(crate) fn card() -> Result<()> {
    let stage = Stage::set(LAB)?;
    let wire = Wire::open(&stage)?;
    for late in [50, 500, 2000] {
        let waited = all_get_an_address(&stage, &wire, late)
            .with_context(|| format!("with {late} ms for each write"))?;
        println!(
            "each write takes {late} ms: the last of {MACHINES} ACKs came after {} ms",
            waited.as_millis()
        );
        // With 2 s for a write, who comes when one has begun waits for that one and the next.
        ensure!(
            late > 500 || waited < FIRMWARE_WAITS,
            "an ACK took {waited:?} with {late} ms for each write"
        );
    }
    Ok(())
}

/// All machines ask at once. Gives the longest time from a REQUEST to its ACK.
fn all_get_an_address(stage: &Stage, wire: &Wire, late: u32) -> Result<Duration> {
    let (_server, state) = stage.dhcpd_on_slow_card(late)?;
    let mut offered = BTreeMap::new();
    for number in 0..MACHINES {
        wire.say(&message(machine(number), DISCOVER, &[]))?;
        let (kind, heard, address) = hear(wire)?;
        ensure!((kind, heard) == (OFFER, number), "{kind} for {heard}");
        offered.insert(number, address);
    }
    let mut asked = BTreeMap::new();
    for (number, address) in &offered {
        asked.insert(*number, Instant::now());
        wire.say(&select(machine(*number), *address))?;
    }
    // While the card is at it, one more wants an offer: it comes before all that wait for the card.
    wire.say(&message(machine(MACHINES), DISCOVER, &[]))?;
    let (kind, heard, _) = hear(wire)?;
    ensure!(
        (kind, heard) == (OFFER, MACHINES),
        "an OFFER waited for the card: first came {kind} for {heard}"
    );
    let mut longest = Duration::ZERO;
    while let Some(missing) = asked.len().checked_sub(1) {
        let (kind, machine, address) = hear(wire)?;
        ensure!(kind == ACK && address == offered[&machine], "{kind} for {machine}");
        let since = asked.remove(&machine).with_context(|| format!("a second ACK for {machine}"))?;
        longest = longest.max(since.elapsed());
        let journal = fs::read_to_string(state.join("leases.journal"))?;
        ensure!(journal.contains(&format!("\"{address}\"")), "{address} was promised before it was written");
        if missing == 0 {
            break;
        }
    }
    Ok(longest)
}
