//! Files that the builder leaves, each told by its place when it cannot be written.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::Context as _;

/// Writes a file into a folder that nobody else looks into yet, and the folders above it.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
    fs::create_dir_all(folder(path))
        .and_then(|()| fs::write(path, content))
        .with_context(|| cannot_write(path))
}

/// Writes a file whole, in the place of what was there.
pub(crate) fn replace(path: &Path, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let put = || {
        let mut file = tempfile::NamedTempFile::new_in(folder(path))?;
        file.write_all(content.as_ref())?;
        // As any file that a person makes; a temporary one is its owner's alone.
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        file.persist(path).map(drop).map_err(|fault| fault.error)
    };
    put().with_context(|| cannot_write(path))
}

/// The folder that a file lies in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
