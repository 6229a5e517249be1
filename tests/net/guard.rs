//! Two DHCP servers on one wire: the one that was told to listen first stays silent.

use anyhow::{Context as _, Result, ensure};

use crate::stage::{LAB, Stage};

pub(crate) fn silent() -> Result<()> {
    let stage = Stage::set(LAB)?;
    // The server that was there first is at the clients' end; it is one of ours with a lab that does not listen.
    stage.cable.ip("address add 10.77.0.254/24 dev client0")?;
    let other_lab = LAB
        .replace("10.77.0.1/24", "10.77.0.254/24")
        .replace("[network]", "[network]\ninterface = \"client0\"");
    std::fs::write(stage.path("other.toml"), other_lab)?;
    let mut other = stage.other_dhcpd("other.toml")?;
    let careful = LAB.replace("probe-first = false", "probe-first = true");
    std::fs::write(stage.path("lab.toml"), careful)?;
    let mut ours = stage.dhcpd()?;
    let silent = ours.event("silence", |event| event["service"] == "dhcp" && event["stage"] == "silent")?;
    ensure!(silent.to_string().contains("10.77.0.254"), "the other server is not named: {silent}");
    other.must_be_alive()?;
    ours.must_be_alive()?;
    // A machine asks: its question reaches only ours (the other server shares its interface), which says nothing.
    let mut machine = stage.client("udhcpc")?;
    machine.args(["-f", "-n", "-q", "-t", "3", "-T", "1", "-i", "client0", "-s", "/bin/true"]);
    let asked = machine.output().context("could not start udhcpc")?;
    ensure!(!asked.status.success(), "the machine got a lease: {}", String::from_utf8_lossy(&asked.stderr));
    ours.event("the question", |event| event["stage"] == "drop" && event["kind"] == "silent")?;
    let offers = ours.events(|event| event["stage"] == "offer" || event["stage"] == "ack");
    ensure!(offers.is_empty(), "it answered all the same: {offers:?}");
    Ok(())
}
