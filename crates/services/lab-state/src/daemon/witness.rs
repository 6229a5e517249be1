//! Tells the certificate authority which machines start: those whose profile arms them by themselves, or when the Pi has
//! switched them on, may then fetch a token.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use pilotlight_kit::line;
use pilotlight_lab::{Arming, Lab, Node};
use pilotlight_lab_state::Start;

/// Machines that may wait to be told of: more than any lab has.
const WAITING: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes: one word.
const LONGEST: u64 = 4096;

/// Whom to tell of what. The log waits for nobody: a thread does it.
#[derive(Debug)]
pub(crate) struct Witness {
    /// The nodes that are armed by what is seen of them, and by what of it.
    nodes: BTreeMap<String, Start>,
    told: SyncSender<(Start, String)>,
}

impl Witness {
    /// Tells the authority at `socket` of the nodes of `lab` that are armed by what is seen of them; of none where there is
    /// no cluster.
    pub(crate) fn start(lab: &Lab, socket: PathBuf) -> io::Result<Self> {
        let armed_by = |node: &Node| {
            let profile = lab.profiles.get(node.profile.as_ref()?)?;
            match profile.arming {
                Arming::Itself => Some(Start::Booted),
                Arming::PowerCycle => Some(Start::SwitchedOn),
                Arming::Operator => None,
            }
        };
        let nodes = lab.nodes.iter().filter(|_| lab.kubernetes.is_some());
        let nodes = nodes.filter_map(|node| Some((node.name.clone(), armed_by(node)?))).collect();
        let (told, queue) = sync_channel(WAITING);
        thread::Builder::new().name("witness".to_owned()).spawn(move || tell(&socket, &queue))?;
        Ok(Self { nodes, told })
    }

    /// A node starts. One that cannot be told of is refused its token, and its refusal is in the log.
    pub(crate) fn saw(&self, start: Start, node: &str) {
        if self.nodes.get(node) == Some(&start) {
            let _ = self.told.try_send((start, node.to_owned()));
        }
    }
}

fn tell(socket: &Path, queue: &Receiver<(Start, String)>) {
    while let Ok((start, node)) = queue.recv() {
        let ask = match start {
            Start::Booted => "booted",
            Start::SwitchedOn => "switched-on",
        };
        let line = serde_json::json!({ "ask": ask, "node": node }).to_string();
        // Who does not hear it hands the node no token, and says so when it asks.
        let _ = line::exchange(socket, Some(line.as_bytes()), PATIENCE, LONGEST);
    }
}
