//! Clients that ask in ways of their own: the one of systemd, a scanner's, and one that asks for many.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::Write as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use pilotlight_tests::{
    daemon::PATIENCE,
    namespace::{CLIENT, read_only_system},
    process::{end_with_this_thread, must, wait},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::stage::{LAB, Stage};

/// What systemd-networkd does with the clients' end, and nothing else.
const NETWORK: &str =
    "[Match]\nName=client0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n";
/// How many machines perfdhcp plays.
const MACHINES: usize = 90;

/// The address that the clients' end has, or none.
fn address(stage: &Stage) -> Result<Option<String>> {
    let shown = stage.cable.ip(&format!("-4 -oneline address show dev {CLIENT}"))?;
    Ok(shown.split_ascii_whitespace().skip_while(|word| *word != "inet").nth(1).map(str::to_owned))
}

pub(crate) fn networkd() -> Result<()> {
    let stage = Stage::set(LAB)?;
    let server = stage.dhcpd()?;
    // It becomes another user, which is root here: no other one exists. Where devices cannot be renamed (a container's
    // /sys) it does not wait for udev.
    OpenOptions::new().append(true).open("/run/passwd")?.write_all(b"systemd-network:x:0:0::/:/bin/sh\n")?;
    read_only_system()?;
    fs::create_dir_all("/run/systemd/network")?;
    fs::write("/run/systemd/network/10-client.network", NETWORK)?;
    let log = File::create(stage.path("client.log"))?;
    let program = stage.clients.folder().join("root/usr/lib/systemd/systemd-networkd");
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    end_with_this_thread(&mut command);
    let mut client = command.spawn().context("could not start systemd-networkd")?;
    let ack = server.event("an acknowledgement", |event| event["stage"] == "ack")?;
    let given = format!("{}/24", ack["address"].as_str().unwrap_or_default());
    let end = Instant::now() + PATIENCE;
    while address(&stage)?.as_ref() != Some(&given) {
        let log = fs::read_to_string(stage.path("client.log")).unwrap_or_default();
        ensure!(Instant::now() < end, "the interface never got {given}\n{log}");
        thread::sleep(Duration::from_millis(20));
    }
    let pid = Pid::from_raw(client.id().cast_signed()).context("the client has no process")?;
    kill_process(pid, Signal::TERM).context("could not stop the client")?;
    ensure!(wait(&mut client, PATIENCE)?.is_some(), "the client does not end");
    let released = server.event("a release", |event| event["stage"] == "release")?;
    ensure!(released["address"] == ack["address"], "{released} after {ack}");
    Ok(())
}

/// `dhcp-discover` asks as somebody who has an address, `broadcast-dhcp-discover` as somebody who has none.
pub(crate) fn nmap() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let server = stage.dhcpd()?;
    // Which BLAS it is linked with is a matter of Debian's alternatives, which nobody has set up in unpacked packages.
    let root = stage.clients.folder().join("root/usr");
    let libraries = root.join("lib/x86_64-linux-gnu");
    let scan = |arguments: &[&str]| {
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.env_clear().env("NMAPDIR", root.join("share/nmap")).arg("--library-path");
        command.arg(format!("{0}:{0}/blas", libraries.display())).arg(root.join("bin/.nmap.real"));
        command.args(["-n", "-e", CLIENT]).args(arguments);
        Ok::<String, anyhow::Error>(must(&mut command, PATIENCE)?.text)
    };
    let informed = scan(&["-Pn", "-sU", "-p", "67", "--script", "dhcp-discover", "10.77.0.1"])?;
    for expect in ["DHCP Message Type: DHCPACK", "Server Identifier: 10.77.0.1", "Domain Name: lab.home.arpa"]
    {
        ensure!(informed.contains(expect), "{expect:?} is not in\n{informed}");
    }
    server.event("the answer to it", |event| event["stage"] == "inform")?;
    let offered = scan(&["--script", "broadcast-dhcp-discover"])?;
    for expect in ["IP Offered: 10.77.0.", "DHCP Message Type: DHCPOFFER", "Server Identifier: 10.77.0.1"] {
        ensure!(offered.contains(expect), "{expect:?} is not in\n{offered}");
    }
    Ok(())
}

/// Many machines behind a relay, which perfdhcp always is: with the address of its interface.
pub(crate) fn perfdhcp() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let server = stage.dhcpd()?;
    let mut command = stage.client("perfdhcp")?;
    command.args(["-4", "-l", CLIENT, "-R"]).arg(MACHINES.to_string());
    command.args(["-r", "100", "-n", "100", "-W", "500000", "10.77.0.1"]);
    let said = must(&mut command, PATIENCE)?.text;
    for (exchange, sent, received) in exchanges(&said)? {
        ensure!(sent >= MACHINES as u64 && received == sent, "{exchange}: {received} of {sent}\n{said}");
    }
    let is_ack = |event: &serde_json::Value| event["stage"] == "ack";
    server.events_at_least(MACHINES, "an acknowledgement", is_ack)?;
    let acks = server.events(is_ack);
    let machines: BTreeSet<_> = acks.iter().filter_map(|ack| ack["mac"].as_str()).collect();
    ensure!(machines.len() == MACHINES, "{} machines have leases\n{said}", machines.len());
    Ok(())
}

/// What perfdhcp says of each exchange: its name, packets sent and received.
fn exchanges(said: &str) -> Result<Vec<(String, u64, u64)>> {
    let mut found = Vec::new();
    let mut name = String::new();
    let number = |line: &str| line.rsplit(' ').next().and_then(|text| text.parse::<u64>().ok());
    let mut sent = None;
    for line in said.lines() {
        if let Some(title) = line.strip_prefix("***Statistics for: ") {
            name = title.trim_end_matches('*').to_owned();
        } else if line.starts_with("sent packets:") {
            sent = number(line);
        } else if line.starts_with("received packets:") {
            let (sent, received) = sent.take().zip(number(line)).context("a number is missing")?;
            found.push((name.clone(), sent, received));
        }
    }
    if found.len() != 2 {
        bail!("these are not the statistics of two exchanges:\n{said}");
    }
    Ok(found)
}
