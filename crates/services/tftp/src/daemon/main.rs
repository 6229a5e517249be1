//! `pilotlight-tftpd`: the sockets, files and clock around [`pilotlight_tftp`].
//!
//! One thread, two descriptors and a few kilobytes for each transfer, and one buffer for all of them: blocks go
//! from the page cache into that buffer and out.

mod alarm;
mod files;
mod handover;
mod server;
mod sockets;
mod table;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use pilotlight_kit::{
    Events,
    beneath::Root,
    lab::{self, Current},
    signals, systemd,
};
use pilotlight_lab::paths;

/// Serves files by TFTP, to be read only.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The lab in force.
    #[arg(long, value_name = "FILE", default_value = paths::LAB)]
    lab: PathBuf,
    /// What has become of its nodes since.
    #[arg(long, value_name = "FILE", default_value = paths::LAB_STATE)]
    lab_state: PathBuf,
    /// What is served.
    #[arg(long, value_name = "DIR", default_value = paths::TFTP_ROOT)]
    root: PathBuf,
    /// What is served beneath `assets/`; nothing unless given.
    #[arg(long, value_name = "DIR")]
    assets: Option<PathBuf>,
    /// Folders whose index says which versions of systems the Pi has; may be given more than once.
    #[arg(long = "index", value_name = "DIR", default_values = [paths::HTTP_ROOT, paths::ASSETS])]
    indexes: Vec<PathBuf>,
    /// Where to listen, when systemd hands over no socket; may be given more than once.
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:69")]
    listen: Vec<SocketAddr>,
    /// The socket that takes events.
    #[arg(long, value_name = "SOCKET", default_value = paths::EVENTS_SOCKET)]
    events: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilotlight-tftpd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let stop = signals::stop_requests().context("cannot wait for signals")?;
    let open = |path: &PathBuf| {
        Root::open(path).with_context(|| format!("cannot serve {}: no readable folder", path.display()))
    };
    let lab = lab::load(&arguments.lab)?;
    let files = files::Files {
        // The web server tells of a state or an index that cannot be read.
        lab: Current::new(lab, &arguments.lab_state, &arguments.indexes),
        root: open(&arguments.root)?,
        assets: arguments.assets.as_ref().map(open).transpose()?,
    };
    let systemd::Handed { sockets, kept } = systemd::handed();
    let listeners = sockets::listeners(sockets, &arguments.listen)?;
    let addresses: Vec<_> = listeners.iter().filter_map(|socket| socket.local_addr().ok()).collect();
    let mut server = server::Server::new(files, listeners, stop, Events::new(&arguments.events))
        .context("cannot set up the event loop")?;
    server.go_on(kept);
    systemd::ready(&format!("Serving {} on {addresses:?}", arguments.root.display()));
    server.run().context("the event loop failed")
}
