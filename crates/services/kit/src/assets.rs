//! What the Pi hands to other machines beneath `/assets/`: what the image brings, and what was put on the data partition
//! beside it.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
};

use pilotlight_lab::Versions;

use crate::beneath::{BeneathError, Opened, Root};

/// The longest index that is read, in bytes.
const LONGEST_INDEX: u64 = 1 << 20;

/// Folders, of which the first that has a file gives it.
#[derive(Debug)]
pub struct Assets(Vec<Root>);

impl Assets {
    /// The folders at `paths` that there are: a card need not have a data partition.
    ///
    /// # Errors
    /// When there is none of them, or this process may not read one.
    pub fn open(paths: &[PathBuf]) -> io::Result<Self> {
        let mut roots = Vec::new();
        let mut missing = None;
        for path in paths {
            match Root::open(path) {
                Ok(root) => roots.push(root),
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(error) if roots.is_empty() => Err(error),
            _ => Ok(Self(roots)),
        }
    }

    /// As [`Root::file`].
    ///
    /// # Errors
    /// As of [`Root::file`], of the first folder that does not simply lack it.
    pub fn file(&self, name: &[u8]) -> Result<Opened, BeneathError> {
        for root in &self.0 {
            match root.file(name) {
                Err(error) if error.is_missing() => {}
                found => return found,
            }
        }
        Err(BeneathError::Missing)
    }
}

/// The versions of systems that the indexes in these folders list, and what is wrong with an index that cannot be used. The
/// names are nobody's from the network: a plain look will do, which works where openat2(2) is refused, too.
pub fn versions(folders: &[PathBuf]) -> (Versions, Vec<String>) {
    let (mut versions, mut faults) = (Versions::default(), Vec::new());
    for folder in folders {
        let path = folder.join(Versions::INDEX);
        let read = File::open(&path).and_then(|file| {
            let mut text = String::new();
            file.take(LONGEST_INDEX).read_to_string(&mut text).map(|_| text)
        });
        let text = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(|error| error.to_string()),
        };
        match text.and_then(|text| Versions::parse(&text).map_err(|error| error.to_string())) {
            Ok(found) => versions.add(found),
            Err(fault) => faults.push(format!("{}: {fault}", path.display())),
        }
    }
    (versions, faults)
}
