//! Machines that were up before the Pi's start and are not there any more are started anew, once each; whoever is there, or was
//! switched off, is left alone.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::{process::must, surroundings};

use super::{
    LIMIT, Switching,
    strip::{PASSWORD, USER, look, plug_in},
};

/// The cable's client end, and with it the web switch, is the node that is there.
const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
probe-first = false

[[nodes]]
name = "gone"
mac = "52:54:00:00:00:12"
address = "10.77.0.12"
power = { device = "strip", outlet = 1 }

[[nodes]]
name = "there"
mac = "52:54:00:00:00:01"
address = "10.77.0.50"
power = { device = "strip", outlet = 2 }

[[nodes]]
name = "off"
mac = "52:54:00:00:00:13"
address = "10.77.0.13"
power = { device = "strip", outlet = 3 }

[[nodes]]
name = "back"
mac = "52:54:00:00:00:14"
address = "10.77.0.14"
power = { device = "strip", outlet = 4 }

[power.strip]
kind = "web-switch"
url = "http://10.77.0.50:8080"
"#;

pub(crate) fn started_anew() -> Result<()> {
    let scene = Switching::begin(LAB)?;
    let strip = plug_in()?;
    scene.says(&["login", "strip"], &format!("{USER}\n{PASSWORD}\n"), true, "and the Pi remembers it")?;
    for node in ["gone", "there", "back"] {
        scene.done(&["on", node], "is on")?;
    }
    let before = look(&strip, |strip| strip.orders.len());

    let event = |minutes: u64, service: &str, stage: &str, node: &str| {
        let boot = minutes * 60_000;
        format!(
            "{{\"unix-ms\":0,\"boot-ms\":{boot},\"service\":\"{service}\",\"stage\":\"{stage}\",\"outcome\":\"ok\",\"node\":\"{node}\"}}\n"
        )
    };
    let mut log: String =
        ["gone", "there", "off", "back"].map(|node| event(50, "dhcp", "ack", node)).concat();
    log += &event(55, "power", "off", "off");
    log += &event(1, "dhcp", "ack", "back");
    fs::write(scene.stage.subfolder("log")?.join("events"), log)?;
    let mut recover = Command::new(surroundings::daemon("pilotctl")?);
    recover
        .arg("recover")
        .arg("--log")
        .arg(scene.stage.path("log"))
        .arg("--lab")
        .arg(scene.stage.path("lab.toml"));
    recover.arg("--lab-state").arg(scene.stage.path("nodes.toml"));
    recover.arg("--socket").arg(scene.stage.path("power.sock"));
    scene.stage.cable.on_server_side(&mut recover)?;
    let said = must(&mut recover, LIMIT)?.text;
    ensure!(said.contains("gone was up before the Pi's start and is not there"), "{said}");
    ensure!(said.contains("there has said nothing since the Pi's start, and is up"), "{said}");

    let orders: Vec<_> = look(&strip, |strip| {
        strip.orders.get(before..).map(|orders| orders.iter().map(|(outlet, on, _)| (*outlet, *on)).collect())
    })
    .context("orders were taken back")?;
    ensure!(orders == [(0, false), (0, true)], "what was switched: {orders:?}");
    Ok(())
}
