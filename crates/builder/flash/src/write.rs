//! The writing: what was there is invalid first, valid last, and everything is read back.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use pilotlight_disk::{block_map::BLOCK, layout};
use rustix::{
    fs::{Advice, OFlags, fadvise},
    io::Errno,
    ioctl,
};
use sha2::{Digest as _, Sha256};

use crate::{Plan, plan, plan::Run};

/// How much is written at once.
const STEP: usize = 4 << 20;
/// How many steps are written before the device must have them: what is counted as done is on its way to the card,
/// not in this machine's memory.
const STEPS_TO_SYNC: u32 = 4;
/// `CDROMEJECT` (Linux, include/uapi/linux/cdrom.h), which SCSI disks understand too, and with them USB readers.
const EJECT: ioctl::Opcode = 0x5309;

/// What goes on while a card is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Blocks go to the card.
    Write,
    /// They are read again and compared.
    Verify,
}

/// Why a card was not written.
#[derive(Debug, thiserror::Error)]
pub enum FlashError {
    /// The target cannot be opened.
    #[error("cannot open {path}", path = path.display())]
    Open {
        /// The target.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The target is neither a disk nor a file.
    #[error("{0} is neither a disk nor a file")]
    Kind(PathBuf),
    /// The image cannot be read.
    #[error("cannot read the image")]
    Image(#[source] io::Error),
    /// The image is not what its block map says.
    #[error("the image does not match its block map at byte {0}: make it anew with `cargo xtask image`")]
    ImageChanged(u64),
    /// The target does not take what is written, or does not give it back.
    #[error("{path} failed at byte {at}: it is not a whole card now", path = path.display())]
    Device {
        /// The target.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What the system says.
        source: io::Error,
    },
    /// What was read is not what was written.
    #[error(
        "{path} gave other bytes back than were written from byte {at} on: the card is worn out, or not as large as \
         it says; take another one",
        path = path.display()
    )]
    Differs {
        /// The target.
        path: PathBuf,
        /// The first byte of the run that differs.
        at: u64,
    },
}

/// A disk or a file that is written to.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    file: File,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it is a disk.
    pub is_disk: bool,
}

impl Target {
    /// Opens a disk, which nobody else may be using, or a file that is there already.
    ///
    /// # Errors
    /// It is not there, is something else, is in use, or may not be written.
    pub fn open(path: &Path) -> Result<Self, FlashError> {
        let failed = |source| FlashError::Open { path: path.to_owned(), source };
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        let is_disk = kind.is_block_device();
        if !is_disk && !kind.is_file() {
            return Err(FlashError::Kind(path.to_owned()));
        }
        // On a block device O_EXCL means: not while it is mounted or part of something (open(2)).
        let exclusive = if is_disk { OFlags::EXCL } else { OFlags::empty() };
        let flags = exclusive.bits().cast_signed();
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(failed)?;
        let bytes = (&file).seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, bytes, is_disk })
    }

    /// Whether a data partition of ours is on it.
    pub fn has_data(&self) -> bool {
        let mut head = [0; BLOCK as usize];
        self.file.read_exact_at(&mut head, layout::DATA_START).is_ok() && plan::is_data(&head)
    }

    /// The lab that lies on the card's boot partition, if it is a card of ours with a readable one.
    pub fn lab(&self) -> Option<Vec<u8>> {
        let card = pilotlight_image::card::open(&self.path).ok()?;
        card.boot().ok()?.read(pilotlight_lab::paths::LAB_ON_CARD).ok()
    }

    /// Lets go of the card, so that it can be taken out. Returns whether the reader pushed it out or switched it off;
    /// one that can do neither is not at fault.
    pub fn eject(self) -> bool {
        // SAFETY: CDROMEJECT takes no argument; the kernel reads and writes nothing of this process.
        self.is_disk && unsafe { ioctl::ioctl(&self.file, ioctl::NoArg::<EJECT>::new()) }.is_ok()
    }

    fn failed(&self, at: u64) -> impl Fn(io::Error) -> FlashError {
        let path = self.path.clone();
        move |source| FlashError::Device { path: path.clone(), at, source }
    }

    /// Everything written so far is on the device, and reading asks the device again.
    fn settle(&self) -> io::Result<()> {
        self.file.sync_data()?;
        match fadvise(&self.file, 0, None, Advice::DontNeed) {
            // A file system without a cache.
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }
}

/// Writes `image` to `target` as `plan` says. `progress` hears of every piece that is done, in bytes.
///
/// Whatever interrupts it, the target has no partition table unless everything else is on it.
///
/// # Errors
/// A fault of the image or of the target, naming the byte.
pub fn write(
    image: &File,
    target: &Target,
    plan: &Plan,
    progress: &mut dyn FnMut(Stage, u64),
) -> Result<(), FlashError> {
    let first = |block: &[u8]| target.file.write_all_at(block, 0).and_then(|()| target.settle());
    first(&vec![0; plan.first_block.len()]).map_err(target.failed(0))?;

    let mut written = Vec::with_capacity(plan.runs.len());
    for run in &plan.runs {
        let digest = write_run(image, target, run, progress)?;
        if run.sha256.is_some_and(|known| known != digest) {
            return Err(FlashError::ImageChanged(run.offset));
        }
        written.push(digest);
    }
    target.settle().map_err(target.failed(plan.reach))?;
    for (run, digest) in plan.runs.iter().zip(written) {
        let read = |buf: &mut [u8], at| target.file.read_exact_at(buf, at).map_err(target.failed(at));
        if digest_of(run.offset, run.len, read, |count| progress(Stage::Verify, count))? != digest {
            return Err(FlashError::Differs { path: target.path.clone(), at: run.offset });
        }
    }

    first(&plan.first_block).map_err(target.failed(0))?;
    let mut back = vec![0; plan.first_block.len()];
    target.file.read_exact_at(&mut back, 0).map_err(target.failed(0))?;
    if back != plan.first_block {
        return Err(FlashError::Differs { path: target.path.clone(), at: 0 });
    }
    Ok(())
}

fn write_run(
    image: &File,
    target: &Target,
    run: &Run,
    progress: &mut dyn FnMut(Stage, u64),
) -> Result<[u8; 32], FlashError> {
    let mut steps = 0;
    let read = |buf: &mut [u8], at: u64| {
        match &run.instead {
            Some(bytes) => {
                let from = usize::try_from(at - run.offset).unwrap_or_default();
                buf.copy_from_slice(&bytes[from..from + buf.len()]);
            }
            None => image.read_exact_at(buf, at).map_err(FlashError::Image)?,
        }
        target.file.write_all_at(buf, at).map_err(target.failed(at))?;
        steps += 1;
        if steps % STEPS_TO_SYNC == 0 { target.file.sync_data().map_err(target.failed(at)) } else { Ok(()) }
    };
    digest_of(run.offset, run.len, read, |count| progress(Stage::Write, count))
}

/// SHA-256 over what `read` gives, piece by piece.
fn digest_of(
    offset: u64,
    len: u64,
    mut read: impl FnMut(&mut [u8], u64) -> Result<(), FlashError>,
    mut done: impl FnMut(u64),
) -> Result<[u8; 32], FlashError> {
    let mut hash = Sha256::new();
    let mut buf = vec![0; STEP.min(usize::try_from(len).unwrap_or(STEP))];
    let mut at = offset;
    while at < offset + len {
        let step = usize::try_from(offset + len - at).unwrap_or(STEP).min(buf.len());
        read(&mut buf[..step], at)?;
        hash.update(&buf[..step]);
        done(step as u64);
        at += step as u64;
    }
    Ok(hash.finalize().into())
}
