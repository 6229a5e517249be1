//! The card as QEMU wants it: a work copy that may be written to, padded to a power of two.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

use rustix::{
    fs::{SeekFrom, copy_file_range, seek},
    io::Errno,
};

use crate::QemuError;

/// Copies the image `from` to `to`, leaving its holes holes, and makes it as long as the next power of two: QEMU
/// refuses an SD card of another size.
pub fn work_copy(from: &Path, to: &Path) -> Result<(), QemuError> {
    let source = File::open(from).map_err(QemuError::file("read", from))?;
    let target = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(to)
        .map_err(QemuError::file("write", to))?;
    copy(&source, &target).map_err(QemuError::file("copy the card to", to))
}

fn copy(source: &File, target: &File) -> io::Result<()> {
    let length = source.metadata()?.len();
    target.set_len(length.checked_next_power_of_two().ok_or(io::ErrorKind::FileTooLarge)?)?;
    let mut position = 0;
    loop {
        let start = match seek(source, SeekFrom::Data(position)) {
            Ok(start) => start,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => return Ok(()),
            Err(fault) => return Err(fault.into()),
        };
        position = seek(source, SeekFrom::Hole(start))?;
        copy_extent(source, target, start, position)?;
    }
}

fn copy_extent(source: &File, target: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let left = usize::try_from(end - read_at).unwrap_or(usize::MAX);
        match copy_file_range(source, Some(&mut read_at), target, Some(&mut write_at), left) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            // Two file systems that cannot hand over between them.
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                return copy_through_memory(source, target, read_at, end);
            }
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(())
}

fn copy_through_memory(source: &File, target: &File, start: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let mut buffer = vec![0; 1 << 20];
    let mut position = start;
    while position < end {
        let length = buffer.len().min(usize::try_from(end - position).unwrap_or(usize::MAX));
        source.read_exact_at(&mut buffer[..length], position)?;
        target.write_all_at(&buffer[..length], position)?;
        position += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{FileExt as _, MetadataExt as _},
    };

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let image = File::create(&from).unwrap();
        image.set_len(40 << 20).unwrap();
        image.write_all_at(b"first", 0).unwrap();
        image.write_all_at(b"second", 17 << 20).unwrap();
        fs::write(&to, b"an older one").unwrap();
        work_copy(&from, &to).unwrap();
        let copied = fs::read(&to).unwrap();
        assert_eq!(copied.len(), 64 << 20);
        assert_eq!(copied[..40 << 20], fs::read(&from).unwrap());
        assert!(copied[40 << 20..].iter().all(|byte| *byte == 0));
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 4 << 20, "the holes were filled");

        copy_through_memory(
            &image_for_reading(&from),
            &File::options().write(true).open(&to).unwrap(),
            0,
            64,
        )
        .unwrap();
    }

    fn image_for_reading(path: &Path) -> File {
        File::open(path).unwrap()
    }

    #[test]
    fn a_missing_card_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let fault = work_copy(&folder.path().join("none.img"), &folder.path().join("to")).unwrap_err();
        assert!(fault.to_string().contains("none.img"), "{fault}");
    }
}
