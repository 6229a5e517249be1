//! The Pi 3 as QEMU plays it: with its data partition, without one, with one that cannot be read, with errors, and on a larger card.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pilotlight_disk::layout;
use pilotlight_emulator::{
    asker,
    pc::{Firmware, Marks, Pc},
    pi::Kind,
    scene::Scene,
};
use pilotlight_tests::surroundings;

use crate::{
    PATIENCE,
    card::{self, Card},
    pcs,
};

/// The image as it is, with the default lab, and a PC that nobody named on the emulated USB wire: it gets as far
/// as its boot script.
pub(crate) fn data_present() -> Result<()> {
    let mut scene = card::scene("raspi3b-data-present")?;
    let card = card::of_image(&scene)?;
    let ready = card::start(&mut scene, card.played()?, &card)?;
    all_is_well(&ready, "data: ok")?;
    nothing_complains(&scene)?;
    let mac = "52:54:00:77:00:99";
    scene.start_pc(&Pc {
        name: "pc",
        firmware: Firmware::Bios,
        memory_mib: 512,
        hub: Path::new(""),
        mac,
        disks: &[],
        marks: Marks::default(),
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

/// The ready line stands on the screen, too; and a kernel that fails does not sit there: the board restarts.
pub(crate) fn kernel_fails() -> Result<()> {
    let mut scene = card::scene("raspi3b-kernel-fails")?;
    let card = card::of_image(&scene)?;
    card::start_shell(&mut scene, card.played()?, "ttyS1", &card)?;
    // What the kernel has of the screen's text, whether or not there is one.
    scene.type_text(card::PI, "echo on the screen: $(grep -ac 'pilotlight: ready in ' /dev/vcs1)\n")?;
    scene.wait_for(card::PI, "on the screen: 1", PATIENCE)?;
    // Streams take turns, which the kernel has a module for.
    scene.type_text(card::PI, "echo queue: $(ip -o link show eth0 | grep -oE 'qdisc [a-z_]+').\n")?;
    scene.wait_for(card::PI, "queue: qdisc fq.", PATIENCE)?;
    scene.type_text(
        card::PI,
        "echo oops=$(cat /proc/sys/kernel/panic_on_oops); echo c > /proc/sysrq-trigger\n",
    )?;
    scene.wait_for(card::PI, "oops=1", PATIENCE)?;
    scene.wait_for(card::PI, "Kernel panic - not syncing: sysrq triggered crash", PATIENCE)?;
    scene.wait(card::PI, "a restart", PATIENCE, |heard| heard.closed.then_some(()))?;
    card::tidy(scene)
}

/// A card that has been in use and was copied to a larger one: the data partition fills that one, too, and nothing in
/// it is lost.
pub(crate) fn larger_card() -> Result<()> {
    let mut scene = card::scene("virt-larger-card")?;
    let card = card::of_image(&scene)?;
    let mut identities = Vec::new();
    for bytes in [2 << 30, 4 << 30] {
        card.moved_to(bytes)?;
        let ready = card::start(&mut scene, Kind::Virt, &card)?;
        all_is_well(&ready, "data: ok")?;
        // The plug.
        scene.end(card::PI);
        let data = card.data()?;
        let room = bytes - layout::DATA_START;
        ensure!(data.bytes == room, "the data partition has {} bytes of {room}", data.bytes);
        let files = data.file_system_bytes()?;
        ensure!(files == room, "its file system has {files} bytes of {room}");
        identities.push(data.line("/etc/machine-id")?);
    }
    ensure!(identities[0].len() == 32, "no machine id was kept: {identities:?}");
    ensure!(identities[0] == identities[1], "the larger card is another machine: {identities:?}");
    card::tidy(scene)
}

/// A data partition in which the kernel has found errors is repaired before it is used, once, and the Pi says so.
pub(crate) fn data_with_errors() -> Result<()> {
    let mut scene = card::scene("virt-data-with-errors")?;
    let card = card::of_image(&scene)?;
    card.with_errors_in_data()?;
    for (start, expect) in [("first", true), ("second", false)] {
        let ready = card::start(&mut scene, Kind::Virt, &card)?;
        all_is_well(&ready, "data: ok")?;
        let said = scene.heard(card::PI, |heard| {
            heard.lines.iter().any(|line| line.text.contains("data had errors and was repaired"))
        })?;
        ensure!(said == expect, "on its {start} start it said {said} to having repaired its data");
        scene.end(card::PI);
    }
    card.data()?;
    card::tidy(scene)
}

/// Every other board's own image, through its own boot loader where QEMU plays the board, to the ready line and an address
/// for a machine on its wire.
pub(crate) fn other_boards() -> Result<()> {
    let boards = surroundings::boards()?;
    for board in boards.iter().filter(|board| board.name != surroundings::BOARD) {
        println!("{}", board.title);
        let mut scene = card::scene(&format!("board-{}", board.name))?;
        let card = card::of_board(&scene, &board.name)?;
        let ready = if board.emulator.is_some() {
            card::power_on_until_ready(&mut scene, &card)
        } else {
            card::start(&mut scene, Kind::Virt, &card)
        };
        let ready = ready.with_context(|| board.title.clone())?;
        all_is_well(&ready, "data: ok")?;
        asker::first_offer(scene.hub().path(), PATIENCE)
            .with_context(|| format!("{} offered no address", board.title))?;
        card::tidy(scene)?;
    }
    Ok(())
}

/// Without usable data the Pi comes up all the same, and says so.
fn serves_without(name: &str, spoil: fn(&Card) -> Result<()>, expect: &str) -> Result<()> {
    let mut scene = card::scene(name)?;
    let card = card::of_image(&scene)?;
    spoil(&card)?;
    let ready = card::start(&mut scene, card.played()?, &card)?;
    all_is_well(&ready, expect)?;
    // An address is offered without a disk; the default lab listens for another server first.
    asker::first_offer(scene.hub().path(), PATIENCE).context("no address was offered")?;
    card::tidy(scene)
}

/// The root is complete as it was built: nothing tries to finish it at the start, and the interface has what the lab
/// says and nothing of its own.
fn nothing_complains(scene: &Scene) -> Result<()> {
    let complaints = scene.heard(card::PI, |heard| {
        let complains = |text: &str| text.contains("Read-only file system") || text.contains("Gained IPv6LL");
        let lines = heard.lines.iter().filter(|line| complains(&line.text));
        lines.map(|line| line.text.clone()).collect::<Vec<_>>()
    })?;
    ensure!(complaints.is_empty(), "the console has\n{}", complaints.join("\n"));
    Ok(())
}

fn all_is_well(ready: &str, data: &str) -> Result<()> {
    for part in ["failed units: none", " MiB in use", "10.77.0.1/24 on eth0", data] {
        ensure!(ready.contains(part), "the ready line lacks {part:?}: {ready}");
    }
    Ok(())
}
