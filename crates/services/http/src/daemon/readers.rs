//! Threads that wait for the card, so that the one which serves all connections does not.
//!
//! They read pieces of files and throw away what they read: it is in memory then, and leaves from there.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::File,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use mio::Waker;
use rustix::io::Errno;

/// A card has one queue; a second thread reads on while the first one waits for a bad spot, or unpacks.
const READERS: usize = 2;
/// A reader needs little: the default of some megabytes would be counted against the service.
const STACK: usize = 64 * 1024;

/// A piece to be read.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) file: Arc<File>,
    pub(crate) inode: u64,
    pub(crate) at: u64,
    pub(crate) length: u64,
}

/// A connection's number and generation.
pub(crate) type Name = (usize, u64);

/// A piece that was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) inode: u64,
    pub(crate) at: u64,
    pub(crate) outcome: io::Result<()>,
    /// Who has waited for it.
    pub(crate) waiting: Vec<Name>,
}

/// Which piece, and how reading it went.
type Said = ((u64, u64), io::Result<()>);

/// The threads, and what they have to say.
#[derive(Debug)]
pub(crate) struct Readers {
    wanted: Sender<Piece>,
    done: Receiver<Said>,
    /// Who waits for a piece: a rack that boots wants the same ones at the same time, and each is read once.
    waiting: RefCell<BTreeMap<(u64, u64), Vec<Name>>>,
}

impl Readers {
    /// Starts the threads. `waker` is woken when a piece was read.
    pub(crate) fn start(waker: Arc<Waker>) -> io::Result<Self> {
        let (wanted, queue) = channel();
        let (say, done) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..READERS {
            // Into nothing: the kernel fetches the pages and copies none.
            let nothing = File::options().write(true).open("/dev/null")?;
            let (queue, say, waker) = (Arc::clone(&queue), say.clone(), Arc::clone(&waker));
            let thread = thread::Builder::new().name(format!("reader{number}")).stack_size(STACK);
            thread.spawn(move || read_on(&nothing, &queue, &say, &waker))?;
        }
        Ok(Self { wanted, done, waiting: RefCell::default() })
    }

    /// Has a piece read for `name`, unless that is under way.
    pub(crate) fn read(&self, piece: Piece, name: Name) {
        let mut waiting = self.waiting.borrow_mut();
        let waiting = waiting.entry((piece.inode, piece.at)).or_default();
        waiting.push(name);
        if waiting.len() == 1 {
            // The threads end with the process.
            let _ = self.wanted.send(piece);
        }
    }

    /// What was read since the last time.
    pub(crate) fn done(&self) -> impl Iterator<Item = Read> {
        self.done.try_iter().map(|((inode, at), outcome)| {
            let waiting = self.waiting.borrow_mut().remove(&(inode, at)).unwrap_or_default();
            Read { inode, at, outcome, waiting }
        })
    }
}

fn read_on(nothing: &File, queue: &Mutex<Receiver<Piece>>, say: &Sender<Said>, waker: &Waker) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Piece { file, inode, at, length }) = next else { return };
        let outcome = read(nothing, &file, at, length);
        if say.send(((inode, at), outcome)).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

fn read(nothing: &File, file: &File, mut at: u64, length: u64) -> io::Result<()> {
    let end = at.saturating_add(length);
    while at < end {
        let count = usize::try_from(end - at).unwrap_or(usize::MAX);
        match rustix::fs::sendfile(nothing, file, Some(&mut at), count) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
