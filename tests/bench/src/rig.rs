//! What every subject stands on: the cable, a folder, our daemons and their peers at the server's end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use pilotlight_tests::{
    daemon::Daemon,
    namespace::Cable,
    process::{end_with_this_thread, wait},
    surroundings::Tools,
};

/// The cable and what is at its ends.
pub(crate) struct Rig {
    pub(crate) cable: Cable,
    /// Other people's clients.
    pub(crate) clients: Tools,
    /// Other people's servers.
    pub(crate) peers: Tools,
    folder: tempfile::TempDir,
}

impl Rig {
    /// Lays the cable, with this process at the clients' end. First thing in a subject, before any thread.
    pub(crate) fn set() -> Result<Self> {
        let (clients, peers) = (Tools::clients()?, Tools::peers()?);
        let cable = Cable::lay(&clients)?;
        let folder =
            tempfile::Builder::new().prefix("bench-").tempdir().context("could not make a folder")?;
        Ok(Self { cable, clients, peers, folder })
    }

    /// The folder of this subject.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file with this content in the folder.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.folder().join(name);
        fs::write(&path, content).with_context(|| format!("could not write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a daemon of ours and waits until it is ready.
    pub(crate) fn ours(&self, name: &str, arguments: &[&str]) -> Result<Daemon> {
        Daemon::start(Some(&self.cable), name, name, arguments, self.folder())
    }

    /// Starts a peer; it stays in the foreground. When it is ready is for the caller to find out.
    pub(crate) fn peer(&self, name: &str, arguments: &[&str]) -> Result<Peer> {
        let mut command = self.peers.command(name)?;
        let log = fs::File::create(self.folder().join(format!("{name}.log")))?;
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        end_with_this_thread(&mut command);
        self.cable.on_server_side(&mut command)?;
        Peer::start(command)
    }
}

/// A running peer; dropping it ends it.
pub(crate) struct Peer(Child);

impl Peer {
    /// Starts what `command` says, as it says.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("could not start {name}"))?))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Fails unless it is still running.
    pub(crate) fn must_be_alive(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server has ended: {status}"),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = wait(&mut self.0, Duration::from_secs(5));
    }
}
