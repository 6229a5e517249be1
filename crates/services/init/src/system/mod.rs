//! The system calls behind the decisions.

pub(crate) mod block;
pub(crate) mod card;
pub(crate) mod clock;
pub(crate) mod console;
pub(crate) mod data;
pub(crate) mod files;
pub(crate) mod identity;
pub(crate) mod inside;
pub(crate) mod labs;
pub(crate) mod loops;
pub(crate) mod modules;
pub(crate) mod mounts;
pub(crate) mod netroot;
pub(crate) mod network;
pub(crate) mod repair;
pub(crate) mod switch;

use std::{error::Error, io, path::PathBuf};

use pilotlight_disk::ParamError;
use pilotlight_init::netroot::NetRootError;

/// Why the start cannot go on, or a part of it did not come off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The command line does not name the card.
    #[error("cmdline.txt on the card's first partition is not as the image builder wrote it")]
    Params(#[from] ParamError),
    /// The command line names a root on the network, and not so that it could be fetched.
    #[error(transparent)]
    NetRoot(#[from] NetRootError),
    /// The network does not give what was asked for.
    #[error("{0}")]
    Network(String),
    /// The card, or a partition of it, is not there.
    #[error("{0}")]
    NoCard(String),
    /// No lab at all, not even the image's own.
    #[error("no lab.toml is valid, not even the image's own:\n{0}")]
    NoLab(String),
    /// A system call on a file, a device or a folder.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried, such as `mount`.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file that can be read and does not say what it should.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Fault {
    /// For `map_err`: `what` was tried on `path`.
    pub(crate) fn file<E: Into<io::Error>>(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source: source.into() }
    }

    /// The whole story in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        text
    }
}
