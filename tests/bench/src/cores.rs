//! Who runs on which core: a server that shares its core with those who ask cannot be told from a slow one. Where both take
//! turns anyway, one core for both leaves out what it takes to wake another, which differs by the minute.

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Two cores.
pub(crate) struct Cores {
    /// The server's, and that of what it hands its events to.
    pub(crate) server: usize,
    /// The machines'.
    pub(crate) machines: usize,
}

impl Cores {
    /// Takes two of those that this process may use, and puts it on the machines'.
    pub(crate) fn share_out() -> Result<Self> {
        let mut usable = usable()?;
        let two = usable.next().zip(usable.next());
        let (server, machines) =
            two.context("it takes two cores, one for the servers and one for the machines")?;
        let cores = Self { server, machines };
        cores.part()?;
        Ok(cores)
    }

    /// Puts this thread on the server's core.
    pub(crate) fn join(&self) -> Result<()> {
        keep_to(self.server)
    }

    /// Puts this thread on the machines' core.
    pub(crate) fn part(&self) -> Result<()> {
        keep_to(self.machines)
    }

    /// What `start` starts is on the server's core, with all its threads: they have it from this one.
    pub(crate) fn for_a_server<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        self.join()?;
        let started = start();
        self.part()?;
        started
    }
}

fn usable() -> Result<impl Iterator<Item = usize>> {
    let all = sched_getaffinity(None).context("could not ask for the cores")?;
    Ok((0..CpuSet::MAX_CPU).filter(move |core| all.is_set(*core)))
}

fn keep_to(core: usize) -> Result<()> {
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).with_context(|| format!("could not keep to core {core}"))
}
