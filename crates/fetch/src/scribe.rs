//! Writing a file that is to be kept: on a card piece by piece, so that others have their turn.

use std::{
    fs::File,
    io::{self, Write as _},
    thread,
    time::{Duration, Instant},
};

/// How much is written before it is written down, on a card: a cheap one takes a tenth of a second for it.
const PIECE: u64 = 1 << 20;
/// The longest pause after that; else it is as long as the writing took.
const PAUSE: Duration = Duration::from_secs(2);

/// A file that is written from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Scribe {
    file: File,
    /// On a card: how many bytes are not written down yet.
    loose: Option<u64>,
}

impl Scribe {
    /// Goes on where `file` stands.
    pub(crate) fn new(file: File, on_card: bool) -> Self {
        Self { file, loose: on_card.then_some(0) }
    }

    /// The file itself, to be emptied.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        let Some(loose) = &mut self.loose else { return Ok(()) };
        *loose += bytes.len() as u64;
        if *loose >= PIECE {
            *loose = 0;
            let begun = Instant::now();
            self.file.sync_data()?;
            thread::sleep(begun.elapsed().min(PAUSE));
        }
        Ok(())
    }

    /// On a card: has all of it written down.
    pub(crate) fn finish(&self) -> io::Result<()> {
        if self.loose.is_some() { self.file.sync_all() } else { Ok(()) }
    }
}
