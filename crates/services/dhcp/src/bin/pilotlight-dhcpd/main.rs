//! `pilotlight-dhcpd`: performs what `pilotlight_dhcp` decides.
//!
//! Needs `CAP_NET_RAW` (frames to machines without an address) and `CAP_NET_BIND_SERVICE` (port 67), nothing
//! else. Single-threaded but for the thread that writes leases down.

mod commit;
mod control;
mod journal;
mod serve;
mod wire;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use pilotlight_kit::{Events, event::since_power_on_ms, lab::Current, signals, systemd};
use pilotlight_lab::{Lab, paths};

/// The DHCP server of a Pilotlight.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The lab in force
    #[arg(long, value_name = "FILE", default_value = paths::LAB)]
    lab: PathBuf,
    /// What has become of its nodes since
    #[arg(long, value_name = "FILE", default_value = paths::LAB_STATE)]
    lab_state: PathBuf,
    /// The interface to serve, instead of the lab's
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// The folder for the leases
    #[arg(long, value_name = "DIR", default_value = paths::DHCP_STATE)]
    state: PathBuf,
    /// The socket that takes events
    #[arg(long, value_name = "SOCKET", default_value = paths::EVENTS_SOCKET)]
    events: PathBuf,
    /// The socket on which operators ask for other DHCP servers, when systemd hands over none
    #[arg(long, value_name = "SOCKET")]
    control: Option<PathBuf>,
    /// The file that says what the server is doing, where its folder is there
    #[arg(long, value_name = "FILE", default_value = paths::DHCP_STATUS)]
    status: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // Before any thread starts: threads inherit the signal mask.
    let stop = signals::stop_requests().context("wait for the request to stop")?;
    let lab = Current::new(read_lab(&arguments)?, &arguments.lab_state, &[]);
    let events = Events::new(&arguments.events);
    let (store, leases) = journal::Store::open(&arguments.state, since_power_on_ms(), &events);
    let control = control::Control::open(systemd::listen_fds(), arguments.control.as_deref())?;
    serve::Daemon::new(lab, events, store, &leases, control, arguments.status)?.run(&stop)
}

fn read_lab(arguments: &Arguments) -> anyhow::Result<Lab> {
    let path = arguments.lab.display();
    let text = std::fs::read_to_string(&arguments.lab).with_context(|| format!("read the lab {path}"))?;
    let mut lab = pilotlight_lab::parse(&text)
        .map_err(|problems| anyhow::anyhow!("{}", problems.render(&path.to_string(), &text, false)))?;
    if let Some(interface) = &arguments.interface {
        lab.network.interface.clone_from(interface);
    }
    Ok(lab)
}
