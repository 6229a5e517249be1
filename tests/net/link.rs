//! The Pi on a wire that is not the lab's: whoever is there hears who it is and why it is silent.

use std::time::Duration;

use anyhow::{Result, ensure};
use pilotlight_tests::{daemon::Daemon, process::must};

use crate::stage::{LAB, Stage};

const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn announced() -> Result<()> {
    let stage = Stage::set(LAB)?;
    // A home network with its own DHCP server, and a laptop in it: no address of the lab's anywhere.
    for words in ["address add 192.168.1.1/24", "address add 192.168.1.50/24", "route add 224.0.0.0/4"] {
        stage.cable.ip(&format!("{words} dev client0"))?;
    }
    let home =
        LAB.replace("10.77.0.", "192.168.1.").replace("[network]", "[network]\ninterface = \"client0\"");
    std::fs::write(stage.path("home.toml"), home)?;
    let mut other = stage.other_dhcpd("home.toml")?;
    std::fs::write(stage.path("lab.toml"), LAB.replace("probe-first = false", "probe-first = true"))?;
    std::fs::write(stage.path("card.json"), r#"{"data":{"state":"ok"}}"#)?;
    std::fs::write(stage.path("lab.json"), r#"{"source":"image"}"#)?;
    let mut dhcpd = stage.dhcpd()?;
    let files = ["card.json", "lab.json", "dhcp-status"].map(|name| stage.path(name));
    let [card, lab, dhcp] = files.each_ref().map(|path| path.to_string_lossy());
    let arguments = ["--listen", "10.77.0.1:53", "--announce", "--status", &*card, &*lab, &*dhcp];
    let mut dnsd = stage.daemon("pilotlight-dnsd", "dnsd", &arguments)?;
    let is = |name: &'static str| move |event: &serde_json::Value| event["name"] == name;
    dnsd.event("its own name", is("pilotlight.local."))?;
    dhcpd.event("silence", |event| event["stage"] == "silent")?;

    let ask = |words: &str| -> Result<String> {
        let mut client = stage.client("drill")?;
        client.args(["-p", "5353", "@224.0.0.251"]).args(words.split(' '));
        Ok(must(&mut client, LIMIT)?.text)
    };
    let said = ask("pilotlight.local A")?;
    ensure!(said.contains("10.77.0.1"), "drill said\n{said}");
    let said = ask("_services._dns-sd._udp.local PTR")?;
    ensure!(said.contains("_pilotlight._tcp.local"), "drill said\n{said}");
    let said = ask("_pilotlight._tcp.local PTR")?;
    ensure!(said.contains("Pilotlight._pilotlight._tcp.local"), "drill said\n{said}");
    // What is told is what the DHCP server has left, looked for every second.
    let end = std::time::Instant::now() + LIMIT;
    loop {
        let said = ask("Pilotlight._pilotlight._tcp.local TXT")?;
        let parts = ["dhcp=silent", "another DHCP server at 192.168.1.1 answers", "data=ok", "lab=image"];
        if parts.iter().all(|part| said.contains(part)) {
            break;
        }
        ensure!(std::time::Instant::now() < end, "it never told why it is silent:\n{said}");
        std::thread::sleep(Duration::from_millis(200));
    }

    // A second one on the wire finds the name taken.
    let (path, events) = (stage.path("home.toml"), stage.path("other.sock"));
    let (path, events) = (path.to_string_lossy(), events.to_string_lossy());
    let arguments = ["--lab", &*path, "--events", &*events, "--listen", "192.168.1.1:53", "--announce"];
    let mut second = Daemon::start(None, "pilotlight-dnsd", "second", &arguments, stage.folder())?;
    second.event("another name", is("pilotlight-2.local."))?;
    ensure!(dnsd.events(is("pilotlight-2.local.")).is_empty(), "the first one gave its name away");
    for daemon in [&mut other, &mut dhcpd, &mut dnsd, &mut second] {
        daemon.must_be_alive()?;
    }
    Ok(())
}
