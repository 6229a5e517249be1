//! More machines than any lab has, on a real image.

use std::{
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_emulator::{asker, pi::Kind};

use crate::{PATIENCE, card, names};

const LEASES: u16 = 10_000;
/// Machines that ask at the same time.
const AT_ONCE: usize = 8;
/// The most that all services may take together then, in KiB of PSS.
const MOST_MEMORY: u64 = 32 * 1024;

/// Ten thousand machines get an address each, and the services still fit.
pub(crate) fn memory_after_leases() -> Result<()> {
    let mut scene = card::scene("soak-memory")?;
    let card = card::of_lab(&scene, "crowd")?;
    card::start_shell(&mut scene, Kind::Virt, "ttyAMA0", &card)?;
    let start = Instant::now();
    let next = AtomicU16::new(0);
    let hub = scene.hub().path();
    let ask = || -> Result<Vec<_>> {
        let mut given = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= LEASES {
                return Ok(given);
            }
            let [high, low] = number.to_be_bytes();
            let address = asker::lease(hub, [0x52, 0x54, 0x00, 0xcd, high, low], PATIENCE);
            given.push(address.with_context(|| format!("machine {number} got no address"))?);
        }
    };
    let mut given = thread::scope(|scope| {
        let machines: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(ask)).collect();
        let lists = machines.into_iter().map(|machine| machine.join().unwrap_or_else(|_| Ok(Vec::new())));
        lists.collect::<Result<Vec<_>>>()
    })?
    .concat();
    println!("{} leases in {} s", given.len(), start.elapsed().as_secs());
    given.sort_unstable();
    given.dedup();
    ensure!(given.len() == usize::from(LEASES), "{} machines have an address of their own", given.len());
    names::memory(&mut scene, MOST_MEMORY)?;
    card::tidy(scene)
}
