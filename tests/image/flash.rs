//! `cargo xtask flash` and `publish`, run as a person runs them.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, FileTypeExt as _, MetadataExt as _},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_disk::{Mbr, layout};
use pilotlight_image::{Digest, ReadAt as _, card};
use pilotlight_lab::paths::LAB_ON_CARD;
use pilotlight_tests::{
    process::{self, must},
    surroundings,
};

/// A gigabyte is written and read back, maybe on a slow disk; `publish` packs it.
const LIMIT: Duration = Duration::from_secs(600);
/// Longer than the image, as cards are.
const CARD: u64 = 2 << 30;
/// Where nothing of the image lies: in the data partition, behind what its file system uses.
const MARK: (u64, &[u8]) = (layout::DATA_IMAGE.start + (200 << 20), b"what an owner keeps");

fn flash(arguments: &[&str], card: &Path) -> Result<Command> {
    let mut command = Command::new(surroundings::xtask()?);
    command.arg("flash").args(arguments).arg("--image").arg(surroundings::image()?).arg(card);
    Ok(command)
}

/// The card has the image's root and this lab; returns its table.
fn check(card: &Path, lab: &str) -> Result<Mbr> {
    let (image, card) = (card::open(&surroundings::image()?)?, card::open(card)?);
    ensure!(card.boot()?.read(LAB_ON_CARD)? == lab.as_bytes(), "another lab is on the card");
    for name in ["cmdline.txt", "config.txt", "vmlinuz", "initrd.img"] {
        ensure!(card.boot()?.read(name)? == image.boot()?.read(name)?, "{name} differs");
    }
    let (mut one, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for at in (0..64 << 20).step_by(1 << 20) {
        card.root().read_exact_at(at, &mut one)?;
        image.root().read_exact_at(at, &mut other)?;
        ensure!(one == other, "the root differs in the MiB from byte {at} on");
    }
    Ok(card.mbr)
}

/// A card's whole life: new, written again, started anew.
fn life(card: &Path, size: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let named = folder.path().join("lab.toml");
    let default = String::from_utf8(card::open(&surroundings::image()?)?.boot()?.read(LAB_ON_CARD)?)?;
    let own = format!("{default}\n# mine\n");
    fs::write(&named, &own)?;
    let named = named.to_str().context("a temporary folder's name")?;

    let said = must(&mut flash(&["--lab", named], card)?, LIMIT)?.text;
    ensure!(said.contains("the card starts anew") && said.contains("read back and compared"), "{said}");
    let table = check(card, &own)?;
    ensure!(
        Mbr::for_card(table.signature, table.active_slot()?, layout::IMAGE_LEN / 512)? == table,
        "{table:?}"
    );

    OpenOptions::new().write(true).open(card)?.write_all_at(MARK.1, MARK.0)?;
    let said = must(&mut flash(&[], card)?, LIMIT)?.text;
    ensure!(said.matches("the card's own is kept").count() == 2, "{said}");
    let table = check(card, &own)?;
    ensure!(Mbr::for_card(table.signature, table.active_slot()?, size / 512)? == table, "{table:?}");
    let mut mark = [0; MARK.1.len()];
    FileExt::read_exact_at(&File::open(card)?, &mut mark, MARK.0)?;
    ensure!(mark == *MARK.1, "the data partition was not kept");

    let said = must(&mut flash(&["--fresh"], card)?, LIMIT)?.text;
    ensure!(said.contains("the card starts anew") && said.contains("the image's own"), "{said}");
    check(card, &default)?;

    // A lab that this version does not take stops it before the card is touched.
    fs::write(named, own.replace("[network]", "[netwrk]"))?;
    let outcome = process::run(&mut flash(&["--lab", named], card)?, LIMIT)?;
    ensure!(outcome.status.code() == Some(1) && outcome.text.contains("netwrk"), "{}", outcome.text);
    check(card, &default)?;
    Ok(())
}

pub(crate) fn file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let card = folder.path().join("card");
    File::create(&card)?.set_len(CARD)?;
    life(&card, CARD)?;
    let map = fs::metadata(&card)?.blocks() * 512;
    ensure!(map < 400 << 20, "{map} bytes were written: more than what is mapped");
    Ok(())
}

/// The same on a block device, which the kernel caches, locks and lists otherwise than a file.
pub(crate) fn disk() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let backing = folder.path().join("card");
    File::create(&backing)?.set_len(CARD)?;
    let attach = process::run(
        Command::new("losetup").args(["--find", "--show", "--nooverlap"]).arg(&backing),
        Duration::from_secs(10),
    );
    let device = match &attach {
        Ok(outcome) if outcome.status.success() => outcome.text.trim().to_owned(),
        // An ordinary user may not, and most containers have no loop devices.
        _ => {
            eprintln!(
                "NOT RUN on a block device: this machine lets this user attach no loop device. \
                 The scene flash-to-a-file ran the same steps on a file."
            );
            return Ok(());
        }
    };
    let result = on_disk(Path::new(&device));
    must(Command::new("losetup").args(["--detach", &device]), Duration::from_secs(10))?;
    result
}

fn on_disk(device: &Path) -> Result<()> {
    ensure!(fs::metadata(device)?.file_type().is_block_device(), "{} is no disk", device.display());
    let text = device.to_str().context("a device's name")?;
    // A loop device is not removable: it must be named twice.
    let outcome = process::run(&mut flash(&[], device)?, LIMIT)?;
    ensure!(outcome.status.code() == Some(1) && outcome.text.contains("name it twice"), "{}", outcome.text);
    let list = must(Command::new(surroundings::xtask()?).arg("flash"), LIMIT)?.text;
    ensure!(list.lines().any(|line| line.starts_with(text) && line.contains("name it twice")), "{list}");
    must(flash(&[], device)?.arg(device), LIMIT)?;
    let image = card::open(&surroundings::image()?)?;
    check(device, &String::from_utf8(image.boot()?.read(LAB_ON_CARD)?)?)?;
    Ok(())
}

/// What is offered to Imager unpacks to the image, and its list names both digests.
pub(crate) fn packed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(surroundings::xtask()?);
    command.args(["publish", "--url", "https://example.org/cards/", "--out"]).arg(folder.path());
    must(&mut command, LIMIT)?;
    let list: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("os_list.json"))?)?;
    let entry = &list["os_list"][0];
    let (image, size) = Digest::of_file(&surroundings::image()?)?;
    ensure!(entry["extract_sha256"] == image.to_string() && entry["extract_size"] == size, "{entry}");
    ensure!(entry["url"] == "https://example.org/cards/pilotlight-rpi3.img.xz", "{entry}");
    let path = folder.path().join("pilotlight-rpi3.img.xz");
    let (packed, size) = Digest::of_file(&path)?;
    ensure!(entry["image_download_sha256"] == packed.to_string(), "{entry}");
    ensure!(entry["image_download_size"] == size, "{entry}");
    let unpacked = folder.path().join("unpacked");
    let mut decoder = liblzma::read::XzDecoder::new(File::open(&path)?);
    std::io::copy(&mut decoder, &mut File::create(&unpacked)?)?;
    ensure!(Digest::of_file(&unpacked)?.0 == image, "it unpacks to something else");
    Ok(())
}
