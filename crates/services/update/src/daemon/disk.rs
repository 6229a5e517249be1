//! The card that this Pi runs from.

use std::{fs, fs::File, io, os::unix::fs::FileExt as _, path::Path};

use anyhow::Context as _;
use pilotlight_disk::Slot;
use pilotlight_lab::paths;
use pilotlight_update::Disk;
use rustix::fs::{Advice, fadvise};
use serde_json::Value;

/// The card, as `init` found it.
#[derive(Debug)]
pub(crate) struct Card {
    file: File,
    /// The slot that runs.
    pub(crate) running: Slot,
}

impl Card {
    pub(crate) fn open() -> anyhow::Result<Self> {
        let path = paths::CARD_STATUS;
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        let status: Value =
            serde_json::from_str(&text).with_context(|| format!("cannot understand {path}"))?;
        let word = |key: &str| status[key].as_str().with_context(|| format!("{path} does not say its {key}"));
        let running = Slot::from_name(word("slot")?).with_context(|| format!("{path} names no slot"))?;
        let device = Path::new("/dev").join(word("disk")?);
        let file = File::options().read(true).write(true).open(&device);
        let file = file.with_context(|| format!("cannot open the card {}", device.display()))?;
        Ok(Self { file, running })
    }
}

impl Disk for Card {
    fn read(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, at)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()?;
        // What is read next comes from the card, not from memory.
        Ok(fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }
}

/// A part of the card from its start on, for reading through.
pub(crate) struct Stretch<'a> {
    card: &'a Card,
    at: u64,
    end: u64,
}

impl<'a> Stretch<'a> {
    pub(crate) fn new(card: &'a Card, start: u64, len: u64) -> Self {
        Self { card, at: start, end: start + len }
    }
}

impl io::Read for Stretch<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buf.len());
        let read = self.card.file.read_at(&mut buf[..len], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
