//! Bodies: a text in memory, or a part of a file, read ahead by one piece.

use std::{
    fs::File,
    io,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

/// Bytes read at a time: large enough that the cost of each piece does not count, small enough that many
/// downloads fit into a Pi's memory.
const PIECE: u64 = 256 * 1024;

/// What an answer carries.
#[derive(Debug)]
pub(crate) enum Content {
    Text(Bytes),
    File(Pieces),
}

/// A part of a file on its way.
#[derive(Debug)]
pub(crate) struct Pieces {
    file: Arc<File>,
    /// What was not asked of the disk yet.
    unread: Range<u64>,
    /// What was not handed on yet.
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Content {
    pub(crate) fn file(file: File, part: Range<u64>) -> Self {
        let left = part.end.saturating_sub(part.start);
        Self::File(Pieces { file: Arc::new(file), unread: part, left, reading: None })
    }

    /// Bytes that are still to come.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File(pieces) => pieces.left,
        }
    }
}

impl Pieces {
    fn read_ahead(&mut self) {
        if self.unread.is_empty() {
            return;
        }
        let start = self.unread.start;
        let length = (self.unread.end - start).min(PIECE);
        self.unread.start += length;
        let file = Arc::clone(&self.file);
        self.reading = Some(tokio::task::spawn_blocking(move || read(&file, start, length as usize)));
    }
}

fn read(file: &File, mut offset: u64, length: usize) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(length);
    while piece.len() < length {
        let count = match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut piece), offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        offset += count as u64;
    }
    // The allocator may have given more room than was asked for.
    piece.truncate(length);
    Ok(piece.into())
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let pieces = match self.get_mut() {
            Self::Text(text) if text.is_empty() => return Poll::Ready(None),
            Self::Text(text) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Self::File(pieces) => pieces,
        };
        if pieces.reading.is_none() {
            pieces.read_ahead();
        }
        let Some(reading) = &mut pieces.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(context)).map_err(io::Error::other).flatten();
        pieces.reading = None;
        if let Ok(piece) = &read {
            pieces.left = pieces.left.saturating_sub(piece.len() as u64);
            pieces.read_ahead();
        }
        Poll::Ready(Some(read.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}
