//! A thread that speaks to the certificate authority, so that the one which serves all connections does not wait for it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use mio::Waker;
use pilotlight_kit::line;
use pilotlight_pki::{Answer, LONGEST_LINE, Question};

use crate::readers::Name;

/// Questions that may wait. The authority answers some hundred in a second.
const WAITING: usize = 1024;
/// How long the authority may take: it seals a backup in a second or two, and answers nobody meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
const STACK: usize = 256 * 1024;

/// The thread, and what it has to say.
#[derive(Debug)]
pub(crate) struct Consult {
    wanted: SyncSender<(Name, Question)>,
    done: Receiver<(Name, io::Result<Answer>)>,
}

impl Consult {
    /// Starts the thread. `waker` is woken when an answer is here.
    pub(crate) fn start(waker: Arc<Waker>, socket: PathBuf) -> io::Result<Self> {
        let (wanted, queue) = sync_channel(WAITING);
        let (say, done) = channel();
        let thread = thread::Builder::new().name("consult".to_owned()).stack_size(STACK);
        thread.spawn(move || ask_on(&socket, &queue, &say, &waker))?;
        Ok(Self { wanted, done })
    }

    /// Has a question asked for `name`; not when too many wait already.
    pub(crate) fn ask(&self, question: Question, name: Name) -> bool {
        self.wanted.try_send((name, question)).is_ok()
    }

    /// What was answered since the last time.
    pub(crate) fn done(&self) -> impl Iterator<Item = (Name, io::Result<Answer>)> {
        self.done.try_iter()
    }
}

fn ask_on(
    socket: &Path,
    queue: &Receiver<(Name, Question)>,
    say: &Sender<(Name, io::Result<Answer>)>,
    waker: &Waker,
) {
    while let Ok((name, question)) = queue.recv() {
        if say.send((name, ask(socket, &question))).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

fn ask(socket: &Path, question: &Question) -> io::Result<Answer> {
    let line = serde_json::to_vec(question)?;
    let said = line::exchange(socket, Some(&line), PATIENCE, LONGEST_LINE as u64)?;
    // What it says may be a secret: where the mistake is will do.
    serde_json::from_slice(&said).map_err(|fault| {
        io::Error::new(io::ErrorKind::InvalidData, format!("its answer is wrong at byte {}", fault.column()))
    })
}
