//! The steps on the card. Until [`arm`] writes the first sector, nothing that was there starts otherwise than before.

use std::{collections::hash_map::Entry, io};

use pilotlight_disk::{
    Mbr, MbrError, Slot, Trial,
    layout::{FALLBACK_SECTOR, SECTOR},
    mbr,
};

use crate::{
    FrameError, Hash, Known, Manifest, ManifestError, Piece, manifest::LONGEST_PIECE, wire::read_piece,
};

/// A card as a whole.
pub trait Disk {
    /// Fills `buf` from byte `at` on.
    ///
    /// # Errors
    /// What the device gives.
    fn read(&self, at: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` from byte `at` on; until [`Disk::flush`] a power cut may lose any part of it.
    ///
    /// # Errors
    /// What the device gives.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns once everything written is on the card, and what is read next comes from there.
    ///
    /// # Errors
    /// What the device gives.
    fn flush(&self) -> io::Result<()>;
}

/// Why a system is not taken, or a table not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The offer cannot be.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The offer is for the slot that runs.
    #[error("the offer is for slot {0}, which runs")]
    Running(Slot),
    /// The offer is for another card.
    #[error("the offer is for the card {offered}, this one is {own}")]
    Card {
        /// The disk signature in the offer.
        offered: String,
        /// The card's.
        own: String,
    },
    /// The system that runs is on trial itself.
    #[error("the system that runs is on trial itself: wait until it is kept")]
    OnTrial,
    /// The table starts another slot than the one that runs.
    #[error("the card starts slot {table} next, but slot {running} runs: restart it first")]
    OtherNext {
        /// The slot that the table names.
        table: Slot,
        /// The one that runs.
        running: Slot,
    },
    /// The table cannot be used.
    #[error("the card's partition table cannot be used")]
    Table(#[from] MbrError),
    /// The card does not do as it is told.
    #[error("the card failed at byte {at}")]
    Disk {
        /// Where.
        at: u64,
        /// What it said.
        source: io::Error,
    },
    /// A piece that is not what it should be.
    #[error("{what} at byte {at} of the card is not what was offered")]
    Differs {
        /// What it is.
        what: &'static str,
        /// Where.
        at: u64,
    },
    /// The desk went away, or said something else.
    #[error("the pieces did not come")]
    Frame(#[from] FrameError),
}

fn failed(at: u64) -> impl Fn(io::Error) -> ChangeError {
    move |source| ChangeError::Disk { at, source }
}

/// The card's table.
///
/// # Errors
/// It cannot be read, or is not a card's.
pub fn table(disk: &impl Disk) -> Result<Mbr, ChangeError> {
    let mut sector = [0; mbr::LEN];
    disk.read(0, &mut sector).map_err(failed(0))?;
    let table = Mbr::parse(&sector)?;
    table.active_slot()?;
    Ok(table)
}

/// The numbers of the pieces that are not on the card already, once the offer is found to be possible: made for this
/// card, for the slot that does not run, while what runs is settled.
///
/// # Errors
/// What speaks against the offer.
pub fn missing(
    manifest: &Manifest,
    table: &Mbr,
    running: Slot,
    known: &Known,
) -> Result<Vec<u32>, ChangeError> {
    let slot = manifest.check()?;
    let own = format!("{:08x}", table.signature);
    if manifest.signature != own {
        return Err(ChangeError::Card { offered: manifest.signature.clone(), own });
    }
    if slot == running {
        return Err(ChangeError::Running(slot));
    }
    if table.trial != Trial::Settled {
        return Err(ChangeError::OnTrial);
    }
    let next = table.active_slot()?;
    if next != running {
        return Err(ChangeError::OtherNext { table: next, running });
    }
    let lacks = |piece: &Piece| !known.contains_key(&(piece.sha256, piece.len));
    Ok((0..).zip(&manifest.pieces).filter(|(_, piece)| lacks(piece)).map(|(number, _)| number).collect())
}

/// Adds to `known` what an earlier, interrupted update has left in its place.
///
/// # Errors
/// The card fails, or the offer cannot be.
pub fn find_in_place(disk: &impl Disk, manifest: &Manifest, known: &mut Known) -> Result<(), ChangeError> {
    let slot = manifest.check()?;
    let mut buf = vec![0; LONGEST_PIECE as usize];
    for piece in &manifest.pieces {
        let (at, bytes) = (piece.place(slot), &mut buf[..piece.len as usize]);
        if let Entry::Vacant(unknown) = known.entry((piece.sha256, piece.len)) {
            disk.read(at, bytes).map_err(failed(at))?;
            if Hash::of(bytes) == piece.sha256 {
                unknown.insert(at);
            }
        }
    }
    Ok(())
}

/// Writes the system to its slot: what is missing from `desk`, piece by piece in order, the rest from the card.
///
/// # Errors
/// The card or the desk fails, or a piece is not what was offered.
pub fn take(
    disk: &impl Disk,
    manifest: &Manifest,
    known: &Known,
    desk: &mut impl io::Read,
) -> Result<(), ChangeError> {
    let slot = manifest.check()?;
    // What is known lies in the slot that runs, which nothing here writes to, or is in its place already.
    for piece in &manifest.pieces {
        if let Some(from) = known.get(&(piece.sha256, piece.len)) {
            copy(disk, piece, *from, slot)?;
        }
    }
    for piece in &manifest.pieces {
        if !known.contains_key(&(piece.sha256, piece.len)) {
            let bytes = read_piece(desk, LONGEST_PIECE)?;
            let at = piece.place(slot);
            if Hash::of(&bytes) != piece.sha256 || bytes.len() != piece.len as usize {
                return Err(ChangeError::Differs { what: "a piece for what lies", at });
            }
            disk.write(at, &bytes).map_err(failed(at))?;
        }
    }
    Ok(())
}

fn copy(disk: &impl Disk, piece: &Piece, from: u64, slot: Slot) -> Result<(), ChangeError> {
    let at = piece.place(slot);
    if from == at {
        return Ok(());
    }
    let mut bytes = vec![0; piece.len as usize];
    disk.read(from, &mut bytes).map_err(failed(from))?;
    if Hash::of(&bytes) != piece.sha256 {
        return Err(ChangeError::Differs { what: "what is to be copied", at: from });
    }
    disk.write(at, &bytes).map_err(failed(at))
}

/// Reads the whole system back from the card.
///
/// # Errors
/// The card fails, or gives other bytes back.
pub fn verify(disk: &impl Disk, manifest: &Manifest) -> Result<(), ChangeError> {
    let slot = manifest.check()?;
    disk.flush().map_err(failed(0))?;
    let mut buf = vec![0; LONGEST_PIECE as usize];
    for piece in &manifest.pieces {
        let (at, bytes) = (piece.place(slot), &mut buf[..piece.len as usize]);
        disk.read(at, bytes).map_err(failed(at))?;
        if Hash::of(bytes) != piece.sha256 {
            return Err(ChangeError::Differs { what: "what was written", at });
        }
    }
    Ok(())
}

/// Has the card start `slot` once. First, and apart, the way back is written.
///
/// # Errors
/// The card fails, or is not settled.
pub fn arm(disk: &impl Disk, slot: Slot) -> Result<(), ChangeError> {
    let table = table(disk)?;
    if table.trial != Trial::Settled {
        return Err(ChangeError::OnTrial);
    }
    if table.active_slot()? == slot {
        return Err(ChangeError::Running(slot));
    }
    write_sector(disk, FALLBACK_SECTOR, &table)?;
    write_sector(disk, 0, &table.on_trial(slot)?)
}

/// Keeps the slot that is on trial. Without a trial there is nothing to do.
///
/// # Errors
/// The card fails.
pub fn settle(disk: &impl Disk) -> Result<(), ChangeError> {
    let table = table(disk)?;
    if table.trial == Trial::Settled { Ok(()) } else { write_sector(disk, 0, &table.settled()) }
}

/// Has the card start the other slot again. Without a trial there is nothing to go back from.
///
/// # Errors
/// The card fails.
pub fn go_back(disk: &impl Disk) -> Result<(), ChangeError> {
    let table = table(disk)?;
    if table.trial == Trial::Settled { Ok(()) } else { write_sector(disk, 0, &table.gone_back()?) }
}

fn write_sector(disk: &impl Disk, sector: u64, table: &Mbr) -> Result<(), ChangeError> {
    let (at, bytes) = (sector * SECTOR, table.encode());
    disk.write(at, &bytes).and_then(|()| disk.flush()).map_err(failed(at))?;
    let mut back = [0; mbr::LEN];
    disk.read(at, &mut back).map_err(failed(at))?;
    if back != bytes {
        return Err(ChangeError::Differs { what: "the partition table", at });
    }
    Ok(())
}
