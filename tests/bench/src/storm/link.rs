//! The link: Fast Ethernet between the two ends, and what went over it.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use pilotlight_tests::{
    namespace::{CLIENT, Cable, SERVER},
    process,
    surroundings::Tools,
};

/// Bits in a second.
pub(crate) const RATE: f64 = 100e6;
/// Preamble, frame check sequence and the gap between two frames, in bytes (IEEE 802.3).
pub(crate) const BESIDE_A_FRAME: u64 = 8 + 4 + 12;
/// How many frames wait for the wire, as in Linux (`txqueuelen`).
const QUEUE: u32 = 1000;
const LIMIT: Duration = Duration::from_secs(30);

/// Shapes both ends of `cable`. Frames are cut before they are counted, as a network card without offloading sees them.
pub(crate) fn shape(cable: &Cable, clients: &Tools) -> Result<()> {
    for (at_server, interface) in [(true, SERVER), (false, CLIENT)] {
        let run = |program: &str, words: &str| -> Result<()> {
            let mut command: Command = clients.command(program)?;
            command.args(words.split_ascii_whitespace());
            if at_server {
                cable.on_server_side(&mut command)?;
            }
            process::must(&mut command, LIMIT).map(drop)
        };
        run("ip", &format!("link set {interface} gso_max_segs 1"))?;
        run("tc", &format!("qdisc add dev {interface} root handle 1: htb default 1"))?;
        run(
            "tc",
            &format!(
                "class add dev {interface} parent 1: classid 1:1 htb rate 100mbit burst 3000 cburst 3000 quantum 1514 \
                 overhead {BESIDE_A_FRAME}"
            ),
        )?;
        run("tc", &format!("qdisc add dev {interface} parent 1:1 handle 10: pfifo limit {QUEUE}"))?;
    }
    Ok(())
}

/// Frames and bytes, both ways.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) from_server: Traffic,
    pub(crate) to_server: Traffic,
}

/// Frames and bytes, one way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
}

impl Traffic {
    /// The time that the wire was busy with it, in seconds.
    pub(crate) fn seconds(self) -> f64 {
        ((self.bytes + self.frames * BESIDE_A_FRAME) * 8) as f64 / RATE
    }

    fn since(self, before: Self) -> Self {
        Self { bytes: self.bytes - before.bytes, frames: self.frames - before.frames }
    }
}

impl Count {
    /// What has gone over the clients' end so far.
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/net/dev").context("could not read /proc/net/dev")?;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(CLIENT)?.strip_prefix(':'));
        let fields: Option<Vec<u64>> =
            line.map(|line| line.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect());
        match fields.as_deref() {
            // proc_pid_net(5): bytes and packets received, and eight fields on those sent.
            Some([bytes, frames, _, _, _, _, _, _, sent_bytes, sent_frames, ..]) => Ok(Self {
                from_server: Traffic { bytes: *bytes, frames: *frames },
                to_server: Traffic { bytes: *sent_bytes, frames: *sent_frames },
            }),
            _ => anyhow::bail!("/proc/net/dev has no {CLIENT}"),
        }
    }

    /// What went over since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            from_server: self.from_server.since(before.from_server),
            to_server: self.to_server.since(before.to_server),
        }
    }
}
