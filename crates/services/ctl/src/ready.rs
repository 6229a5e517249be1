//! Gathers what the line says.

use std::{
    fs::{self, File},
    io::Write as _,
    net::UdpSocket,
    os::unix::net::UnixDatagram,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use pilotlight_kit::{event::since_power_on_ms, systemd};
use pilotlight_lab::{Network, paths};
use serde_json::Value;

use crate::line::{self, Address, Facts, Link};

/// How long to wait for the address. A network adapter on USB comes late; one that is not there never comes.
const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(100);
/// Where journald takes entries, `systemd.journal-fields(7)`.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Waits for the Pi's address, prints the line, and writes it into the journal when asked to.
pub(crate) fn ready(journal: bool, failed_units: Option<&Path>) -> anyhow::Result<()> {
    let address = network().map(|network| wait_for(&network)).map_err(|error| format!("{error:#}"));
    let facts = Facts {
        boot_ms: since_power_on_ms(),
        memory: fs::read_to_string("/proc/meminfo").ok().and_then(|text| line::memory(&text)),
        address,
        lab: status(paths::LAB_STATUS),
        card: status(paths::CARD_STATUS),
        dhcp: fs::read_to_string(paths::DHCP_STATUS).unwrap_or_default(),
        failed: failed(failed_units).map_err(|error| format!("{error:#}")),
    };
    say(&line::line(&facts), journal)
}

/// Says what has become of the DHCP server, where that is worth a line.
pub(crate) fn dhcp(journal: bool) -> anyhow::Result<()> {
    let said = fs::read_to_string(paths::DHCP_SAID).ok();
    // The folder goes and comes with the server: no word is no news.
    let Ok(now) = fs::read_to_string(paths::DHCP_STATUS) else { return Ok(()) };
    let Some(line) = line::dhcp(said.as_deref(), &now) else { return Ok(()) };
    fs::write(paths::DHCP_SAID, &now).with_context(|| format!("cannot write {}", paths::DHCP_SAID))?;
    say(&line, journal)
}

fn say(line: &str, journal: bool) -> anyhow::Result<()> {
    println!("{line}");
    // The screen, where systemd handed it over. A terminal wants to be told to go back to its left side.
    for terminal in systemd::listen_fds() {
        let _ = File::from(terminal).write_all(format!("{line}\r\n").as_bytes());
    }
    if journal {
        let entry = format!("MESSAGE={line}\nPRIORITY=5\nSYSLOG_IDENTIFIER=pilotctl\n");
        UnixDatagram::unbound()
            .and_then(|socket| socket.send_to(entry.as_bytes(), JOURNAL))
            .with_context(|| format!("cannot write into the journal at {JOURNAL}"))?;
    }
    Ok(())
}

fn network() -> anyhow::Result<Network> {
    let text = fs::read_to_string(paths::LAB).with_context(|| format!("cannot read {}", paths::LAB))?;
    let lab = pilotlight_lab::parse(&text).with_context(|| format!("{} is no lab", paths::LAB))?;
    Ok(lab.network)
}

fn wait_for(network: &Network) -> Address {
    let started = Instant::now();
    loop {
        let state = link(network);
        if state == Link::Up || state == Link::NoCarrier || started.elapsed() > PATIENCE {
            let Network { address, prefix, interface, .. } = network;
            return Address { address: *address, prefix: *prefix, interface: interface.clone(), state };
        }
        thread::sleep(STEP);
    }
}

fn link(network: &Network) -> Link {
    let folder = Path::new("/sys/class/net").join(&network.interface);
    if !folder.exists() {
        return Link::NoInterface;
    }
    // Only an address of this machine can be bound to.
    if UdpSocket::bind((network.address, 0)).is_err() {
        return Link::NoAddress;
    }
    match fs::read_to_string(folder.join("carrier")) {
        Ok(carrier) if carrier.trim() == "1" => Link::Up,
        _ => Link::NoCarrier,
    }
}

fn status(path: &str) -> Value {
    let text = fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn failed(list: Option<&Path>) -> anyhow::Result<Vec<String>> {
    if let Some(path) = list {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        return Ok(line::units(&text));
    }
    // A unit that is started again and again is never `failed` for long.
    let output = Command::new("systemctl")
        .args(["list-units", "--all", "--plain", "--no-legend", "--state=failed,auto-restart"])
        .output()
        .context("cannot run systemctl")?;
    if !output.status.success() {
        bail!("systemctl: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(line::units(&String::from_utf8_lossy(&output.stdout)))
}
