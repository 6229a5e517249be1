//! Name server and time server under attack: nothing that comes out of them is longer than what came in, floods cost only
//! their source, and memory stays what it was.

use std::{
    net::{SocketAddr, UdpSocket},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use pilotlight_emulator::fault::Random;
use pilotlight_tests::{daemon::Daemon, process::must};

use crate::stage::{LAB, Stage};

const LIMIT: Duration = Duration::from_secs(30);
/// How much the memory of a daemon may grow under a flood, in KiB.
const GROWTH_KIB: u64 = 8 * 1024;
/// Messages of a flood: many more than a source may send.
const FLOOD: usize = 20_000;

/// A question for the record `kind` of `name`, with EDNS.
fn question(name: &str, kind: u8) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, kind, 0, 1]);
    bytes.extend_from_slice(&[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

fn socket(address: &str) -> Result<UdpSocket> {
    let socket =
        UdpSocket::bind((address, 0)).with_context(|| format!("could not open a port of {address}"))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    Ok(socket)
}

/// Asks until an answer comes: the server's queue may be full of rubbish.
fn answer(socket: &UdpSocket, bytes: &[u8], to: &str) -> Result<Vec<u8>> {
    let to: SocketAddr = to.parse()?;
    let mut buffer = [0; 4096];
    for _ in 0..60 {
        socket.send_to(bytes, to)?;
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            return Ok(buffer[..length].to_vec());
        }
    }
    bail!("a good question is not answered any more")
}

/// Counts what comes back, in messages and in bytes.
fn drain(socket: &UdpSocket) -> Result<(usize, usize)> {
    socket.set_nonblocking(true)?;
    let (mut buffer, mut count, mut bytes) = ([0; 4096], 0, 0);
    while let Ok((length, _)) = socket.recv_from(&mut buffer) {
        (count, bytes) = (count + 1, bytes + length);
    }
    socket.set_nonblocking(false)?;
    Ok((count, bytes))
}

fn memory_kib(daemon: &Daemon) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

/// Gives the clients' end two addresses of the lab and one that is not, and the server a way to all of them.
fn set() -> Result<Stage> {
    let stage = Stage::set(LAB)?;
    for address in ["10.77.0.50/24", "10.77.0.51/24", "192.0.2.9/24"] {
        stage.cable.ip(&format!("address add {address} dev client0"))?;
    }
    stage.cable.ip("route add 10.77.0.1/32 dev client0")?;
    let mut route = Command::new(stage.clients.program("ip")?);
    route.args(["route", "add", "192.0.2.0/24", "dev", "eth0"]);
    stage.cable.on_server_side(&mut route)?;
    must(&mut route, LIMIT)?;
    Ok(stage)
}

pub(crate) fn dns() -> Result<()> {
    let stage = set()?;
    let mut server = stage.daemon("pilotlight-dnsd", "dnsd", &["--listen", "10.77.0.1:53"])?;
    let to = "10.77.0.1:53";
    let before = memory_kib(&server)?;
    let (bad, good, outside) = (socket("10.77.0.50")?, socket("10.77.0.51")?, socket("192.0.2.9")?);

    // Amplification: who is outside is refused, in no more bytes than it sent.
    for kind in [1, 6, 16, 255] {
        let asked = question("node1.lab.home.arpa", kind);
        let said = answer(&outside, &asked, to)?;
        ensure!(said[3] & 15 == 5 && said.len() <= asked.len(), "{kind}: {said:?}");
    }
    let asked = question("deb.debian.org", 255);
    let said = answer(&good, &asked, to)?;
    ensure!(said[3] & 15 == 5 && said.len() <= asked.len(), "ANY of somebody else's name: {said:?}");

    // Rubbish: names that point at themselves, ahead and on and on, and noise.
    let mut random = Random::new(53);
    let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let loops: [&[u8]; 5] =
        [&[0xc0, 12], &[0xc0, 14, 0xc0, 12], &[0xc0, 200], &[1, 97, 0xc0, 12], &[0xff, 0xff]];
    for pointers in loops {
        bad.send_to(&[&header[..], pointers, &[0, 1, 0, 1]].concat(), to)?;
    }
    for _ in 0..500 {
        let length = random.below(600) as usize;
        bad.send_to(&random.bytes(length), to)?;
    }

    // A flood, while somebody else asks.
    drain(&bad)?;
    let asked = question("node1.lab.home.arpa", 1);
    let (mut sent, mut came) = (0, 0);
    for number in 0..FLOOD {
        // The path may be full; then nothing was sent.
        sent += bad.send_to(&asked, to).unwrap_or(0);
        if number % 2000 == 0 {
            let said = answer(&good, &asked, to)?;
            ensure!(said[3] & 15 == 0 && said[7] == 1, "in the middle of a flood: {said:?}");
            came += drain(&bad)?.1;
        }
    }
    came += drain(&bad)?.1;
    ensure!(came < sent, "{came} bytes came back for {sent}");
    let flood = server.event("the flood", |event| {
        event["service"] == "dns" && event["reason"] == "questions beyond what one source may ask"
    })?;
    let after = memory_kib(&server)?;
    println!("{sent} bytes of a flood brought {came}; memory {before} and then {after} KiB; {flood}");
    ensure!(after < before + GROWTH_KIB, "memory grew from {before} to {after} KiB");
    server.must_be_alive()
}

pub(crate) fn ntp() -> Result<()> {
    let stage = set()?;
    let state = stage.subfolder("ntp")?;
    let set = stage.path("set");
    let (state, set) = (state.to_string_lossy(), set.to_string_lossy());
    let arguments = ["--listen", "10.77.0.1:123", "--state", &*state, "--set", &*set];
    let mut server = stage.time_server("ntpd", &arguments)?;
    let to = "10.77.0.1:123";
    let before = memory_kib(&server)?;
    let (bad, good) = (socket("10.77.0.50")?, socket("10.77.0.51")?);
    // What others answer with much more than was asked: monlist and the like (mode 7), and control (mode 6).
    for (mode, more) in [(7, 4), (7, 184), (6, 8), (1, 44), (2, 44), (4, 44), (5, 44), (0, 44)] {
        let mut bytes = vec![0x20 | mode, 0, 3, 42];
        bytes.resize(4 + more, 0);
        bad.send_to(&bytes, to)?;
    }
    let mut random = Random::new(123);
    for _ in 0..200 {
        let length = random.below(47) as usize;
        bad.send_to(&random.bytes(length), to)?;
    }
    let mut asked = [0; 48];
    asked[0] = 0x23;
    let said = answer(&good, &asked, to)?;
    ensure!(said.len() == 48 && said[0] & 7 == 4, "{said:?}");
    ensure!(drain(&bad)?.0 == 0, "what is no question was answered");
    for _ in 0..FLOOD {
        let _ = bad.send_to(&asked, to);
    }
    answer(&good, &asked, to)?;
    let (count, _) = drain(&bad)?;
    ensure!(count < 500, "{count} answers to a flood");
    server.event("the flood", |event| event["reason"] == "questions beyond what one source may ask")?;
    server.event("the modes", |event| event["reason"] == "no question")?;
    let after = memory_kib(&server)?;
    println!("{count} answers to {FLOOD} questions; memory {before} and then {after} KiB");
    ensure!(after < before + GROWTH_KIB, "memory grew from {before} to {after} KiB");
    server.must_be_alive()
}
