//! Files fetched over TFTP by other people's clients, bit for bit.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pilotlight_emulator::fault::{Faults, Random};
use pilotlight_tests::process::must;
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
    let expected = payload(&root.join("file"), 2 * MEBIBYTE)?;
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
        ensure!(relay.lost() > 100, "the relay lost only {} packets", relay.lost());
    }
    server.must_be_alive()
}
