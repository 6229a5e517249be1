//! What our daemons take while nobody wants anything of them, as they are on the card.

use std::{thread::sleep, time::Duration};

use anyhow::Result;

use crate::{
    figures::{median, proportional_memory, table},
    rig::Rig,
};

const LAB: &str = "[network]\naddress = \"10.77.0.1/24\"\nprobe-first = false\n\n[network.pool]\nfirst = \"10.77.0.100\"\nlast = \"10.77.0.199\"\n";
/// The start is over by then.
const SETTLED: Duration = Duration::from_millis(500);

pub(crate) fn measure(rounds: u32) -> Result<()> {
    let rig = Rig::set()?;
    rig.cable.fixed_client_address()?;
    let folder = |name: &str| -> Result<String> {
        let path = rig.folder().join(name);
        std::fs::create_dir(&path)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let lab = rig.file("lab.toml", LAB)?.to_string_lossy().into_owned();
    let events = rig.folder().join("events.sock").to_string_lossy().into_owned();
    let clock = rig.folder().join("clock.sock").to_string_lossy().into_owned();
    let (log, leases, tftp, http, time) =
        (folder("log")?, folder("leases")?, folder("tftp")?, folder("http")?, folder("time")?);
    let set = format!("{time}/set");
    let common = ["--lab", &lab, "--events", &events];
    let mut daemons = Vec::new();
    // The update service is not among them: systemd starts it for an update.
    for (name, arguments) in [
        ("pilotlight-lab-stated", vec!["--events", &events, "--state", &log]),
        ("pilotlight-dhcpd", [&common[..], &["--state", &leases]].concat()),
        ("pilotlight-tftpd", [&common[..], &["--root", &tftp]].concat()),
        ("pilotlight-httpd", [&common[..], &["--root", &http]].concat()),
        ("pilotlight-dnsd", common.to_vec()),
        ("pilotlight-ntpd", vec!["--events", &events, "--state", &time, "--control", &clock, "--set", &set]),
    ] {
        daemons.push((name, rig.ours(name, &arguments)?));
    }
    sleep(SETTLED);
    let mut rows = Vec::new();
    let mut total = 0.0;
    for (name, daemon) in &daemons {
        let figures = (0..rounds.max(1)).map(|_| Ok(proportional_memory(daemon.pid())? as f64));
        let bytes = median(figures.collect::<Result<_>>()?);
        total += bytes;
        rows.push(vec![(*name).to_owned(), format!("{:.0}", bytes / 1024.0)]);
    }
    rows.push(vec!["all".to_owned(), format!("{:.0}", total / 1024.0)]);
    table("memory of our daemons at rest, PSS", &["daemon", "KiB"], &rows);
    Ok(())
}
