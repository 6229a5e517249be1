//! The folder that machines are served from, and the doing of what changes in it.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, anyhow};
use pilotlight_fetch::{Cache, Digest};
use pilotlight_kit::{assets, keep};
use pilotlight_lab::Versions;
use pilotlight_mirror::{Act, Fit, Held, Here, Lock};

/// What is on its way, in a folder that nobody else may look into: beneath the one that is served, because a file can be
/// renamed only within what this service may write to.
const ON_ITS_WAY: &str = ".fetch";
/// A file that is about to have its place, in the folder of it: no name that a lock may have.
const PLACED: &str = ".new";
/// More is no lock.
const LONGEST_LOCK: u64 = 4 << 20;

/// The folder.
#[derive(Debug)]
pub(crate) struct Shelf {
    root: PathBuf,
    cache: Cache,
}

impl Shelf {
    pub(crate) fn open(root: &Path) -> anyhow::Result<Self> {
        let path = root.join(ON_ITS_WAY);
        fs::create_dir_all(&path)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o700)))
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { root: root.to_owned(), cache: Cache::at(path)?.on_card() })
    }

    /// Where files are until they are verified and have their place.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// What is here. Without a lock, or with one that is damaged, the index says what the Pi has.
    pub(crate) fn look(&self) -> anyhow::Result<Here> {
        let (index, faults) = assets::versions(std::slice::from_ref(&self.root));
        if let Some(fault) = faults.into_iter().next() {
            return Err(anyhow!(fault).context("nothing is touched while the index is damaged"));
        }
        let path = self.root.join(Lock::NAME);
        let text = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            file => {
                let mut text = String::new();
                file.and_then(|file| file.take(LONGEST_LOCK).read_to_string(&mut text))
                    .with_context(|| format!("cannot read {}", path.display()))?;
                text
            }
        };
        let lock = Lock::parse(&text).ok();
        let mut files = BTreeMap::new();
        let known = lock.as_ref().map(Lock::all).unwrap_or_default();
        self.list(&self.root, &mut |name, path, size| {
            let sha256 = match known.get(&name) {
                // As it was placed: the card answers for its own bytes.
                Some(file) if file.size == size => file.sha256,
                _ => Digest::of_file(path)?,
            };
            files.insert(name, Held { size, sha256 });
            Ok(())
        })
        .with_context(|| format!("cannot look through {}", self.root.display()))?;
        drop(known);
        Ok(match lock {
            Some(lock) => Here { lock, index, files },
            None => Here::without_lock(index, files),
        })
    }

    fn list(
        &self,
        folder: &Path,
        each: &mut impl FnMut(String, &Path, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let name = path.strip_prefix(&self.root).unwrap_or(&path).to_string_lossy().into_owned();
            let is_ours = [ON_ITS_WAY, Versions::INDEX, Lock::NAME].contains(&name.as_str());
            if kind.is_dir() && !is_ours {
                self.list(&path, each)?;
            } else if kind.is_file() && !is_ours {
                each(name, &path, entry.metadata()?.len())?;
            }
        }
        Ok(())
    }

    /// Makes room for so many bytes beside `reserve`, if need be by giving up what was kept to go back to; or says for how
    /// many there is room.
    pub(crate) fn make_room(&self, here: &Mutex<Here>, wanted: u64, reserve: u64) -> Result<(), u64> {
        let mut here = here.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.free().map_err(|_| 0_u64)?.saturating_sub(reserve);
        match here.fit(wanted, free) {
            Fit::Now => {}
            Fit::Never(most) => return Err(most),
            Fit::AfterThrift => {
                for act in here.thrift() {
                    self.perform(act).map_err(|_| free)?;
                }
                *here = self.look().map_err(|_| free)?;
            }
        }
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let room = rustix::fs::statvfs(&self.root)?;
        Ok(room.f_bavail * room.f_frsize)
    }

    /// Does one act. It is on the card when this returns.
    pub(crate) fn perform(&self, act: Act) -> anyhow::Result<()> {
        match act {
            Act::Place { path, file } => {
                let (from, to) = (self.cache.object(&file.sha256), self.root.join(&path));
                place(&self.root, &from, &to).with_context(|| format!("cannot put {path} into its place"))
            }
            Act::Note(lock) => self.write(Lock::NAME, &lock.text()),
            Act::Publish(index) => self.write(Versions::INDEX, &index.index()),
            Act::Remove { path } => {
                let path = self.root.join(path);
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
                // Folders that are empty now; one that is not stays.
                let above = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
                for folder in above {
                    if fs::remove_dir(folder).is_err() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.root.join(name);
        keep::replace(&path, text.as_bytes(), 0o644)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Gives a file its place, and has that written down, with the folders above that may be new. It keeps its name among what
/// came: another place may be its own as well.
fn place(root: &Path, from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    fs::set_permissions(from, Permissions::from_mode(0o644))?;
    for above in folder.ancestors().take_while(|above| *above != root) {
        fs::set_permissions(above, Permissions::from_mode(0o755))?;
    }
    let new = folder.join(PLACED);
    // From a cut; and of two names of one file rename(2) leaves both.
    gone(&new)?;
    fs::hard_link(from, &new)?;
    fs::rename(&new, to)?;
    gone(&new)?;
    for above in folder.ancestors() {
        File::open(above)?.sync_all()?;
        if above == root {
            break;
        }
    }
    Ok(())
}

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pilotlight_mirror::LockedFile;

    use super::*;

    fn shelf() -> (tempfile::TempDir, Shelf, LockedFile) {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(folder.path()).unwrap();
        let sha256 = Digest::of("manifest");
        shelf.cache.receive(&mut "manifest".as_bytes(), 8, &sha256).unwrap();
        let file = LockedFile { path: String::new(), url: String::new(), size: 8, sha256 };
        (folder, shelf, file)
    }

    #[test]
    fn one_file_may_have_several_places() {
        let (folder, shelf, file) = shelf();
        let paths = ["oci/app/manifests/1.0", "oci/app/manifests/sha256-1"];
        // The first twice: a cut may have come between its place and the note of it.
        for path in [paths[0], paths[0], paths[1]] {
            shelf.perform(Act::Place { path: path.to_owned(), file: file.clone() }).unwrap();
        }
        shelf.cache.keep_only(&BTreeSet::new()).unwrap();
        for path in paths {
            assert_eq!(fs::read(folder.path().join(path)).unwrap(), b"manifest");
        }
        assert_eq!(shelf.look().unwrap().files.keys().collect::<Vec<_>>(), paths.each_ref());
    }

    #[test]
    fn what_a_cut_left_of_a_place_is_found_and_goes() {
        let (folder, shelf, file) = shelf();
        let half = format!("talos/{PLACED}");
        fs::create_dir(folder.path().join("talos")).unwrap();
        fs::write(folder.path().join(&half), "other").unwrap();
        let here = shelf.look().unwrap();
        assert_eq!(here.files.keys().collect::<Vec<_>>(), [&half]);
        assert_eq!(here.acts(&Lock::default()), [Act::Remove { path: half.clone() }]);
        shelf.perform(Act::Place { path: "talos/a".to_owned(), file }).unwrap();
        assert_eq!(shelf.look().unwrap().files.keys().collect::<Vec<_>>(), ["talos/a"]);
    }
}
