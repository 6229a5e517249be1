//! An operator wakes a machine: what is on the wire is what its network card waits for.

use std::{net::UdpSocket, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::Switching;

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
name = "by-hand"
mac = "52:54:00:00:00:13"
address = "10.77.0.13"
"#;

pub(crate) fn magic() -> Result<()> {
    let scene = Switching::begin(LAB)?;
    let machine = UdpSocket::bind("0.0.0.0:9").context("could not open the port of magic packets")?;
    machine.set_read_timeout(Some(LIMIT))?;
    scene.done(&["on", "asleep"], "pilotctl node asleep")?;
    let mac = [0x52, 0x54, 0, 0, 0, 0x11];
    let expect: Vec<u8> = [0xff; 6].into_iter().chain(mac.into_iter().cycle().take(6 * 16)).collect();
    for _ in 0..3 {
        let mut packet = [0; 256];
        let (length, from) = machine.recv_from(&mut packet).context("no packet came")?;
        ensure!(packet[..length] == expect, "{:02x?} wakes nothing", &packet[..length]);
        ensure!(from.ip().to_string() == "10.77.0.1", "it came from {from}");
    }
    scene.daemon.event("that it was woken", |event| event["stage"] == "on" && event["node"] == "asleep")?;
    for verb in ["off", "cycle"] {
        scene.refused(&[verb, "asleep"], "asleep can only be woken")?;
    }
    scene.refused(&["status", "asleep"], "nothing tells whether asleep is on")?;
    scene.refused(&["on", "by-hand"], "nothing switches by-hand")?;
    scene.refused(&["on", "nobody"], "there is no node \"nobody\"")?;
    Ok(())
}
