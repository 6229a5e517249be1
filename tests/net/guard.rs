//! Two DHCP servers on one wire: the one that was told to listen first stays silent, whenever the wire is another one.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::{
    daemon::{Daemon, PATIENCE},
    namespace::{CLIENT, SERVER},
    process::must,
    surroundings,
};
use serde_json::Value;

use crate::stage::{LAB, Stage};

/// A stage with the address of the other server at the clients' end, and a lab that listens first.
fn set() -> Result<Stage> {
    let stage = Stage::set(LAB)?;
    // The server that was there first is at the clients' end; it is one of ours with a lab that does not listen.
    stage.cable.ip("address add 10.77.0.254/24 dev client0")?;
    let other_lab = LAB
        .replace("10.77.0.1/24", "10.77.0.254/24")
        .replace("[network]", "[network]\ninterface = \"client0\"");
    std::fs::write(stage.path("other.toml"), other_lab)?;
    let careful = LAB.replace("probe-first = false", "probe-first = true");
    std::fs::write(stage.path("lab.toml"), careful)?;
    Ok(stage)
}

fn is_silent(event: &Value) -> bool {
    event["service"] == "dhcp" && event["stage"] == "silent"
}

/// Whether a machine gets an address. Its question reaches only ours: another server at this end shares its interface.
fn a_machine_gets_an_address(stage: &Stage) -> Result<bool> {
    let mut machine = stage.client("udhcpc")?;
    machine.args(["-f", "-n", "-q", "-t", "3", "-T", "1", "-i", CLIENT, "-s", "/bin/true"]);
    Ok(machine.output().context("could not start udhcpc")?.status.success())
}

pub(crate) fn silent() -> Result<()> {
    let stage = set()?;
    let mut other = stage.other_dhcpd("other.toml")?;
    let mut ours = stage.dhcpd()?;
    let silent = ours.event("silence", is_silent)?;
    ensure!(silent.to_string().contains("10.77.0.254"), "the other server is not named: {silent}");
    other.must_be_alive()?;
    ours.must_be_alive()?;
    ensure!(!a_machine_gets_an_address(&stage)?, "the machine got a lease");
    ours.event("the question", |event| event["stage"] == "drop" && event["kind"] == "silent")?;
    let offers = ours.events(|event| event["stage"] == "offer" || event["stage"] == "ack");
    ensure!(offers.is_empty(), "it answered all the same: {offers:?}");
    Ok(())
}

/// The cable is pulled and plugged in again: into the same network, into one with another server, and back.
pub(crate) fn link() -> Result<()> {
    let stage = set()?;
    let control = stage.path("dhcp.sock");
    let state = stage.subfolder("dhcp")?;
    let (socket, state) = (control.to_string_lossy(), state.to_string_lossy());
    let ours = stage.daemon("pilotlight-dhcpd", "dhcpd", &["--state", &state, "--control", &socket])?;
    let is_probe = |event: &Value| event["stage"] == "probe";
    ours.event("that nobody else is there", is_probe)?;
    ensure!(a_machine_gets_an_address(&stage)?, "the machine got no lease from a lone server");
    ensure!(asked(&socket)? == "no other DHCP server answers on eth0\n", "a server was made up");

    let other = stage.other_dhcpd("other.toml")?;
    let named = asked(&socket)?;
    ensure!(named.starts_with("10.77.0.254 offers 10.77.0.1"), "the other server is not named: {named}");
    ensure!(named.contains(" for 120 s") && named.contains("has firmware boot ipxe.efi"), "{named}");
    ensure!(ours.events(is_silent).is_empty(), "an operator's question is not the guard's");
    replug(&stage)?;
    ours.event("silence", is_silent)?;
    ensure!(
        status(&stage)? == "silent: another DHCP server at 10.77.0.254 answers on eth0",
        "{}",
        status(&stage)?
    );
    let before = answers(&ours);
    ensure!(!a_machine_gets_an_address(&stage)? && answers(&ours) == before, "it answered all the same");

    drop(other);
    replug(&stage)?;
    ours.events_at_least(2, "that nobody else is there", is_probe)?;
    ensure!(status(&stage)? == "serving eth0", "{}", status(&stage)?);
    ensure!(a_machine_gets_an_address(&stage)?, "it serves again, and the machine got no lease");
    Ok(())
}

/// What an operator is told who asks for other servers.
fn asked(socket: &str) -> Result<String> {
    let mut command = std::process::Command::new(surroundings::daemon("pilotctl")?);
    command.args(["dhcp-servers", "--socket", socket]);
    Ok(must(&mut command, PATIENCE)?.text)
}

/// Pulls the cable and plugs it in again. The address at this end outlives it.
fn replug(stage: &Stage) -> Result<()> {
    stage.cable.ip(&format!("link set {CLIENT} down"))?;
    // The kernel tells of it in its own time, and of nothing when the cable is in again by then.
    let end = Instant::now() + PATIENCE;
    while !stage.cable.server_ip(&format!("link show {SERVER}"))?.contains("NO-CARRIER") {
        ensure!(Instant::now() < end, "the cable's other end does not see that it is out");
        thread::sleep(Duration::from_millis(20));
    }
    stage.cable.ip(&format!("link set {CLIENT} up"))?;
    Ok(())
}

fn answers(server: &Daemon) -> usize {
    server.events(|event| event["stage"] == "offer" || event["stage"] == "ack").len()
}

/// What the service says of itself, as it says it to systemd.
fn status(stage: &Stage) -> Result<String> {
    let said = std::fs::read_to_string(stage.path("dhcpd.err"))?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}
