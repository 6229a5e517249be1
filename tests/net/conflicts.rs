//! A machine that nobody asked sits on an address of the pool: another one is not left with it.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::namespace::CLIENT;

use crate::stage::{LAB, Stage};

const TAKEN: &str = "10.77.0.100";
const SQUATTER: &str = "52:54:00:00:00:ee";

pub(crate) fn squatter() -> Result<()> {
    let stage = Stage::set(LAB)?;
    // A machine of its own on the clients' wire, as far as ARP goes: each answers for its own address alone.
    stage
        .cable
        .ip(&format!("link add squatter link {CLIENT} address {SQUATTER} type macvlan mode bridge"))?;
    for interface in ["all", CLIENT, "squatter"] {
        let setting = format!("/proc/sys/net/ipv4/conf/{interface}/arp_ignore");
        fs::write(&setting, "1").with_context(|| format!("could not write {setting}"))?;
    }
    stage.cable.ip(&format!("address add {TAKEN}/24 dev squatter"))?;
    stage.cable.ip("link set squatter up")?;
    let server = stage.dhcpd()?;
    let mut client = stage.client("udhcpc")?;
    client.args([
        "-f",
        "-n",
        "-q",
        "-t",
        "10",
        "-T",
        "1",
        "-A",
        "1",
        "-i",
        CLIENT,
        "-r",
        TAKEN,
        "-s",
        "/bin/true",
    ]);
    let asked = client.output().context("could not start udhcpc")?;
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    ensure!(asked.status.success(), "the machine got no lease: {said}");
    let conflict = server.event("the conflict", |event| event["stage"] == "conflict")?;
    ensure!(conflict["address"] == TAKEN && conflict["by"] == SQUATTER, "{conflict}");
    let offers = server.events(|event| event["stage"] == "offer" && event["address"] == TAKEN);
    ensure!(offers.len() == 1, "the offer did not wait for an answer, and was the only one: {offers:?}");
    server.event("an acknowledgement", |event| event["stage"] == "ack")?;
    let acks = server.events(|event| event["stage"] == "ack");
    ensure!(acks.len() == 1 && acks[0]["address"] != TAKEN, "{acks:?}\n{said}");
    Ok(())
}
