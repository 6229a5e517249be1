//! The link: Fast Ethernet between the two ends, and what went over it.

use std::{fs, io::Write as _, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use pilotlight_tests::{
    herd::POOL_NETWORK,
    namespace::{CLIENT, Cable, SERVER},
    process,
    surroundings::Tools,
};

/// Bits in a second.
pub(crate) const RATE: f64 = 100e6;
/// Preamble, frame check sequence and the gap between two frames, in bytes (IEEE 802.3).
pub(crate) const BESIDE_A_FRAME: u64 = 8 + 4 + 12;
const LIMIT: Duration = Duration::from_secs(30);
/// The pool's network has so many groups of 256 addresses, of which this is the first one's third byte.
const GROUPS: u32 = 8;
const FIRST_GROUP: u32 = 8;

/// Shapes both ends of `cable`. Frames are cut before they are counted, as a network card without offloading sees them.
///
/// At the services' end machines take turns, as on the card, whose queue (`fq`) has a line for each stream. Few kernels that
/// tests run on have it, so there is a class for each address instead.
pub(crate) fn shape(cable: &Cable, clients: &Tools) -> Result<()> {
    for (at_server, interface, queues) in [(true, SERVER, turns(SERVER)), (false, CLIENT, String::new())] {
        let run = |program: &str, words: &str| -> Result<()> {
            let mut command: Command = clients.command(program)?;
            command.args(words.split_ascii_whitespace());
            if at_server {
                cable.on_server_side(&mut command)?;
            }
            process::must(&mut command, LIMIT).map(drop)
        };
        run("ip", &format!("link set {interface} gso_max_segs 1"))?;
        let mut batch = tempfile::NamedTempFile::new().context("could not make a file for tc")?;
        let link = format!(
            "qdisc add dev {interface} root handle 1: htb default 2\n\
             class add dev {interface} parent 1: classid 1:1 htb rate 100mbit burst 3000 cburst 3000 {COUNTED}\n\
             class add dev {interface} parent 1:1 classid 1:2 htb rate 1mbit ceil 100mbit {COUNTED}\n"
        );
        batch.write_all((link + &queues).as_bytes()).context("could not write what tc is to do")?;
        run("tc", &format!("-batch {}", batch.path().display()))?;
    }
    Ok(())
}

/// How `htb` counts frames: with what goes with each ([`BESIDE_A_FRAME`]), and one a turn.
const COUNTED: &str = "quantum 1514 overhead 24";

/// For each address of the pool's network a class, found by the last eleven bits of where a packet goes.
fn turns(interface: &str) -> String {
    let filter = format!("filter add dev {interface} parent 1: protocol ip prio 1");
    let mut text = format!(
        "{filter} handle 100: u32 divisor {GROUPS}\n\
         {filter} u32 ht 800:: match ip dst {POOL_NETWORK} hashkey mask 0x700 at 16 link 100:\n"
    );
    for group in 0..GROUPS {
        let (table, network) = (0x200 + group, format!("10.77.{}", FIRST_GROUP + group));
        text += &format!(
            "{filter} handle {table:x}: u32 divisor 256\n\
             {filter} u32 ht 100:{group:x}: match ip dst {network}.0/24 hashkey mask 0xff at 16 link {table:x}:\n"
        );
        for host in 0..256 {
            let class = 0x100 + group * 256 + host;
            text += &format!(
                "class add dev {interface} parent 1:1 classid 1:{class:x} htb rate 50kbit ceil 100mbit {COUNTED}\n\
                 {filter} u32 ht {table:x}:{host:x}: match ip dst {network}.{host} flowid 1:{class:x}\n"
            );
        }
    }
    text
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

/// For how long the wire is busy with so many bytes of a TCP stream, in seconds: full segments with timestamps, and what goes
/// with each frame.
pub(crate) fn seconds(bytes: u64) -> f64 {
    const SEGMENT: u64 = 1448;
    const HEADERS: u64 = 14 + 20 + 32;
    let frames = bytes.div_ceil(SEGMENT);
    Traffic { bytes: bytes + frames * HEADERS, frames }.seconds()
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
