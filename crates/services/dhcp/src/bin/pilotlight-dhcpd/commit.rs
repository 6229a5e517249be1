//! The thread that writes leases down, so that an OFFER never waits for the card: it takes all that came in
//! while it was writing and makes one commit of it.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel},
    },
    thread::JoinHandle,
};

use anyhow::Context as _;
use pilotlight_dhcp::{server::Outgoing, store::Change};
use pilotlight_kit::{Event, Events, event::since_power_on_ms};
use rustix::event::EventfdFlags;

use crate::journal::{Restored, Store};

/// How many leases may wait for the card. More than that, and clients ask again.
const QUEUE: usize = 4096;

/// A lease to write, and what is to be done when it is written.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) change: Change,
    pub(crate) reply: Option<Outgoing>,
    pub(crate) events: Vec<Event>,
}

/// What the thread has to say.
#[derive(Debug)]
pub(crate) enum News {
    /// The leases are on the card.
    Written(Vec<Job>),
    /// They are not, and why.
    Failed(Vec<Job>, String),
    /// Leases from before the start, read only now.
    Found(Vec<Restored>),
}

/// The thread and the ways to it.
#[derive(Debug)]
pub(crate) struct Committer {
    jobs: Option<SyncSender<Job>>,
    news: Receiver<News>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub(crate) fn start(store: Store, events: Arc<Events>) -> anyhow::Result<Self> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = Arc::new(wake.context("make an event descriptor")?);
        let (jobs, todo) = sync_channel(QUEUE);
        let (results, news) = channel();
        let bell = Arc::clone(&wake);
        let thread = std::thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || work(store, &events, &todo, &results, &bell))
            .context("start the thread that writes leases")?;
        Ok(Self { jobs: Some(jobs), news, wake, thread: Some(thread) })
    }

    /// Readable when [`Self::news`] has something.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Hands a job over; gives it back when too many wait already.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Box<Job>> {
        let Some(jobs) = &self.jobs else { return Err(Box::new(job)) };
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }

    /// What happened since this was last asked, in order.
    pub(crate) fn news(&self) -> Vec<News> {
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        self.news.try_iter().collect()
    }
}

impl Drop for Committer {
    /// Waits for what was handed over, and closes the store.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(mut store: Store, events: &Events, todo: &Receiver<Job>, results: &Sender<News>, bell: &OwnedFd) {
    while let Ok(first) = todo.recv() {
        let jobs: Vec<Job> = std::iter::once(first).chain(todo.try_iter().take(QUEUE)).collect();
        let changes: Vec<Change> = jobs.iter().map(|job| job.change).collect();
        let result = store.write(&changes, since_power_on_ms(), events);
        // Nobody listens when the service ends: the leases are on the card all the same.
        let _ = results.send(match result {
            Ok(()) => News::Written(jobs),
            Err(error) => News::Failed(jobs, format!("{error:#}")),
        });
        let found = store.found();
        if !found.is_empty() {
            let _ = results.send(News::Found(found));
        }
        let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
    }
}
