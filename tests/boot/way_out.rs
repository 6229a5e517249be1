//! A Pi with a way out: it sets its clock by time servers behind a router, and by a clock chip afterwards, and brings a new
//! release onto its card.

use std::{
    fs::File,
    path::Path,
    process::{Child, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_emulator::{pi::Kind, scene::Scene};
use pilotlight_fetch::Digest;
use pilotlight_tests::{
    namespace,
    process::end_with_this_thread,
    releases::{Flatcar, KERNEL},
    surroundings::Tools,
};

use crate::{
    card,
    database::asked,
    pcs::{event, is},
};

/// Where time servers are: behind the router, as documentation has addresses (RFC 5737), and the router itself.
const SERVERS: [&str; 4] = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "127.0.0.1"];
/// The one that is a day ahead.
const LIAR: &str = "192.0.2.3";

/// Four chronyds, one of which lies, and a server of releases.
pub(crate) fn with_a_way_out() -> Result<()> {
    let clients = Tools::clients()?;
    // What the router sends on goes out of QEMU as this process's packets.
    namespace::alone(&clients, &SERVERS[..3])?;
    let mut scene = card::scene("virt-way-out")?;
    let card = card::of_lab(&scene, "upstream")?.at_time(Some("2025-10-01T00:00:00"));
    let mut servers: Vec<Chronyd> = Vec::new();
    for address in SERVERS {
        servers.push(Chronyd::start(&clients, address, scene.folder())?);
    }
    scene.start_router(true)?;
    let ready = card::start_beside_shell(&mut scene, Kind::Virt, "ttyAMA0", &card)?;
    ensure!(ready.contains("failed units: none") && ready.contains("lab: card"), "{ready}");

    let step = event(&scene, "that the clock was set", |event| is(event, "ntp", "set"))?;
    ensure!(step["by"] == "upstream", "{step}");
    let from = step["from"].as_u64().context("no time before")?;
    // The image's own age is as far behind as a Pi starts.
    ensure!(unix()?.saturating_sub(from) > 3600, "the clock was not behind: {step}");
    let follow = event(&scene, "whom the clock follows", |event| is(event, "ntp", "follow"))?;
    ensure!(follow["server"] != LIAR, "it follows the one that lies: {follow}");
    let said = asked(&mut scene, "pilotctl clock")?.join("\n");
    ensure!(said.contains(" has it, of stratum 5, "), "{said}");
    is_right(&mut scene)?;
    refreshed(&mut scene).context("a new release")?;
    // The kernel sets the chip by the clock, and a note of it is left when a server is heard of again.
    let note = "for try in $(seq 100); do [ -e /var/lib/pilotlight/ntp/chip ] && break; sleep 1; done; \
                cat /var/lib/pilotlight/ntp/chip";
    let said = asked(&mut scene, note)?.join("\n");
    ensure!(said.contains(" rtc-pl031"), "no note of the chip: {said}");
    scene.end(card::PI);
    scene.end("router");
    drop(servers);

    // Nobody is there to be asked. The chip of this machine shows what this machine does.
    let card = card.at_time(None);
    card::start_shell(&mut scene, Kind::Virt, "ttyAMA0", &card)?;
    let said = asked(&mut scene, "pilotctl clock")?.join("\n");
    ensure!(said.contains("taken from the clock chip"), "{said}");
    is_right(&mut scene)?;
    card::tidy(scene)
}

/// Releases of Flatcar come onto the card, by the unit as it is but for where they come from.
fn refreshed(scene: &mut Scene) -> Result<()> {
    let mut flatcar = Flatcar::new();
    flatcar.release("4230.2.1", 1);
    // What the router calls itself is this process.
    let sources = flatcar.sources().replace("127.0.0.1", "10.77.0.2");
    let lines: Vec<_> = sources.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    for line in lines {
        let said = asked(scene, &format!("echo '{line}' >> /run/sources.toml"))?;
        ensure!(said == ["status 0"], "{}", said.join("\n"));
    }
    let drop_in = "mkdir -p /run/systemd/system/pilotlight-refresh.service.d && printf '[Service]\\nExecStart=\\n\
                   ExecStart=/usr/lib/pilotlight/pilotlight-refresh --sources /run/sources.toml\\n' \
                   > /run/systemd/system/pilotlight-refresh.service.d/sources.conf && systemctl daemon-reload";
    let said = asked(scene, drop_in)?;
    ensure!(said == ["status 0"], "{}", said.join("\n"));
    for (version, expect) in
        [("4230.2.1", "Flatcar stable for amd64: 4230.2.1, new"), ("4230.2.2", "4230.2.1 -> 4230.2.2")]
    {
        flatcar.release(version, 1);
        let said = asked(scene, "pilotctl mirror")?.join("\n");
        ensure!(said.contains(expect) && said.contains("status 0"), "{said}");
        let changed = event(scene, "what came", |event| {
            is(event, "mirror", "refreshed") && event["changes"].to_string().contains(expect)
        })?;
        println!("{}", changed["changes"]);
        let script = "exec 3<>/dev/tcp/10.77.0.1/80; printf 'GET /ipxe?mac=52-54-00-77-00-11 HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
        let said = asked(scene, &format!("bash -c \"{script}\""))?.join("\n");
        let first = said.split("/flatcar/").nth(1).unwrap_or_default();
        ensure!(first.starts_with(&format!("{version}/")), "{version} is not started:\n{said}");
    }
    let list =
        "cd /data/assets && ls -ld . flatcar/4230.2.2/amd64/* .fetch && sha256sum flatcar/*/amd64/*vmlinuz";
    let said = asked(scene, list)?.join("\n");
    let digest = Digest::of(Flatcar::content(KERNEL, "4230.2.2")).to_string();
    ensure!(said.contains(&digest) && said.contains("drwx------"), "{said}");
    Ok(())
}

fn unix() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// The Pi's clock says what this machine's does, as far as can be typed and read within two seconds or so.
fn is_right(scene: &mut Scene) -> Result<()> {
    let before = unix()?;
    let said = asked(scene, "date +%s")?;
    let shown: u64 = said.first().and_then(|line| line.parse().ok()).with_context(|| said.join("\n"))?;
    ensure!((before - 1..=unix()? + 1).contains(&shown), "the clock says {shown}, it is {before}");
    Ok(())
}

/// A time server, which believes this machine's clock and sets none. Dropping it ends it.
struct Chronyd(Child);

impl Chronyd {
    fn start(clients: &Tools, address: &str, folder: &Path) -> Result<Self> {
        let mut command = clients.command("chronyd")?;
        if address == LIAR {
            let liar = clients.folder().join("root/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1");
            ensure!(liar.exists(), "{} is not there", liar.display());
            command.env("LD_PRELOAD", liar).env("FAKETIME", "+1d").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let pid = format!("pidfile {}/chronyd-{address}.pid", folder.display());
        let bind = format!("bindaddress {address}");
        command.args(["-d", "-x", "-u", "root", "local stratum 5", "allow", "cmdport 0", "bindcmdaddress /"]);
        command.args([&pid, &bind]);
        let log = folder.join(format!("chronyd-{address}.log"));
        let log = File::create(&log).with_context(|| format!("could not write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        end_with_this_thread(&mut command);
        Ok(Self(command.spawn().with_context(|| format!("could not start {command:?}"))?))
    }
}

impl Drop for Chronyd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
