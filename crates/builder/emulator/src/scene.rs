//! A scene: machines on one wire, their consoles and the traffic, and what is left of them when it fails.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    Machine, Qemu, QemuError, Serial,
    console::{Heard, NotHeard},
    hub::Hub,
    pc::Pc,
    pi::{Pi, Wire},
    router,
};

/// How many of each console's last lines a failure shows.
const SHOWN_LINES: usize = 30;

/// Machines on one wire. Dropping it ends them all.
#[derive(Debug)]
pub struct Scene {
    folder: PathBuf,
    qemu: Qemu,
    // Machines end before the hub does, the hub before its socket's folder goes.
    machines: Vec<Machine>,
    hub: Hub,
    _socket: tempfile::TempDir,
    slowness: f64,
}

/// Why a scene cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// The wire or the folder could not be set up.
    #[error("could not set the scene up in {folder}")]
    Setup {
        /// The scene's folder.
        folder: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// A machine could not be started.
    #[error(transparent)]
    Machine(#[from] QemuError),
    /// There is no such machine.
    #[error("the scene has no machine {0:?} with a console")]
    Unknown(String),
    /// Nothing can be typed there.
    #[error("cannot type on the console of the machine {machine}")]
    Deaf {
        /// The machine.
        machine: String,
        /// How it failed.
        source: io::Error,
    },
    /// Something did not come.
    #[error("{machine}: {what} {reason}; consoles and traffic are in {folder}\n{tail}")]
    Missed {
        /// The machine that was listened to.
        machine: String,
        /// What was waited for.
        what: String,
        /// Why the wait ended.
        reason: NotHeard,
        /// The scene's folder.
        folder: PathBuf,
        /// The last lines of all consoles.
        tail: String,
    },
}

impl Scene {
    /// Sets up an empty scene with its wire. Logs and the recorded traffic (`wire.pcap`) go to `folder`, in place
    /// of what is there from the last time.
    pub fn set_up(folder: &Path, qemu: &Qemu) -> Result<Self, SceneError> {
        let fault = |source| SceneError::Setup { folder: folder.to_owned(), source };
        match fs::remove_dir_all(folder) {
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome.map_err(fault)?,
        }
        fs::create_dir_all(folder).map_err(fault)?;
        // Not in `folder`: a socket's path may be 107 bytes long at most.
        let socket = tempfile::Builder::new().prefix("wire-").tempdir().map_err(fault)?;
        let hub = Hub::start(&socket.path().join("hub"), Some(&folder.join("wire.pcap"))).map_err(fault)?;
        Ok(Self {
            folder: folder.to_owned(),
            qemu: qemu.clone(),
            machines: Vec::new(),
            hub,
            _socket: socket,
            slowness: slowness(),
        })
    }

    /// The scene's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The wire.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Starts a Pi; on the scene's wire, unless `pi.wire` names another one.
    pub fn start_pi(&mut self, pi: &Pi<'_>) -> Result<(), SceneError> {
        let pi = Pi { wire: pi.wire.or(Some(Wire::Hub(self.hub.path()))), ..pi.clone() };
        self.machines.push(pi.start(&self.qemu, &Serial::Captured(self.folder.clone()))?);
        Ok(())
    }

    /// Puts a router on the scene's wire that gives out addresses and knows nothing of booting. `is_way_out`: whether
    /// through it machines reach what this one does.
    pub fn start_router(&mut self, is_way_out: bool) -> Result<(), SceneError> {
        let serial = Serial::Captured(self.folder.clone());
        self.machines.push(router::start(&self.qemu, self.hub.path(), is_way_out, &serial)?);
        Ok(())
    }

    /// Starts a PC on the scene's wire; `pc.hub` is set here.
    pub fn start_pc(&mut self, pc: &Pc<'_>) -> Result<(), SceneError> {
        let pc = Pc { hub: self.hub.path(), ..pc.clone() };
        self.machines.push(pc.start(&self.qemu, &self.folder, &Serial::Captured(self.folder.clone()))?);
        Ok(())
    }

    /// Waits until `find` finds what it wants in all that `machine` has said so far.
    ///
    /// `patience` is for an idle machine of the kind this was written on; a slower or busier one gets more.
    /// It is there to end a failed scene, not to be met.
    pub fn wait<T>(
        &self,
        machine: &str,
        what: &str,
        patience: Duration,
        find: impl FnMut(&Heard) -> Option<T>,
    ) -> Result<T, SceneError> {
        let console = self.machines.iter().find(|known| known.name() == machine).and_then(Machine::console);
        let console = console.ok_or_else(|| SceneError::Unknown(machine.to_owned()))?;
        console.wait(patience.mul_f64(self.slowness), find).map_err(|reason| SceneError::Missed {
            machine: machine.to_owned(),
            what: what.to_owned(),
            reason,
            folder: self.folder.clone(),
            tail: self.tail(),
        })
    }

    /// Waits for a line of `machine`'s that contains `text`, and gives it.
    pub fn wait_for(&self, machine: &str, text: &str, patience: Duration) -> Result<String, SceneError> {
        let what = format!("a line with {text:?}");
        self.wait(machine, &what, patience, |heard| {
            heard.lines.iter().find(|line| line.text.contains(text)).map(|line| line.text.clone())
        })
    }

    /// Types `text` on `machine`'s console.
    pub fn type_text(&mut self, machine: &str, text: &str) -> Result<(), SceneError> {
        let found = self.machines.iter_mut().find(|known| known.name() == machine);
        let found = found.ok_or_else(|| SceneError::Unknown(machine.to_owned()))?;
        found.type_text(text).map_err(|source| SceneError::Deaf { machine: machine.to_owned(), source })
    }

    /// All that `machine` has said so far.
    pub fn heard<T>(&self, machine: &str, look: impl FnOnce(&Heard) -> T) -> Result<T, SceneError> {
        let console = self.machines.iter().find(|known| known.name() == machine).and_then(Machine::console);
        console.map(|console| look(&console.heard())).ok_or_else(|| SceneError::Unknown(machine.to_owned()))
    }

    /// A machine by its name.
    pub fn machine(&mut self, name: &str) -> Option<&mut Machine> {
        self.machines.iter_mut().find(|machine| machine.name() == name)
    }

    /// Ends a machine at once, as pulling its plug would.
    pub fn end(&mut self, name: &str) {
        self.machines.retain(|machine| machine.name() != name);
    }

    /// The last lines of all consoles.
    pub fn tail(&self) -> String {
        let mut tail = String::new();
        for machine in &self.machines {
            let Some(console) = machine.console() else { continue };
            let heard = console.heard();
            let ended = if heard.closed { ", which has ended" } else { "" };
            let _ = writeln!(tail, "--- {}{ended}", machine.name());
            for line in &heard.lines[heard.lines.len().saturating_sub(SHOWN_LINES)..] {
                let _ = writeln!(tail, "{:9.3} {}", line.at.as_secs_f64(), line.text);
            }
        }
        let _ = write!(tail, "--- wire: {:?}", self.hub.counters());
        tail
    }
}

/// How much slower this machine is right now than the idle one on which the scenes were written, from 1 to 8.
fn slowness() -> f64 {
    /// What the loop below took there.
    const REFERENCE: Duration = Duration::from_millis(60);
    let start = Instant::now();
    let mut random = crate::fault::Random::new(0);
    let mut sum = 0_u64;
    for _ in 0..20_000_000 {
        sum ^= random.next_u64();
    }
    std::hint::black_box(sum);
    (start.elapsed().as_secs_f64() / REFERENCE.as_secs_f64()).clamp(1.0, 8.0)
}
