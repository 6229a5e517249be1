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
    surroundings::{Tools, daemon},
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

    /// Starts a daemon of ours whose events nobody reads: they go to a file, as a peer's log does. When it is ready is for
    /// the caller to find out.
    pub(crate) fn ours_unheard(&self, name: &str, arguments: &[&str]) -> Result<Peer> {
        self.start(Command::new(daemon(name)?), name, arguments)
    }

    /// Starts a peer; it stays in the foreground. When it is ready is for the caller to find out.
    pub(crate) fn peer(&self, name: &str, arguments: &[&str]) -> Result<Peer> {
        self.start(self.peers.command(name)?, name, arguments)
    }

    /// Starts `command` at the server's end; what it says goes to a file in the folder.
    pub(crate) fn start(&self, mut command: Command, name: &str, arguments: &[&str]) -> Result<Peer> {
        let path = self.folder().join(format!("{name}.log"));
        let log = fs::File::options().create(true).append(true).open(&path)?;
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        end_with_this_thread(&mut command);
        self.cable.on_server_side(&mut command)?;
        let mut peer = Peer::start(command)?;
        peer.log = Some(path);
        Ok(peer)
    }
}

/// A running peer; dropping it ends it.
pub(crate) struct Peer {
    child: Child,
    log: Option<PathBuf>,
}

impl Peer {
    /// Starts what `command` says, as it says.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("could not start {name}"))?;
        Ok(Self { child, log: None })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        self.log.as_ref().and_then(|log| fs::read_to_string(log).ok()).unwrap_or_default()
    }

    /// Fails unless it is still running.
    pub(crate) fn must_be_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server has ended: {status}"),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = wait(&mut self.child, Duration::from_secs(5));
    }
}
