//! Leases taken and renewed by the clients that machines really use.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use pilotlight_tests::{
    daemon::{Daemon, PATIENCE},
    namespace::CLIENT,
    process::end_with_this_thread,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::stage::{LAB, Stage};

/// What each client's script does: sets the address and reports reason and address, one line for each call.
/// udhcpc passes the reason as an argument, the others in a variable.
const SCRIPT: &str = r#"#!/bin/sh
reason=${1:-$reason}
address=${new_ip_address:-$ip}
case $reason in
    bound|renew) @ip@ address replace "$ip/$mask" dev "$interface" ;;
    BOUND|REBOOT) @ip@ address replace "$new_ip_address/24" dev "$interface" ;;
    PREINIT) @ip@ link set "$interface" up ;;
esac
echo "$reason $address" >> @reports@
"#;

/// A running DHCP client.
struct Client {
    child: Child,
    reports: PathBuf,
}

impl Client {
    fn start(mut command: Command, stage: &Stage) -> Result<Self> {
        let log = fs::File::create(stage.path("client.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        end_with_this_thread(&mut command);
        let child = command.spawn().context("could not start the client")?;
        Ok(Self { child, reports: stage.path("reports") })
    }

    /// Waits for a report with one of `reasons`, and gives its address.
    fn report(&mut self, reasons: &[&str], stage: &Stage) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let reports = fs::read_to_string(&self.reports).unwrap_or_default();
            let found = reports.lines().filter_map(|line| line.split_once(' '));
            if let Some((_, address)) = found.into_iter().find(|(reason, _)| reasons.contains(reason)) {
                return Ok(address.to_owned());
            }
            thread::sleep(Duration::from_millis(10));
        }
        let log = fs::read_to_string(stage.path("client.log")).unwrap_or_default();
        let reports = fs::read_to_string(&self.reports).unwrap_or_default();
        bail!("the client never reported {reasons:?}\nreports: {reports}\nlog: {log}")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id() as i32).context("the client has no process")?;
        kill_process(pid, signal).context("could not signal the client")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The client's script, and the command `program` with a cleared environment.
fn prepare(stage: &Stage, program: &str) -> Result<(String, Command)> {
    let script = stage.path("script");
    let ip = stage.clients.program("ip")?;
    let text = SCRIPT
        .replace("@ip@", &ip.to_string_lossy())
        .replace("@reports@", &stage.path("reports").to_string_lossy());
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok((script.to_string_lossy().into_owned(), stage.client(program)?))
}

fn is(event: &Value, stage: &str, address: &str) -> bool {
    event["service"] == "dhcp" && event["stage"] == stage && event["address"] == address
}

/// Checks a lease from the pool, its renewal (asked for by `signal`, or by the client itself), and what the
/// server said about both.
fn lease_and_renew(stage: &Stage, server: &Daemon, command: Command, signal: Option<Signal>) -> Result<()> {
    let mut client = Client::start(command, stage)?;
    let address = client.report(&["bound", "BOUND"], stage)?;
    let last: u8 = address.rsplit('.').next().and_then(|last| last.parse().ok()).unwrap_or(0);
    ensure!(address.starts_with("10.77.0.") && (100..=199).contains(&last), "{address} is not of the pool");
    server.event("an offer", |event| is(event, "offer", &address))?;
    server.event("an acknowledgement", |event| is(event, "ack", &address))?;
    if let Some(signal) = signal {
        client.signal(signal)?;
    }
    let renewed = client.report(&["renew", "RENEW"], stage)?;
    ensure!(renewed == address, "renewed as {renewed}, leased as {address}");
    server.events_at_least(2, "an acknowledgement", |event| is(event, "ack", &address))?;
    Ok(())
}

pub(crate) fn udhcpc() -> Result<()> {
    let stage = Stage::set(LAB)?;
    let server = stage.dhcpd()?;
    let (script, mut client) = prepare(&stage, "udhcpc")?;
    client.args(["-f", "-i", CLIENT, "-s", &script]);
    lease_and_renew(&stage, &server, client, Some(Signal::USR1))
}

pub(crate) fn dhclient() -> Result<()> {
    let stage = Stage::set(LAB)?;
    let server = stage.dhcpd()?;
    let (script, mut client) = prepare(&stage, "dhclient")?;
    // Renewal after 3 s instead of half of the lease.
    fs::write(stage.path("dhclient.conf"), "supersede dhcp-renewal-time 3;\n")?;
    client.args(["-4", "-d", "-sf", &script]);
    for (option, file) in [("-cf", "dhclient.conf"), ("-lf", "leases"), ("-pf", "pid")] {
        client.arg(option).arg(stage.path(file));
    }
    client.arg(CLIENT);
    lease_and_renew(&stage, &server, client, None)
}

pub(crate) fn dhcpcd() -> Result<()> {
    let stage = Stage::set(LAB)?;
    let server = stage.dhcpd()?;
    let (script, mut client) = prepare(&stage, "dhcpcd")?;
    // No probing for another user of the address: that takes five seconds and is not ours to test.
    fs::write(stage.path("dhcpcd.conf"), "noarp\noption subnet_mask, routers\n")?;
    client.args(["-B", "-4", "-d", "-c", &script, "-f"]).arg(stage.path("dhcpcd.conf")).arg(CLIENT);
    lease_and_renew(&stage, &server, client, Some(Signal::USR1))
}

/// A named machine gets its address whatever client identifier it shows.
pub(crate) fn reserved() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.ip(&format!("link set {CLIENT} down"))?;
    stage.cable.ip(&format!("link set {CLIENT} address 52:54:00:00:00:11"))?;
    stage.cable.ip(&format!("link set {CLIENT} up"))?;
    let server = stage.dhcpd()?;
    for identifier in [&["-C"][..], &[], &["-x", "0x3d:00deadbeef"]] {
        let _ = fs::remove_file(stage.path("reports"));
        let (script, mut command) = prepare(&stage, "udhcpc")?;
        command.args(["-f", "-i", CLIENT, "-s", &script]).args(identifier);
        let address = Client::start(command, &stage)?.report(&["bound"], &stage)?;
        ensure!(address == "10.77.0.11", "{identifier:?} got {address}");
    }
    let ack = server.event("an acknowledgement", |event| is(event, "ack", "10.77.0.11"))?;
    ensure!(ack["node"] == "node1" && ack["mac"] == "52:54:00:00:00:11", "{ack}");
    Ok(())
}
