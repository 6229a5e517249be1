//! Compilers, QEMU and test clients: unpacked from Debian packages and run in place, without root and without
//! installing anything.
//!
//! A [`Toolbox`] is one folder. `root/` holds the unpacked packages; every program in it is replaced by a small
//! script that starts the real one through the toolbox's own dynamic loader with the toolbox's own libraries,
//! so that nothing of the machine's libraries is ever opened. `bin/` names the programs of `usr/bin` and
//! `usr/sbin` in one place.
//!
//! `LD_LIBRARY_PATH` is never set: children would inherit it.

mod cross;
mod elf;
mod layout;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use cross::{Cross, CrossRequest, Machine};
use pilotlight_tree::Package;
use sha2::{Digest as _, Sha256};

/// Changes when the layout of a toolbox does, so that folders made by an older builder are not taken for ours.
const LAYOUT: &str = "toolbox 1";

/// Why a toolbox could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// Writing the folder failed.
    #[error("cannot unpack tools into {path}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The packages bring no dynamic loader, so nothing in them could be run.
    #[error("the packages of this toolbox hold no {0}: libc6 for amd64 is missing from its set")]
    NoLoader(&'static str),
    /// A hard link names a file that its package does not hold.
    #[error("{package}: the hard link {link} points to {target}, which is not in the package")]
    DanglingHardLink {
        /// The package.
        package: String,
        /// The link.
        link: String,
        /// What it points to.
        target: String,
    },
    /// A program is not in the toolbox.
    #[error("the toolbox {folder} holds no program {name}: is its package in the set?")]
    NoProgram {
        /// The toolbox.
        folder: PathBuf,
        /// The program.
        name: String,
    },
}

/// A folder of programs that run in place.
#[derive(Debug, Clone)]
pub struct Toolbox {
    folder: PathBuf,
}

impl Toolbox {
    /// The toolbox of these packages below `parent`, unpacked now unless it is there already. `identity` names
    /// the packages' contents: for each its SHA-256. It decides the folder, so a changed package never meets an
    /// old unpacked tree.
    ///
    /// # Errors
    /// A full or read-only disk, or packages that do not fit together. A half-made toolbox is never left under
    /// its final name.
    pub fn open(
        parent: &Path,
        name: &str,
        identity: &[String],
        packages: impl FnOnce() -> Result<Vec<Package>, BoxError>,
    ) -> Result<Self, OpenError> {
        let mut hash = Sha256::new();
        hash.update(LAYOUT);
        for digest in identity {
            hash.update(digest);
        }
        let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let folder = parent.join(format!("{name}-{digest}"));
        if !folder.is_dir() {
            let packages = packages().map_err(OpenError::Packages)?;
            layout::write(&packages, parent, &folder)?;
        }
        Ok(Self { folder })
    }

    /// The folder: `bin/` and `root/` lie in it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The unpacked packages.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// The program `name` of `usr/bin` or `usr/sbin`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn program(&self, name: &str) -> Result<PathBuf, ToolError> {
        let path = self.folder.join("bin").join(name);
        if path.exists() {
            Ok(path)
        } else {
            Err(ToolError::NoProgram { folder: self.folder.clone(), name: name.to_owned() })
        }
    }
}

/// Any error of the function that brings the packages.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a toolbox could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its packages could not be had.
    #[error("cannot get the packages of the tools")]
    Packages(#[source] BoxError),
    /// It could not be unpacked.
    #[error(transparent)]
    Tool(#[from] ToolError),
}
