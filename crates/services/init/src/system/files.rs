//! Small files, written so that a power cut leaves the old one or the new one.

use std::{
    fs::{self, DirBuilder, File},
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::Fault;

/// The last part of a path.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Makes a folder and those above it, mode 755.
pub(crate) fn folder(path: &Path) -> Result<(), Fault> {
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(Fault::file("make the folder", path))
}

/// Reads a file of at most `most` bytes.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(Fault::file("read", path))?;
    if bytes.len() as u64 > most {
        return Err(Fault::Content { path: path.to_owned(), reason: format!("longer than {most} bytes") });
    }
    Ok(bytes)
}

/// Reads a text of at most `most` bytes.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String, Fault> {
    String::from_utf8(read(path, most)?)
        .map_err(|fault| Fault::Content { path: path.to_owned(), reason: fault.to_string() })
}

/// Replaces a file in one step: the new content is on the disk before the name points to it.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Fault> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Fault::Content { path: path.to_owned(), reason: "no file can be here".to_owned() });
    };
    self::folder(folder)?;
    let mut temporary = name.to_owned();
    temporary.push(".new");
    let temporary = folder.join(temporary);
    let write = || {
        let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(Fault::file("write", path))
}

/// Writes a file in memory, where no power cut leaves anything.
pub(crate) fn write(path: &Path, content: &str) -> Result<(), Fault> {
    if let Some(folder) = path.parent() {
        self::folder(folder)?;
    }
    fs::write(path, content).map_err(Fault::file("write", path))
}
