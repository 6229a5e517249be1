//! A part of a card as a value: some runs of bytes with holes between them.

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf};

use bytes::Bytes;

use crate::Digest;

/// The content of a partition. What no extent covers is a hole: it reads as zeros in the image, and a card may
/// keep there what it held before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sparse {
    /// The length of the whole in bytes.
    len: u64,
    /// Ascending, without overlap.
    extents: Vec<Extent>,
}

/// A run of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte, from the start of the whole.
    pub offset: u64,
    /// What it holds.
    pub content: Content,
}

/// What a run of bytes holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// This many zeros, which must be zeros on the card too.
    Zeros(u64),
    /// A file's whole content.
    File(Blob),
}

/// A file that is ready to be copied: its bytes are looked at once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// SHA-256 of its content.
    pub sha256: Digest,
}

impl Blob {
    /// The file at `path`, read once for its digest. Where that is known already, fill in the fields instead.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let (sha256, len) = Digest::of_file(&path)?;
        Ok(Self { path, len, sha256 })
    }
}

impl Content {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(len) => *len,
            Self::File(blob) => blob.len,
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Extent {
    /// The byte after its last one.
    pub fn end(&self) -> u64 {
        self.offset + self.content.len()
    }
}

impl Sparse {
    /// Nothing but a hole of `len` bytes.
    pub fn new(len: u64) -> Self {
        Self { len, extents: Vec::new() }
    }

    /// Nothing but `content`, followed by a hole up to `len` bytes.
    pub fn starting_with(content: Content, len: u64) -> Self {
        let mut sparse = Self::new(len.max(content.len()));
        sparse.push(0, content);
        sparse
    }

    /// Adds a run behind all others; an empty one is left out.
    ///
    /// # Panics
    /// When it overlaps the one before or reaches beyond the end: the caller has miscounted.
    pub(crate) fn push(&mut self, offset: u64, content: Content) {
        let extent = Extent { offset, content };
        assert!(offset >= self.end_of_content() && extent.end() <= self.len, "an extent is misplaced");
        if !extent.content.is_empty() {
            self.extents.push(extent);
        }
    }

    /// The length of the whole in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no length.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The runs, ascending.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// How many bytes the runs hold.
    pub fn content_len(&self) -> u64 {
        self.extents.iter().map(|extent| extent.content.len()).sum()
    }

    fn end_of_content(&self) -> u64 {
        self.extents.last().map_or(0, Extent::end)
    }
}

/// Something that can be read at any place; nothing is there beyond its end.
pub trait ReadAt {
    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// An end before `buf` is full, or a fault of the medium.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self.get(start..).and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for File {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, offset)
    }
}

impl ReadAt for Sparse {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        let first = self.extents.partition_point(|extent| extent.end() <= offset);
        for extent in self.extents[first..].iter().take_while(|extent| extent.offset < end) {
            let (from, to) = (extent.offset.max(offset), extent.end().min(end));
            let target = &mut buf[(from - offset) as usize..(to - offset) as usize];
            let inside = from - extent.offset;
            match &extent.content {
                Content::Bytes(bytes) => bytes.read_exact_at(inside, target)?,
                Content::Zeros(_) => {}
                Content::File(blob) => FileExt::read_exact_at(&File::open(&blob.path)?, target, inside)?,
            }
        }
        Ok(())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, buf)
    }
}

/// A window onto something larger.
#[derive(Debug)]
pub struct Window<T> {
    inner: T,
    start: u64,
    len: u64,
}

impl<T: ReadAt> Window<T> {
    /// The `len` bytes of `inner` from `start` on.
    pub fn new(inner: T, start: u64, len: u64) -> Self {
        Self { inner, start, len }
    }
}

impl<T: ReadAt> ReadAt for Window<T> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let inside = offset.checked_add(buf.len() as u64).is_some_and(|end| end <= self.len);
        let start = self.start.checked_add(offset).filter(|_| inside).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.inner.read_exact_at(start, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_zeros_read_as_zeros() {
        let mut sparse = Sparse::new(10);
        sparse.push(1, Content::Bytes(Bytes::from_static(b"ab")));
        sparse.push(3, Content::Zeros(2));
        sparse.push(6, Content::Bytes(Bytes::from_static(b"cd")));
        let check = |offset, len: usize, expect: Option<&[u8]>| {
            let mut buf = vec![9; len];
            let read = sparse.read_exact_at(offset, &mut buf).ok().map(|()| buf);
            assert_eq!(read.as_deref(), expect, "{offset}+{len}");
        };
        check(0, 10, Some(b"\0ab\0\0\0cd\0\0"));
        check(2, 5, Some(b"b\0\0\0c"));
        check(8, 2, Some(b"\0\0"));
        check(8, 3, None);
        check(u64::MAX, 1, None);
        assert_eq!(sparse.content_len(), 6);
        let mut buf = [0; 2];
        assert!(Window::new(&sparse, 6, 2).read_exact_at(0, &mut buf).is_ok());
        assert_eq!(&buf, b"cd");
        assert!(Window::new(&sparse, 6, 2).read_exact_at(1, &mut buf).is_err());
    }
}
