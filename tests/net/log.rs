//! The event log goes away in the middle of things: answers go on, and what the log missed is counted and told in it.

use std::{net::UdpSocket, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::{daemon::Daemon, process::must, surroundings};
use serde_json::Value;

use crate::{
    hostile::discover,
    stage::{LAB, Stage},
};

const LIMIT: Duration = Duration::from_secs(30);
/// Machines, and how often each asks while nobody keeps a log: more than is kept for one.
const MACHINES: u8 = 50;
const ROUNDS: usize = 40;

pub(crate) fn killed() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let log = stage.subfolder("log")?;
    let start = |label: &str| -> Result<Daemon> {
        let (events, log) = (stage.path("events.sock"), log.to_string_lossy());
        let arguments = ["--events", &*events.to_string_lossy(), "--state", &*log].map(str::to_owned);
        let arguments = arguments.each_ref().map(String::as_str);
        Daemon::start(Some(&stage.cable), "pilotlight-lab-stated", label, &arguments, stage.folder())
    };
    let state = start("lab-stated")?;
    let mut dhcpd = stage.dhcpd()?;
    let socket = UdpSocket::bind("10.77.0.50:68").context("could not open the client's port")?;
    socket.set_broadcast(true)?;
    let offers = |event: &Value| event["stage"] == "offer";
    let mut asked = 0;
    let mut round = || -> Result<()> {
        for machine in 0..MACHINES {
            socket.send_to(&discover([0x52, 0x54, 0, 0, 1, machine]), "255.255.255.255:67")?;
        }
        asked += usize::from(MACHINES);
        dhcpd.events_at_least(asked, "an offer", offers)
    };
    round()?;
    let lines = || -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(log.join("events.jsonl"))?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    };
    let end = std::time::Instant::now() + LIMIT;
    while lines()?.iter().filter(|line| offers(line)).count() < usize::from(MACHINES) {
        ensure!(std::time::Instant::now() < end, "the log was never written");
        std::thread::sleep(Duration::from_millis(20));
    }
    // SIGKILL.
    drop(state);
    for _ in 0..ROUNDS {
        round()?;
    }
    let state = start("lab-stated-again")?;
    round()?;
    let end = std::time::Instant::now() + LIMIT;
    let lost = loop {
        let lines = lines()?;
        let lost: u64 = lines.iter().filter_map(|line| line["lost"].as_u64()).sum();
        let kept = lines.iter().filter(|line| offers(line)).count();
        if lost > 0 && lost as usize + kept >= asked {
            println!("{asked} offers, {kept} of them in the log, {lost} told to be lost");
            break lost;
        }
        ensure!(
            std::time::Instant::now() < end,
            "of {asked} offers {kept} are in the log, {lost} told to be lost"
        );
        std::thread::sleep(Duration::from_millis(100));
    };
    ensure!(lost as usize <= asked, "{lost} were lost of {asked}");
    dhcpd.must_be_alive()?;

    // What is in the log is the story of a machine that asked and asked.
    let mut story = Command::new(surroundings::daemon("pilotctl")?);
    story.args(["node", "52:54:00:00:01:00", "--log"]).arg(&log).arg("--lab").arg(stage.path("lab.toml"));
    let said = must(&mut story, LIMIT)?.text;
    ensure!(
        said.contains("52:54:00:00:01:00: boot of") && said.contains("offered 10.77.0."),
        "pilotctl said\n{said}"
    );
    let mut story = Command::new(surroundings::daemon("pilotctl")?);
    story.args(["node", "node1", "--log"]).arg(&log).arg("--lab").arg(stage.path("lab.toml"));
    let said = must(&mut story, LIMIT)?.text;
    ensure!(said.contains("it never asked for an address"), "pilotctl said\n{said}");
    drop(state);
    Ok(())
}
