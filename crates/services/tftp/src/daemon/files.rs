//! What a name stands for: a file of the tree, or a text made for the machine that asks.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    os::unix::fs::FileExt as _,
};

use pilotlight_boot::U_BOOT_FOLDER;
use pilotlight_kit::{
    beneath::{BeneathError, Root, relative},
    lab::Current,
};
use pilotlight_tftp::ReadAt;

/// All that is served.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) lab: Current,
    pub(crate) root: Root,
    pub(crate) assets: Option<Root>,
}

/// Something to send, and how long it is.
#[derive(Debug)]
pub(crate) enum Content {
    File(File, u64),
    Rendered(Vec<u8>),
}

impl Files {
    /// Finds what `name` stands for, as it came from the network.
    pub(crate) fn open(&self, name: &[u8]) -> Result<Content, BeneathError> {
        let name = relative(name);
        if let Some(text) = std::str::from_utf8(name).ok().and_then(|name| self.render(name)) {
            return Ok(Content::Rendered(text.into_bytes()));
        }
        // U-Boot takes what its configuration names for beside it.
        let asset = name.strip_prefix(U_BOOT_FOLDER.as_bytes()).unwrap_or(name).strip_prefix(b"assets/");
        let opened = match (&self.assets, asset) {
            (Some(assets), Some(name)) => assets.file(name)?,
            _ => self.root.file(name)?,
        };
        Ok(Content::File(opened.file, opened.length))
    }

    fn render(&self, name: &str) -> Option<String> {
        let lab = self.lab.now();
        if let Some(name) = name.strip_prefix("pxelinux.cfg/") {
            return pilotlight_boot::pxelinux_config(&lab, name);
        }
        if let Some(name) =
            name.strip_prefix(U_BOOT_FOLDER).and_then(|name| name.strip_prefix("pxelinux.cfg/"))
        {
            return pilotlight_boot::u_boot_config(&lab, name);
        }
        if name == "autoexec.ipxe" {
            return Some(pilotlight_boot::autoexec_ipxe(&lab));
        }
        pilotlight_boot::grub_config(&lab, name)
    }
}

impl Content {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::File(_, length) => *length,
            Self::Rendered(text) => text.len() as u64,
        }
    }
}

impl ReadAt for Content {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file, _) => file.read_at(into, offset),
            Self::Rendered(text) => text.read_at(offset, into),
        }
    }

    fn read_vectored_at(&self, offset: u64, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Self::File(file, _) => Ok(rustix::io::preadv(file, into, offset)?),
            Self::Rendered(text) => text.read_vectored_at(offset, into),
        }
    }
}

/// A name from the network for an event: printable, and not longer than a line.
pub(crate) fn printable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars().take(256).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}
