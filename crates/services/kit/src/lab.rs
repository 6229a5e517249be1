//! The lab in force, read from its file.

use std::{
    io,
    path::{Path, PathBuf},
};

use pilotlight_lab::{Lab, Problems};

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read the lab in force, {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file says something wrong. `init` puts only checked labs in force, so this one came another way.
    #[error("{} problems in the lab\n{report}", .problems.count())]
    Invalid {
        /// What is wrong.
        problems: Problems,
        /// The same for a person to read, with the lines of the file.
        report: String,
    },
}

/// Reads the lab at `path`, usually [`pilotlight_lab::paths::LAB`].
///
/// # Errors
/// When the file cannot be read, or is no valid lab.
pub fn load(path: &Path) -> Result<Lab, LoadError> {
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(read)?;
    pilotlight_lab::parse(&text).map_err(|problems| {
        let report = problems.render(&path.display().to_string(), &text, false);
        LoadError::Invalid { problems, report }
    })
}
