//! `pilotlight-dnsd`: the sockets, waiting and clock around [`pilotlight_dns`].
//!
//! One thread. A question that the lab answers is answered at once; one for another name server waits in a task of its
//! own, of which there are so many and no more.

mod forward;
mod link;
mod serve;
mod shares;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, rc::Rc};

use anyhow::Context as _;
use clap::Parser;
use pilotlight_dns::{Gate, Zone};
use pilotlight_kit::{Events, lab, systemd};
use pilotlight_lab::{Lab, paths};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

/// Answers questions about the lab's names, and asks others for the rest.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The lab in force.
    #[arg(long, value_name = "FILE", default_value = paths::LAB)]
    lab: PathBuf,
    /// Where to listen, by UDP and TCP, when systemd hands over no socket; may be given more than once.
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:53")]
    listen: Vec<SocketAddr>,
    /// The port that other name servers are asked at.
    #[arg(long, value_name = "PORT", default_value_t = 53)]
    upstream_port: u16,
    /// Make the Pi known on the lab's interface, by multicast DNS.
    #[arg(long)]
    announce: bool,
    /// What the announcement tells of the card, of the lab and of the DHCP server.
    #[arg(long, value_name = "FILE", num_args = 3, default_values = [paths::CARD_STATUS, paths::LAB_STATUS, paths::DHCP_STATUS])]
    status: Vec<PathBuf>,
    /// The socket that takes events.
    #[arg(long, value_name = "SOCKET", default_value = paths::EVENTS_SOCKET)]
    events: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilotlight-dnsd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = lab::load(&arguments.lab)?;
    let zone = Zone::of(&lab, serial(&arguments.lab)).context("the lab's names do not fit the DNS")?;
    let upstream =
        lab.network.upstream.iter().map(|address| SocketAddr::from((*address, arguments.upstream_port)));
    let events = Rc::new(Events::new(&arguments.events));
    let gate = Gate::new(&lab.network);
    let server = Rc::new(serve::Server::new(zone, gate, upstream.collect(), Rc::clone(&events)));
    let mut link = link(arguments, &lab, events);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot set up the event loop")?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let mut stop = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        let sockets = serve::sockets(systemd::listen_fds(), &arguments.listen)?;
        let addresses: Vec<_> = sockets.addresses();
        server.start(sockets);
        systemd::ready(&format!("Answering for {} on {addresses:?}", lab.network.domain));
        match &mut link {
            Some(link) => {
                tokio::select! {
                    _ = stop.recv() => {}
                    () = link.run() => {}
                }
                link.leave();
            }
            None => drop(stop.recv().await),
        }
        Ok(())
    })
}

fn link(arguments: &Arguments, lab: &Lab, events: Rc<Events>) -> Option<link::Link> {
    let [card, origin, dhcp] = &arguments.status[..] else { return None };
    let files = link::Files { card: card.clone(), lab: origin.clone(), dhcp: dhcp.clone() };
    arguments.announce.then(|| link::Link::new(lab.clone(), files, events))
}

/// Tells one lab from a later one: when its file was written, in seconds since 1970.
fn serial(lab: &std::path::Path) -> u32 {
    let written = std::fs::metadata(lab).and_then(|meta| meta.modified()).ok();
    let since = written.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    // Serial numbers go round (RFC 1982).
    since.map_or(1, |since| since.as_secs() as u32)
}
