//! Tells the certificate authority which machines boot: those whose profile arms them by itself may then fetch a token.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use pilotlight_kit::line;
use pilotlight_lab::{Arming, Lab};

/// Machines that may wait to be told of: more than any lab has.
const WAITING: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes: one word.
const LONGEST: u64 = 4096;

/// Whom to tell of what. The log waits for nobody: a thread does it.
#[derive(Debug)]
pub(crate) struct Witness {
    /// The nodes that are armed by themselves.
    nodes: BTreeSet<String>,
    told: SyncSender<String>,
}

impl Witness {
    /// Tells the authority at `socket` of the nodes of `lab` that are armed by themselves; of none where there is no cluster.
    pub(crate) fn start(lab: &Lab, socket: PathBuf) -> io::Result<Self> {
        let by_itself = lab.nodes.iter().filter(|node| {
            let profile = node.profile.as_ref().and_then(|name| lab.profiles.get(name));
            lab.kubernetes.is_some() && profile.is_some_and(|profile| profile.arming == Arming::Itself)
        });
        let nodes = by_itself.map(|node| node.name.clone()).collect();
        let (told, queue) = sync_channel(WAITING);
        thread::Builder::new().name("witness".to_owned()).spawn(move || tell(&socket, &queue))?;
        Ok(Self { nodes, told })
    }

    /// A node boots. One that cannot be told of is refused its token, and its refusal is in the log.
    pub(crate) fn boots(&self, node: &str) {
        if self.nodes.contains(node) {
            let _ = self.told.try_send(node.to_owned());
        }
    }
}

fn tell(socket: &Path, queue: &Receiver<String>) {
    while let Ok(node) = queue.recv() {
        let line = serde_json::json!({ "ask": "booted", "node": node }).to_string();
        // Who does not hear it hands the node no token, and says so when it asks.
        let _ = line::exchange(socket, Some(line.as_bytes()), PATIENCE, LONGEST);
    }
}
