//! `pilotlight-httpd`: the sockets, files and clock around [`pilotlight_http`], with hyper for the protocol.
//!
//! One thread takes all connections; a few more wait for the card when a file is not in memory.

mod answer;
mod body;
mod connection;
mod listener;
mod site;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, rc::Rc};

use anyhow::Context as _;
use clap::Parser;
use pilotlight_kit::{Events, beneath::Root, lab, systemd};
use pilotlight_lab::paths;
use rustix::rand::GetRandomFlags;
use site::Site;

/// Threads that read files. The page cache answers most reads at once; a card has one queue anyway.
const READERS: usize = 8;

/// Serves boot scripts, configuration and installer files over HTTP.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The lab in force.
    #[arg(long, value_name = "FILE", default_value = paths::LAB)]
    lab: PathBuf,
    /// What is served beneath `/assets/`.
    #[arg(long, value_name = "DIR", default_value = paths::HTTP_ROOT)]
    root: PathBuf,
    /// Where to listen, when systemd hands over no socket; may be given more than once.
    #[arg(long, value_name = "ADDR:PORT", default_values = ["0.0.0.0:80", "[::]:80"])]
    listen: Vec<SocketAddr>,
    /// The socket that takes events.
    #[arg(long, value_name = "SOCKET", default_value = paths::EVENTS_SOCKET)]
    events: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilotlight-httpd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = lab::load(&arguments.lab)?;
    let root = Root::open(&arguments.root)
        .with_context(|| format!("cannot serve {}: no readable folder", arguments.root.display()))?;
    let sockets = listener::open(systemd::listen_fds(), &arguments.listen)?;
    let mut run = [0; 6];
    rustix::rand::getrandom(&mut run, GetRandomFlags::empty()).context("the kernel gave no random bytes")?;
    let site = Rc::new(Site::new(lab, root, Events::new(&arguments.events), run));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS)
        .build()
        .context("cannot set up the event loop")?;
    let tasks = tokio::task::LocalSet::new();
    let served = tasks.block_on(&runtime, async {
        let listeners = listener::adopt(sockets)?;
        let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        systemd::ready(&format!("Serving {} on {addresses:?}", arguments.root.display()));
        listener::serve(listeners, site).await
    });
    // A read that hangs on a bad card must not hold up the end.
    runtime.shutdown_background();
    served
}
