//! Files fetched over TFTP by other people's clients, bit for bit.

use std::{
    fs,
    net::UdpSocket,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_emulator::fault::{Faults, Random};
use pilotlight_tests::process::must;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    loss::Relay,
    stage::{LAB, Stage},
};

/// One transfer on a slow machine; nothing waits for it unless something is wrong.
const LIMIT: Duration = Duration::from_secs(300);
const MEBIBYTE: usize = 1 << 20;
const SERVER: &str = "10.77.0.1";

/// Writes `length` bytes that do not repeat, and gives their digest. The length is no multiple of a block size:
/// a last block cut wrong would show.
fn payload(path: &Path, length: usize) -> Result<[u8; 32]> {
    let mut random = Random::new(length as u64);
    let bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| random.next_u64().to_le_bytes()).collect();
    fs::write(path, &bytes[..length]).with_context(|| format!("could not write {}", path.display()))?;
    Ok(Sha256::digest(&bytes[..length]).into())
}

fn fetch(command: &mut Command, into: &Path, expected: [u8; 32], what: &str) -> Result<()> {
    let _ = fs::remove_file(into);
    let outcome = must(command, LIMIT).with_context(|| what.to_owned())?;
    let got = fs::read(into).with_context(|| format!("{what}: nothing was written\n{}", outcome.text))?;
    let digest: [u8; 32] = Sha256::digest(&got).into();
    ensure!(digest == expected, "{what}: {} bytes came, and not the right ones\n{}", got.len(), outcome.text);
    let rate = got.len() as f64 / outcome.took.as_secs_f64() / 1e6;
    println!("{what}: {:.1} s, {rate:.0} MB/s", outcome.took.as_secs_f64());
    Ok(())
}

pub(crate) fn atftp() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let (mut server, root) = stage.tftpd()?;
    let expected = payload(&root.join("large"), 100 * MEBIBYTE + 123)?;
    let into = stage.path("fetched");
    for block in [512, 1408, 65464] {
        for window in [1, 4, 16] {
            let mut client = stage.client("atftp")?;
            client.args([
                "--option",
                &format!("blksize {block}"),
                "--option",
                &format!("windowsize {window}"),
            ]);
            client.args(["--get", "--remote-file", "large", "--local-file"]).arg(&into).args([SERVER, "69"]);
            fetch(&mut client, &into, expected, &format!("blksize {block}, windowsize {window}"))?;
        }
    }
    server.must_be_alive()
}

/// The server is started anew in the middle of a transfer, which does not notice.
pub(crate) fn restarted() -> Result<()> {
    // The list, the file and the port.
    restarted_with(LAB, 3)
}

/// The same where all leave from the port for requests, which is the socket unit's.
pub(crate) fn restarted_on_one_port() -> Result<()> {
    restarted_with(&format!("{LAB}\n[tftp]\nsingle-port = true\n"), 2)
}

fn restarted_with(lab: &str, kept_for_one: usize) -> Result<()> {
    let stage = Stage::set(lab)?;
    stage.cable.fixed_client_address()?;
    let (mut server, root) = stage.tftpd_after("first", &[])?;
    let expected = payload(&root.join("large"), 100 * MEBIBYTE + 123)?;
    fs::write(root.join("text"), "a line\n".repeat(100 * MEBIBYTE / 7))?;
    let begun = |event: &Value| event["stage"] == "read";
    let mut tftp = stage.client("tftp")?;
    tftp.args(["-m", "ascii", SERVER, "-c", "get", "text"]).current_dir(stage.folder());
    let mut tftp = tftp.spawn().context("could not start tftp")?;
    server.event("that tftp has begun", begun)?;
    let mut curl = stage.client("curl")?;
    curl.args(["-sS", "--tftp-blksize", "1408", "-o"]).arg(stage.path("fetched"));
    let mut curl = curl.arg(format!("tftp://{SERVER}/large")).spawn().context("could not start curl")?;
    server.events_at_least(2, "that curl has begun", begun)?;
    let kept = server.end_and_keep()?;
    ensure!(curl.try_wait()?.is_none(), "curl was done before the server was ended");
    // What is converted cannot be gone on with, and its client is told.
    let stopped = |event: &Value| event["reason"].as_str().is_some_and(|text| text.contains("was stopped"));
    let told = server.events(stopped);
    ensure!(told.len() == 1 && told[0]["file"] == "text", "told off were {told:?}");
    ensure!(kept.len() == kept_for_one, "what is kept is {kept:?}");
    // As long as it takes to start a program.
    thread::sleep(Duration::from_millis(300));
    let (mut second, _) = stage.tftpd_after("second", &kept)?;
    drop(kept);
    let status = curl.wait()?;
    ensure!(status.success(), "curl has failed: {status}");
    let digest: [u8; 32] = Sha256::digest(fs::read(stage.path("fetched"))?).into();
    ensure!(digest == expected, "other bytes came");
    let sent = second.event("the end of the transfer", |event| event["stage"] == "sent")?;
    println!("blocks sent again: {}", sent["repeated"]);
    ensure!(sent["file"] == "large" && second.events(begun).is_empty(), "it began anew");
    let _ = tftp.wait();
    second.must_be_alive()
}

pub(crate) fn curl() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let (mut server, root) = stage.tftpd()?;
    let expected = payload(&root.join("large"), 100 * MEBIBYTE + 123)?;
    let into = stage.path("fetched");
    for block in [512, 1408, 65464] {
        let mut client = stage.client("curl")?;
        client.args(["-sS", "--tftp-blksize", &block.to_string(), "-o"]).arg(&into);
        client.arg(format!("tftp://{SERVER}/large"));
        fetch(&mut client, &into, expected, &format!("blksize {block}"))?;
    }
    server.must_be_alive()
}

pub(crate) fn tftp_hpa() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let (mut server, root) = stage.tftpd()?;
    let into = stage.path("fetched");
    // 512-byte blocks, and netascii unless it is told otherwise: 32 MiB is the most before block numbers roll over.
    for (name, length) in [("empty", 0), ("block", 512), ("small", 513), ("large", 100 * MEBIBYTE + 123)] {
        let expected = payload(&root.join(name), length)?;
        for mode in [None, Some("binary")] {
            let mut client = stage.client("tftp")?;
            client.args(mode.map(|mode| ["-m", mode]).into_iter().flatten());
            client.args([SERVER, "-c", "get", name]).arg(&into);
            fetch(
                &mut client,
                &into,
                expected,
                &format!("{length} bytes, {}", mode.unwrap_or("as it comes")),
            )?;
        }
    }
    server.must_be_alive()
}

/// One packet in twenty is lost, in both directions.
pub(crate) fn loss() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let (mut server, root) = stage.tftpd()?;
    let expected = payload(&root.join("file"), MEBIBYTE)?;
    let into = stage.path("fetched");
    for (seed, block) in [(1, 512), (2, 1408)] {
        let relay = Relay::start("10.77.0.1:69".parse()?, Faults { seed, lost: 50, ..Faults::default() })?;
        let mut client = stage.client("curl")?;
        client.args(["-sS", "--tftp-blksize", &block.to_string(), "-o"]).arg(&into);
        client.arg(format!("tftp://{}/file", relay.address));
        fetch(&mut client, &into, expected, &format!("curl, blksize {block}"))?;
        let mut client = stage.client("atftp")?;
        client.args(["--option", &format!("blksize {block}"), "--option", "windowsize 16"]);
        client.args(["--get", "--remote-file", "file", "--local-file"]).arg(&into);
        client.args([relay.address.ip().to_string(), relay.address.port().to_string()]);
        fetch(&mut client, &into, expected, &format!("atftp, blksize {block}, windowsize 16"))?;
        ensure!(relay.lost() > 60, "the relay lost only {} packets", relay.lost());
    }
    server.must_be_alive()
}

/// Where transfers leave from the port for requests, and nothing else comes through: two clients at once, and a wire that
/// loses one packet in fifty.
pub(crate) fn single_port() -> Result<()> {
    let stage = Stage::set(&format!("{LAB}\n[tftp]\nsingle-port = true\n"))?;
    stage.cable.fixed_client_address()?;
    let (mut server, root) = stage.tftpd()?;
    let expected = payload(&root.join("large"), 8 * MEBIBYTE + 123)?;
    for lost in [0, 20] {
        let faults = Faults { seed: 3, lost, ..Faults::default() };
        let relay = Relay::start_single_port("10.77.0.1:69".parse()?, faults)?;
        let (atftp_into, curl_into) = (stage.path("atftp-fetched"), stage.path("curl-fetched"));
        let mut atftp = stage.client("atftp")?;
        atftp.args(["--option", "blksize 1408", "--option", "windowsize 16"]);
        atftp.args(["--get", "--remote-file", "large", "--local-file"]).arg(&atftp_into);
        atftp.args([relay.address.ip().to_string(), relay.address.port().to_string()]);
        let mut curl = stage.client("curl")?;
        curl.args(["-sS", "--tftp-blksize", "8192", "-o"]).arg(&curl_into);
        curl.arg(format!("tftp://{}/large", relay.address));
        thread::scope(|scope| {
            let other = scope.spawn(|| fetch(&mut curl, &curl_into, expected, "curl, blksize 8192"));
            let one = fetch(&mut atftp, &atftp_into, expected, "atftp, blksize 1408, windowsize 16");
            one.and(other.join().unwrap_or_else(|_| anyhow::bail!("the thread that runs curl has panicked")))
        })?;
        ensure!(lost == 0 || relay.lost() > 20, "the relay lost only {} packets", relay.lost());
    }
    begun_anew()?;
    server.must_be_alive()
}

/// A request that comes twice, from one port to one port: only the ACKs tell which transfer the client goes on with.
fn begun_anew() -> Result<()> {
    let socket = UdpSocket::bind("10.77.0.50:0").context("could not open a port")?;
    socket.connect("10.77.0.1:69")?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let request = b"\0\x01large\0octet\0blksize\x0064\0".as_slice();
    let oack = b"\0\x06blksize\x0064\0".as_slice();
    // Until the answer begins like this: others are repetitions.
    let say = |packet: &[u8], expected: &[u8]| -> Result<()> {
        let mut buffer = [0; 512];
        for _ in 0..20 {
            socket.send(packet)?;
            while let Ok(length) = socket.recv(&mut buffer) {
                if buffer[..length].starts_with(expected) {
                    return Ok(());
                }
            }
        }
        anyhow::bail!("no answer to {packet:?} begins with {expected:?}")
    };
    let (ack, data) = (|block| [0, 4, 0, block], |block| [0, 3, 0, block]);
    say(request, oack)?;
    say(&ack(0), &data(1))?;
    // The wire brings the request again, and the client goes on with what it has.
    say(request, oack)?;
    say(&ack(1), &data(2))?;
    say(&ack(2), &data(3))?;
    // Now it was the client, which has begun anew; nothing is left of what it had.
    say(request, oack)?;
    say(&ack(0), &data(1))?;
    say(&ack(1), &data(2))?;
    socket.send(&ack(3))?;
    let mut buffer = [0; 512];
    while let Ok(length) = socket.recv(&mut buffer) {
        ensure!(!buffer[..length].starts_with(&data(4)), "the transfer before goes on");
        if buffer[..length].starts_with(&data(2)) {
            break;
        }
    }
    Ok(())
}

/// A wire for packets of 576 bytes, the least that a host must take: blocks of 512 fit, those of 1,408 go in fragments.
pub(crate) fn narrow() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    stage.cable.ip("link set client0 mtu 576")?;
    stage.cable.server_ip("link set eth0 mtu 576")?;
    let (mut server, root) = stage.tftpd()?;
    let expected = payload(&root.join("file"), 8 * MEBIBYTE + 123)?;
    let into = stage.path("fetched");
    for block in [512, 1408] {
        let mut client = stage.client("curl")?;
        client.args(["-sS", "--tftp-blksize", &block.to_string(), "-o"]).arg(&into);
        client.arg(format!("tftp://{SERVER}/file"));
        fetch(&mut client, &into, expected, &format!("curl, blksize {block}"))?;
        let mut client = stage.client("atftp")?;
        client.args(["--option", &format!("blksize {block}"), "--option", "windowsize 16"]);
        client.args(["--get", "--remote-file", "file", "--local-file"]).arg(&into).args([SERVER, "69"]);
        fetch(&mut client, &into, expected, &format!("atftp, blksize {block}, windowsize 16"))?;
    }
    server.must_be_alive()
}

/// Requests in the name of somebody who never answers, without end, beside an honest client: its file comes whole, and
/// the victim is sent no more packets than eight transfers that nobody answers.
pub(crate) fn forged() -> Result<()> {
    /// Transfers with an address that never answered, and packets of each: a first one, and four repetitions. So many go
    /// out in as many seconds as the repetitions take.
    const MOST: usize = 8 * 5;
    const SECONDS: usize = 5;
    const PORTS: usize = 200;
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    stage.cable.ip("address add 10.77.0.60/24 dev client0")?;
    let (mut server, root) = stage.tftpd()?;
    let expected = payload(&root.join("large"), 32 * MEBIBYTE + 123)?;
    let victim = (0..PORTS)
        .map(|_| UdpSocket::bind("10.77.0.60:0").context("could not open a port"))
        .collect::<Result<Vec<_>>>()?;
    let into = stage.path("fetched");
    let mut client = stage.client("curl")?;
    client.args(["-sS", "--tftp-blksize", "512", "-o"]).arg(&into).arg(format!("tftp://{SERVER}/large"));
    // Short waits are the worst for the victim.
    let request = b"\0\x01large\0octet\0blksize\x001408\0timeout\x001\0";
    let mut asked = 0;
    let start = Instant::now();
    thread::scope(|scope| {
        let honest = scope.spawn(|| fetch(&mut client, &into, expected, "curl, blksize 512"));
        while !honest.is_finished() {
            for port in &victim {
                let _ = port.send_to(request, (SERVER, 69));
                asked += 1;
            }
            thread::sleep(Duration::from_millis(5));
        }
        honest.join().unwrap_or_else(|_| anyhow::bail!("the thread that fetches has panicked"))
    })?;
    let rounds = 1 + start.elapsed().as_secs() as usize / SECONDS;
    let begun = server.events(|event| event["stage"] == "read" && event["address"] == "10.77.0.60").len();
    let silent = |event: &Value| {
        event["reason"].as_str().is_some_and(|reason| reason.starts_with("the client fell silent"))
    };
    server.events_at_least(begun.max(8), "the transfers that nobody answers", silent)?;
    server.event("the flood", |event| event["reason"] == "a request from an address that does not answer")?;
    let (mut packets, mut bytes, mut buffer) = (0, 0, [0; 2048]);
    for port in &victim {
        port.set_nonblocking(true)?;
        while let Ok(length) = port.recv(&mut buffer) {
            packets += 1;
            bytes += length;
        }
    }
    println!("{asked} forged requests, answered by {packets} packets, {bytes} bytes");
    ensure!(
        (8..=MOST * rounds).contains(&packets),
        "{packets} packets went to somebody who asked for nothing"
    );
    ensure!(bytes < asked * request.len(), "{bytes} bytes went to somebody who asked for nothing");
    server.must_be_alive()
}
