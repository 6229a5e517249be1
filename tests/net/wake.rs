//! An operator wakes a machine: what is on the wire is what its network card waits for.

use std::{net::UdpSocket, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::{process, surroundings};

use crate::stage::Stage;

const LIMIT: Duration = Duration::from_secs(30);
const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
probe-first = false

[[nodes]]
name = "asleep"
mac = "52:54:00:00:00:11"
address = "10.77.0.11"
power = { wake-on-lan = true }

[[nodes]]
name = "plugged"
mac = "52:54:00:00:00:12"
address = "10.77.0.12"
power = { device = "strip", outlet = 3 }

[[nodes]]
name = "by-hand"
mac = "52:54:00:00:00:13"
address = "10.77.0.13"

[power.strip]
kind = "web-switch"
url = "http://10.77.0.9"
"#;

pub(crate) fn magic() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let machine = UdpSocket::bind("0.0.0.0:9").context("could not open the port of magic packets")?;
    machine.set_read_timeout(Some(LIMIT))?;
    let switch_on = |node: &str| -> Result<process::Outcome> {
        let mut command = Command::new(surroundings::daemon("pilotctl")?);
        command.args(["power", "on", node, "--lab"]).arg(stage.path("lab.toml"));
        stage.cable.on_server_side(&mut command)?;
        process::run(&mut command, LIMIT)
    };
    let said = switch_on("asleep")?;
    ensure!(said.status.success() && said.text.contains("pilotctl node asleep"), "{}", said.text);
    let mac = [0x52, 0x54, 0, 0, 0, 0x11];
    let expect: Vec<u8> = [0xff; 6].into_iter().chain(mac.into_iter().cycle().take(6 * 16)).collect();
    for _ in 0..3 {
        let mut packet = [0; 256];
        let (length, from) = machine.recv_from(&mut packet).context("no packet came")?;
        ensure!(packet[..length] == expect, "{:02x?} wakes nothing", &packet[..length]);
        ensure!(from.ip().to_string() == "10.77.0.1", "it came from {from}");
    }
    for (node, expect) in [
        ("plugged", "switched by \"strip\", which the Pi does not speak to yet"),
        ("by-hand", "nothing switches by-hand"),
        ("nobody", "there is no node \"nobody\""),
    ] {
        let said = switch_on(node)?;
        ensure!(!said.status.success() && said.text.contains(expect), "{node}: {}", said.text);
    }
    Ok(())
}
