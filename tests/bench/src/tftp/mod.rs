//! TFTP: the time that a file of 100 MB takes, and what it costs the server, beside dnsmasq, tftpd-hpa and a server
//! that answers from memory.
//!
//! The client is one of our own and real ones are slower: what is measured is the server as far as possible. All
//! servers run at once, each on an address of its own, and are asked in turn: with a core for the servers and another for the
//! client, as where these are two machines, and with one for both.

mod client;
pub(crate) mod reference;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use client::Terms;
use pilotlight_tests::{namespace::SERVER, process::must};

use crate::{
    cores::Cores,
    figures::{self, Children, median},
    groups,
    rig::{Peer, Rig},
};

/// 100 MB, and the last block is a short one whatever the size of a block is.
const LENGTH: usize = 100_000_001;
const FILE: &str = "large";
/// The smallest lab that there is.
const LAB: &str = "network = { address = \"10.77.0.1/24\" }\n";

const fn terms(block: u16, window: u16, hold: Duration) -> Terms {
    Terms { block, window, hold }
}

const CASES: [Terms; 3] =
    [terms(1408, 1, Duration::ZERO), terms(1408, 16, Duration::ZERO), terms(512, 1, Duration::ZERO)];
/// What the shaped cable is used with: it takes no time of its own, or a round trip.
const SHAPED: [Terms; 3] =
    [terms(1408, 16, Duration::ZERO), terms(1408, 16, ROUND_TRIP), terms(8192, 16, ROUND_TRIP)];
const ROUND_TRIP: Duration = Duration::from_micros(400);

/// A server that is asked.
struct Server {
    name: &'static str,
    address: SocketAddr,
    pid: u32,
    /// Whether it has a child for each transfer, which leaves without telling what it took.
    forks: bool,
}

/// What a transfer took.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    time: Duration,
    processor: Duration,
}

pub(crate) fn measure(rounds: u32) -> Result<()> {
    let rig = Rig::set()?;
    let cores = Cores::share_out()?;
    rig.cable.fixed_client_address()?;
    let content: Vec<u8> = (0..LENGTH as u64).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    let file = rig.file(FILE, &content)?;
    let address =
        |number: u8| SocketAddr::from((Ipv4Addr::new(10, 77, 0, number), pilotlight_tftp::packet::PORT));
    for number in 2..=4 {
        other_address(&rig, address(number).ip())?;
    }
    let root = rig.folder().to_string_lossy().into_owned();
    let lab = rig.file("lab.toml", LAB)?.to_string_lossy().into_owned();
    let nowhere = rig.folder().join("events.sock").to_string_lossy().into_owned();

    cores.join()?;
    let floor = reference(&rig, address(2), &file)?;
    let mut ours = rig.ours(
        "pilotlight-tftpd",
        &["--lab", &lab, "--events", &nowhere, "--root", &root, "--listen", &address(1).to_string()],
    )?;
    let dnsmasq = peer(
        &rig,
        "dnsmasq",
        &[
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--group=root",
            "--enable-tftp",
            &format!("--tftp-root={root}"),
            "--bind-interfaces",
            &format!("--listen-address={}", address(3).ip()),
        ],
    )?;
    let hpa = peer(
        &rig,
        "in.tftpd",
        &["--foreground", "--user", "root", "--address", &address(4).to_string(), "--secure", &root],
    )?;
    cores.part()?;
    let servers = [
        Server { name: "from memory", address: address(2), pid: floor.pid(), forks: false },
        Server { name: "pilotlight-tftpd", address: address(1), pid: ours.pid(), forks: false },
        Server { name: "dnsmasq", address: address(3), pid: dnsmasq.pid(), forks: false },
        Server { name: "tftpd-hpa", address: address(4), pid: hpa.pid(), forks: true },
    ];
    for terms in CASES {
        compare("a core each", &servers, terms, &content, rounds)?;
    }
    cores.join()?;
    for terms in CASES {
        compare("one core", &servers, terms, &content, rounds)?;
    }
    cores.part()?;
    shape(&rig)?;
    for terms in SHAPED {
        share(&servers[..2], terms, &content, rounds)?;
    }
    let memory = |server: &Server| {
        let kib = figures::proportional_memory(server.pid)? as f64 / 1024.0;
        Ok(vec![server.name.to_owned(), format!("{kib:.0}")])
    };
    let rows = servers[1..].iter().map(memory).collect::<Result<Vec<_>>>()?;
    figures::table("TFTP, memory afterwards", &["server", "KiB (PSS)"], &rows);
    // Nothing is to be shown of what it said.
    ours.kill()
}

/// One table: every server, `rounds` times in turn.
fn compare(placed: &str, servers: &[Server], terms: Terms, content: &[u8], rounds: u32) -> Result<()> {
    let mut costs = vec![Vec::new(); servers.len()];
    for _ in 0..rounds {
        for (server, costs) in servers.iter().zip(&mut costs) {
            costs.push(cost(server, terms, content).with_context(|| format!("{}, {terms:?}", server.name))?);
        }
    }
    let costs: Vec<Cost> = costs.iter().map(|costs| middle(costs)).collect();
    let floor = costs.first().copied().unwrap_or_default();
    let row = |(server, cost): (&Server, &Cost)| {
        vec![
            server.name.to_owned(),
            format!("{:.2}", cost.time.as_secs_f64()),
            format!("{:.2}", cost.time.as_secs_f64() / floor.time.as_secs_f64()),
            format!("{:.2}", cost.processor.as_nanos() as f64 / LENGTH as f64),
            format!("{:.2}", cost.processor.as_secs_f64() / floor.processor.as_secs_f64()),
        ]
    };
    figures::table(
        &format!("TFTP, 100 MB, {placed}, blksize {}, windowsize {}", terms.block, terms.window),
        &["server", "s", "to memory", "CPU ns/byte", "to memory"],
        &servers.iter().zip(&costs).map(row).collect::<Vec<_>>(),
    );
    Ok(())
}

/// Bits a second of the shaped cable.
const RATE: f64 = 100e6;
/// What a frame takes on a wire beside what IP carries: IP's and Ethernet's headers, and what is around a frame.
const HEADERS: usize = 20 + 14 + AROUND_A_FRAME;
/// What IP carries of a packet in each frame (RFC 791 § 3.2, MTU 1500).
const FRAGMENT: usize = 1480;
/// Preamble, frame check sequence and the gap between two frames, in bytes (IEEE 802.3).
const AROUND_A_FRAME: usize = 8 + 4 + 12;

/// Makes the server's end of the cable carry 100 Mbit/s, as the Pi's does, and no more.
fn shape(rig: &Rig) -> Result<()> {
    let mut tc = rig.clients.command("tc")?;
    let words = format!(
        "qdisc add dev {SERVER} root tbf rate 100mbit burst 3000 limit 1000000 overhead {AROUND_A_FRAME}"
    );
    tc.args(words.split_ascii_whitespace());
    rig.cable.on_server_side(&mut tc)?;
    must(&mut tc, Duration::from_secs(30)).map(drop)
}

/// The bits of a block on the wire, with TFTP's and UDP's headers.
fn bits_of_a_block(block: usize) -> usize {
    let packet = block + 4 + 8;
    8 * (packet + packet.div_ceil(FRAGMENT) * HEADERS)
}

/// How much of the shaped cable one transfer uses, and how much it could: a window is sent, and while its acknowledgement comes
/// the cable is still (RFC 7440 § 3).
fn share(servers: &[Server], terms: Terms, content: &[u8], rounds: u32) -> Result<()> {
    let block = bits_of_a_block(terms.block.into());
    let bits = LENGTH.div_ceil(terms.block.into()) * block;
    let window = f64::from(terms.window) * block as f64 / RATE;
    let most = window / (window + terms.hold.as_secs_f64());
    let row = |server: &Server| {
        let times = (0..rounds).map(|_| Ok(cost(server, terms, content)?.time.as_secs_f64()));
        let time = median(times.collect::<Result<_>>().with_context(|| format!("{}, shaped", server.name))?);
        Ok(vec![
            server.name.to_owned(),
            format!("{time:.2}"),
            format!("{:.1} %", bits as f64 / RATE / time * 100.0),
            format!("{:.1} %", most * 100.0),
        ])
    };
    figures::table(
        &format!(
            "TFTP, 100 MB over 100 Mbit/s and {:.1} ms, blksize {}, windowsize {}",
            terms.hold.as_secs_f64() * 1e3,
            terms.block,
            terms.window
        ),
        &["server", "s", "of the link", "at most"],
        &servers.iter().map(row).collect::<Result<Vec<_>>>()?,
    );
    Ok(())
}

fn cost(server: &Server, terms: Terms, content: &[u8]) -> Result<Cost> {
    let before = figures::processor_time(server.pid)?;
    let children = server.forks.then(|| Children::watch(server.pid));
    let time = client::fetch(server.address, FILE, terms, content)?;
    let processor = figures::processor_time(server.pid)?.saturating_sub(before);
    Ok(Cost { time, processor: processor + children.map(Children::took).unwrap_or_default() })
}

fn middle(costs: &[Cost]) -> Cost {
    let of = |part: fn(&Cost) -> Duration| {
        Duration::from_secs_f64(median(costs.iter().map(|cost| part(cost).as_secs_f64()).collect()))
    };
    Cost { time: of(|cost| cost.time), processor: of(|cost| cost.processor) }
}

/// Gives the server's end one more address.
fn other_address(rig: &Rig, address: IpAddr) -> Result<()> {
    let mut ip = rig.clients.command("ip")?;
    ip.args(["address", "add", &format!("{address}/24"), "dev", SERVER]);
    rig.cable.on_server_side(&mut ip)?;
    must(&mut ip, Duration::from_secs(30)).map(drop)
}

/// Starts the server that answers from memory: this very program, at the server's end.
fn reference(rig: &Rig, address: SocketAddr, file: &Path) -> Result<Peer> {
    let command = Command::new(std::env::current_exe().context("could not find this very program")?);
    let arguments = ["--from-memory", &address.to_string(), &file.to_string_lossy()];
    rig.start(command, "from-memory", &arguments)
}

/// Starts a peer that ends unless it may drop groups.
fn peer(rig: &Rig, name: &str, arguments: &[&str]) -> Result<Peer> {
    let mut command = rig.peers.command(name)?;
    groups::pretend_to_drop(&mut command);
    rig.start(command, name, arguments)
}
