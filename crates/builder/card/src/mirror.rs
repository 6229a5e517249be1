//! What a lab names of other projects' releases: locked beside the lab, fetched, and put on its card.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use pilotlight_fetch::{Client, Show};
use pilotlight_lab::Lab;
use pilotlight_mirror::{Lock, Mirror, Sources, Update};

use crate::{Workshop, files};

/// What became of a lab's lock.
#[derive(Debug, Clone)]
pub struct Mirrored {
    /// The file.
    pub path: PathBuf,
    /// What it names.
    pub lock: Lock,
    /// What changed in it, line by line.
    pub changes: Vec<String>,
}

/// Where a lab's lock lies: beside it, `my-lab.lock` beside `my-lab.toml`.
pub fn lab_lock(lab: &Path) -> PathBuf {
    lab.with_extension("lock")
}

impl Workshop {
    /// Finds what a lab names and its lock lacks, fetches all of it, and writes the lock.
    ///
    /// # Errors
    /// A lab with mistakes, a lock that is none, and whatever stands in the way of the files; the lock is then as it was.
    pub fn mirror(
        &self,
        lab: Option<&Path>,
        sources: &Sources,
        update: &Update,
        now: i64,
    ) -> anyhow::Result<Mirrored> {
        let (path, lab, _) = self.lab(lab)?;
        let (path, old) = (lab_lock(&path), read_lab_lock(&path)?);
        let mirror = self.mirror_of(sources, now);
        let lock = mirror.lock(&lab, &old, update)?;
        mirror.fetch(&lock)?;
        let changes = lock.changes(&old);
        if lock != old {
            files::replace(&path, lock.text())?;
        }
        Ok(Mirrored { path, lock, changes })
    }

    /// What of a lab's lock goes onto its card, in the cache, and what the lab wants beyond it, in words.
    pub(crate) fn mirrored(&self, path: &Path, lab: &Lab) -> anyhow::Result<(Lock, Vec<String>)> {
        let mut lock = read_lab_lock(path)?;
        let sources = Sources::own()?;
        lock.retain(lab, &sources);
        // What is locked needs no clock.
        self.mirror_of(&sources, 0).fetch(&lock)?;
        let lacking = lock.lacks(lab, &sources);
        Ok((lock, lacking))
    }

    fn mirror_of<'a>(&'a self, sources: &'a Sources, now: i64) -> Mirror<'a> {
        Mirror {
            cache: self.archives.cache(),
            sources,
            client: Client::default(),
            show: Show::Auto,
            now,
            room: None,
        }
    }
}

/// The lock beside a lab; an empty one where there is none.
///
/// # Errors
/// A file that cannot be read, or is none of ours.
pub fn read_lab_lock(lab: &Path) -> anyhow::Result<Lock> {
    let path = lab_lock(lab);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::default()),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    Lock::parse(&text).with_context(|| {
        format!("cannot use {}: take it out of the way and run `cargo xtask mirror` again", path.display())
    })
}
