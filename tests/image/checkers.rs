//! What fsck.fat, e2fsck, unsquashfs and sfdisk have to say about the image: nothing.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_disk::{BlockMap, block_map::BLOCK, layout};
use pilotlight_tests::{
    process::{Outcome, run},
    surroundings::{self, Tools},
};
use sha2::{Digest as _, Sha256};

use crate::cut::{LIMIT, partition};

pub(crate) fn table() -> Result<()> {
    let mut verify = Tools::checkers()?.command("sfdisk")?;
    let outcome = run(verify.arg("--verify").arg(surroundings::image()?), LIMIT)?;
    ensure!(outcome.status.success() && outcome.text.contains("No errors detected"), "{}", outcome.text);
    ensure!(!outcome.text.to_lowercase().contains("warning"), "{}", outcome.text);
    Ok(())
}

fn check(number: u8, program: &str, arguments: &[&str]) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let partition = partition(number, folder.path())?;
    let mut checker = Tools::checkers()?.command(program)?;
    let outcome = run(checker.args(arguments).arg(&partition), LIMIT)?;
    ensure!(outcome.status.success(), "{program}: {}\n{}", outcome.status, outcome.text);
    Ok(outcome)
}

pub(crate) fn boot() -> Result<()> {
    let said = check(layout::BOOT_PARTITION, "fsck.fat", &["-n"])?.text;
    // Its version, and the number of files and clusters.
    ensure!(said.lines().count() == 2, "fsck.fat has something to say:\n{said}");
    Ok(())
}

pub(crate) fn data() -> Result<()> {
    let said = check(layout::DATA_PARTITION, "e2fsck", &["-f", "-n"])?.text;
    let passes = said.lines().filter(|line| line.starts_with("Pass ")).count();
    let other = said.lines().filter(|line| !line.starts_with("Pass ")).count();
    // Its version and the number of files and blocks.
    ensure!(passes == 5 && other <= 2, "e2fsck has something to say:\n{said}");
    Ok(())
}

pub(crate) fn root() -> Result<()> {
    let said = check(layout::ROOT_A_PARTITION, "unsquashfs", &["-s"])?.text;
    for part in ["Found a valid SQUASHFS 4:0 superblock", "Compression zstd"] {
        ensure!(said.contains(part), "unsquashfs does not say {part:?}:\n{said}");
    }
    Ok(())
}

/// Every mapped block has the digest that the map says, and every other is empty: writing the mapped ones to an
/// erased card gives the image.
pub(crate) fn block_map() -> Result<()> {
    let image = surroundings::image()?;
    let path = image.with_extension("img.bmap");
    let xml = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let map = BlockMap::parse(&xml)?;
    let mut file = File::open(&image)?;
    let length = file.metadata()?.len();
    ensure!(map.image_len == length, "the map is of {} bytes, the image has {length}", map.image_len);
    let mut next = 0;
    for range in &map.ranges {
        let (start, end) = (range.first * BLOCK, ((range.last + 1) * BLOCK).min(length));
        must_be_empty(&mut file, next, start)?;
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; usize::try_from(end - start)?];
        file.read_exact(&mut bytes)?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        ensure!(digest == range.sha256, "blocks {} to {} have another digest", range.first, range.last);
        next = end;
    }
    must_be_empty(&mut file, next, length)
}

fn must_be_empty(file: &mut File, start: u64, end: u64) -> Result<()> {
    file.seek(SeekFrom::Start(start))?;
    let mut rest = file.take(end.saturating_sub(start));
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = rest.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        ensure!(
            buffer[..count].iter().all(|byte| *byte == 0),
            "something between the bytes {start} and {end} is not in the block map"
        );
    }
}
