//! The keys on the disk: one file that is written whole, flushed, and only then has its name.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::Context as _;
use pilotlight_kit::keep;
use pilotlight_pki::Authority;

const NAME: &str = "authority.json";
/// What could not be read, when a backup takes its place.
const DAMAGED: &str = "authority.damaged";

/// The authority that was kept in `folder`, if any. One that cannot be read is an error and never made anew: all that
/// it signed would be worth nothing.
pub(crate) fn load(folder: &Path) -> anyhow::Result<Option<Authority>> {
    let path = folder.join(NAME);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let authority = Authority::unpack(&bytes)
        .with_context(|| format!("{} is damaged: a backup has to be restored", path.display()))?;
    Ok(Some(authority))
}

/// Keeps what cannot be read beside what will take its place. It keeps its name until then: without a file of that name
/// another authority would be made.
pub(crate) fn set_aside(folder: &Path) -> anyhow::Result<()> {
    let aside = || {
        let (damaged, aside) = (folder.join(NAME), folder.join(DAMAGED));
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match fs::hard_link(damaged, aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    };
    aside().with_context(|| format!("cannot keep what is damaged in {}", folder.display()))
}

/// Keeps it in `folder`, which nobody else may look into. When this returns, a power cut does not lose it.
pub(crate) fn save(folder: &Path, authority: &Authority) -> anyhow::Result<()> {
    write(folder, &authority.pack()?).with_context(|| format!("cannot keep the keys in {}", folder.display()))
}

fn write(folder: &Path, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    keep::replace(&folder.join(NAME), bytes, 0o600)
}
