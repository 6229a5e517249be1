//! The Pi 3 as QEMU plays it: with its data partition, without one, and with one that cannot be read.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pilotlight_emulator::{
    pc::{Firmware, Pc},
    pi::Kind,
};

use crate::{
    card::{self, Card},
    pcs,
};

/// The image as it is, with the default lab, and a PC that nobody named on the emulated USB wire: it gets as far
/// as its boot script.
pub(crate) fn data_present() -> Result<()> {
    let mut scene = card::scene("raspi3b-data-present")?;
    let card = card::of_image(&scene)?;
    let ready = card::start(&mut scene, Kind::Raspi3b, &card)?;
    all_is_well(&ready, "data: ok")?;
    let mac = "52:54:00:77:00:99";
    scene.start_pc(&Pc {
        name: "pc",
        firmware: Firmware::Bios,
        memory_mib: 512,
        hub: Path::new(""),
        mac,
        disk: None,
    })?;
    let lease = pcs::event(&scene, "a lease for the PC", |event| {
        pcs::is(event, "dhcp", "ack") && event["mac"] == mac
    })?;
    let address = lease["address"].as_str().context("the lease has no address")?;
    ensure!(address.starts_with("10.77.0.1"), "the PC got {address}, which is not of the default lab's pool");
    pcs::event(&scene, "the common boot script", |event| pcs::got(event, "/boot.ipxe"))?;
    pcs::event(&scene, "the PC's boot script", |event| pcs::got(event, "/ipxe"))?;
    card::tidy(scene)
}

pub(crate) fn data_absent() -> Result<()> {
    serves_without("raspi3b-data-absent", Card::without_data, "data: absent")
}

pub(crate) fn data_corrupt() -> Result<()> {
    serves_without("raspi3b-data-corrupt", Card::with_corrupt_data, "data: corrupt")
}

/// Without usable data the Pi comes up all the same, and says so.
fn serves_without(name: &str, spoil: fn(&Card) -> Result<()>, expect: &str) -> Result<()> {
    let mut scene = card::scene(name)?;
    let card = card::of_image(&scene)?;
    spoil(&card)?;
    let ready = card::start(&mut scene, Kind::Raspi3b, &card)?;
    all_is_well(&ready, expect)?;
    card::tidy(scene)
}

fn all_is_well(ready: &str, data: &str) -> Result<()> {
    for part in ["failed units: none", " MiB in use", "10.77.0.1/24 on eth0", data] {
        ensure!(ready.contains(part), "the ready line lacks {part:?}: {ready}");
    }
    Ok(())
}
