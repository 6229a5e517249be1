//! A new system in the other slot, started through the real boot loader: it gets one try.
//!
//! No scene waits for the ready line of what it goes back to: the line of `init` names the slot, and the scenes of
//! `pi` show that what it starts comes up.

use anyhow::{Context as _, Result, ensure};
use pilotlight_disk::{Slot, Trial};
use pilotlight_emulator::scene::Scene;
use pilotlight_lab::paths::KERNEL_ON_CARD;

use crate::{
    PATIENCE,
    card::{self, Card, PI},
};

const ROOT_A: &str = "root a on mmcblk0p2";

/// A card like any other starts through its boot loader; a good system in the other slot is started once, and left
/// again at the next power-on, because nobody said that it works.
pub(crate) fn settled_and_tried() -> Result<()> {
    let mut scene = card::scene("slot-settled-and-tried")?;
    let card = card::of_image(&scene)?;
    card::power_on(&mut scene, &card)?;
    scene.wait_for(PI, ROOT_A, PATIENCE)?;
    scene.end(PI);
    ensure!(card.table()?.trial == Trial::Settled, "a settled card was put on trial");

    card.with_trial(|_| ())?;
    card::power_on(&mut scene, &card)?;
    scene.wait_for(PI, "root b (on trial) on mmcblk0p3", PATIENCE)?;
    scene.end(PI);
    let table = card.table()?;
    ensure!((table.trial, table.active_slot()?) == (Trial::Tried, Slot::B), "{table:?}");

    card::power_on(&mut scene, &card)?;
    goes_back(&mut scene, &card, "this system was tried and not found good")?;
    card::tidy(scene)
}

/// A kernel that does nothing, ever: it takes a power cut to get back from it.
pub(crate) fn kernel_hangs() -> Result<()> {
    let mut scene = card::scene("slot-kernel-hangs")?;
    let card = card::of_image(&scene)?;
    card.with_trial(|files| {
        files.insert(KERNEL_ON_CARD.to_owned(), gzip(&endless_kernel()));
    })?;
    card::power_on(&mut scene, &card)?;
    scene.wait_for(PI, "Starting kernel ...", PATIENCE)?;
    scene.end(PI);
    card::power_on(&mut scene, &card)?;
    goes_back(&mut scene, &card, "this system was tried and not found good")?;
    card::tidy(scene)
}

/// `init` finds no root and restarts the board: it comes back by itself. (A kernel that panics before `init` has loaded
/// the watchdog's driver cannot restart a Pi 3; it is left by a power cut, as one that hangs.)
pub(crate) fn root_damaged() -> Result<()> {
    let mut scene = card::scene("slot-root-damaged")?;
    let card = card::of_image(&scene)?;
    card.with_trial(|_| ())?;
    card.with_damaged_root(Slot::B)?;
    card::power_on(&mut scene, &card)?;
    restarted(&mut scene, &card)?;
    goes_back(&mut scene, &card, "this system was tried and not found good")?;
    card::tidy(scene)
}

/// A kernel that cannot be unpacked is not even started.
pub(crate) fn kernel_unreadable() -> Result<()> {
    let mut scene = card::scene("slot-kernel-unreadable")?;
    let card = card::of_image(&scene)?;
    card.with_trial(|files| {
        let kernel = files.get(KERNEL_ON_CARD).map(|kernel| kernel[..kernel.len() / 2].to_vec());
        files.insert(KERNEL_ON_CARD.to_owned(), kernel.unwrap_or_default());
    })?;
    card::power_on(&mut scene, &card)?;
    goes_back(&mut scene, &card, "this system is on trial")?;
    card::tidy(scene)
}

/// The Pi restarts by itself. QEMU ends there, and its next start reads the card as the firmware does: from the slot
/// that the table names by then.
fn restarted(scene: &mut Scene, card: &Card) -> Result<()> {
    scene.wait(PI, "a restart", PATIENCE, |heard| heard.closed.then_some(()))?;
    scene.end(PI);
    card::power_on(scene, card)
}

/// The Pi says why, goes back to slot A for good, and starts it.
fn goes_back(scene: &mut Scene, card: &Card, why: &str) -> Result<()> {
    scene.wait_for(PI, why, PATIENCE).context("no word of the trial")?;
    scene.wait_for(PI, "going back to the other system", PATIENCE)?;
    restarted(scene, card)?;
    scene.wait_for(PI, ROOT_A, PATIENCE)?;
    let table = card.table()?;
    ensure!((table.trial, table.active_slot()?) == (Trial::Settled, Slot::A), "{table:?}");
    Ok(())
}

/// The head of an arm64 kernel (Linux, Documentation/arch/arm64/booting.rst) whose first instruction jumps to itself.
fn endless_kernel() -> Vec<u8> {
    let mut image = vec![0; 1 << 20];
    image[..4].copy_from_slice(&0x1400_0000_u32.to_le_bytes());
    image[16..24].copy_from_slice(&(1_u64 << 20).to_le_bytes());
    // Little-endian, pages of 4 KiB, anywhere in memory.
    image[24..32].copy_from_slice(&0b1010_u64.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to a Vec cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
