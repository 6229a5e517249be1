//! `pilotlight-httpd`: the sockets, files and clock around [`pilotlight_http`].
//!
//! One thread serves all connections and never waits for the card or for another service; three more do that for it.

mod answer;
mod certificates;
mod connection;
mod consult;
mod listener;
mod outgoing;
mod readers;
mod report;
mod server;
mod site;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use anyhow::Context as _;
use clap::Parser;
use connection::Shared;
use consult::Consult;
use mio::{Poll, Waker};
use pilotlight_http::Warmth;
use pilotlight_kit::{
    Events,
    assets::Assets,
    lab::{self, Current},
    signals, systemd,
};
use pilotlight_lab::paths;
use readers::Readers;
use rustix::{
    process::{Resource, Rlimit, setrlimit},
    rand::GetRandomFlags,
};
use server::Server;
use site::Site;

/// What comes is read into this many bytes.
const BUFFER: usize = 64 * 1024;
/// Descriptors for all connections, a file for each, and the rest.
const DESCRIPTORS: u64 = 20_000;
const _: () = assert!(DESCRIPTORS > 2 * server::MOST_CONNECTIONS as u64 + 64);

/// Serves boot scripts, configuration and installer files over HTTP.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The lab in force.
    #[arg(long, value_name = "FILE", default_value = paths::LAB)]
    lab: PathBuf,
    /// What has become of its nodes since.
    #[arg(long, value_name = "FILE", default_value = paths::LAB_STATE)]
    lab_state: PathBuf,
    /// What is served beneath `/assets/`; may be given more than once, and the first folder that has a file gives it.
    #[arg(long = "root", value_name = "DIR", default_values = [paths::HTTP_ROOT, paths::ASSETS])]
    roots: Vec<PathBuf>,
    /// Where to listen, when systemd hands over no socket; may be given more than once.
    #[arg(long, value_name = "ADDR:PORT", default_values = ["0.0.0.0:80", "[::]:80"])]
    listen: Vec<SocketAddr>,
    /// The socket of the certificate authority.
    #[arg(long, value_name = "SOCKET", default_value = paths::PKI_SOCKET)]
    pki: PathBuf,
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
    let stop = signals::stop_requests().context("cannot wait for signals")?;
    let lab = lab::load(&arguments.lab)?;
    let assets = Assets::open(&arguments.roots)
        .with_context(|| format!("cannot serve {:?}: no readable folder", arguments.roots))?;
    let listeners = listener::adopt(listener::open(systemd::listen_fds(), &arguments.listen)?)?;
    let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    // The unit gives as many, and lets nobody ask for more. By hand there may be fewer, and then fewer come in.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) });
    let poll = Poll::new().context("cannot set up the event loop")?;
    let waker = Waker::new(poll.registry(), server::HELPERS).context("cannot set up the event loop")?;
    let waker = Arc::new(waker);
    let shared = Shared {
        site: Site::new(
            Current::new(lab, &arguments.lab_state, &arguments.roots),
            assets,
            Events::new(&arguments.events),
            run_tag()?,
        ),
        warmth: Warmth::default(),
        readers: Readers::start(Arc::clone(&waker)).context("cannot start the threads that read")?,
        consult: Consult::start(waker, arguments.pki.clone()).context("cannot start the thread that asks")?,
        buffer: vec![0; BUFFER],
        now: Instant::now(),
        stopping: false,
    };
    // What is wrong with the state or an index is told at once.
    shared.site.lab();
    let server = Server::new(poll, listeners, shared)?;
    systemd::ready(&format!("Serving {:?} on {addresses:?}", arguments.roots));
    server.run(&stop)
}

/// Part of every entity tag: the same as long as the machine is not started again, so that a download goes on where it was
/// when the server was restarted.
fn run_tag() -> anyhow::Result<String> {
    if let Ok(boot) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        return Ok(boot.chars().filter(char::is_ascii_hexdigit).take(12).collect());
    }
    let mut run = [0; 6];
    rustix::rand::getrandom(&mut run, GetRandomFlags::empty()).context("the kernel gave no random bytes")?;
    Ok(run.iter().map(|byte| format!("{byte:02x}")).collect())
}
