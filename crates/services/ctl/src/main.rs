//! `pilotctl`, the operator's command on the Pi: what it is doing, and what it did.
//!
//! It reads what the services leave in `/run` and in the event log; what changes something is the services' doing, asked
//! for over their sockets.

mod ask;
mod ca;
mod channel;
mod clock;
mod dhcp;
mod events;
mod forget;
mod install;
mod known;
mod line;
mod login;
mod mirror;
mod node;
mod passphrase;
mod power;
mod ready;
mod recover;
mod relay;
mod state;
mod typed;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use pilotlight_lab::paths;

/// Looks after the boot server on this Pi.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Waits for the Pi's address, then says in one line how the Pi is doing.
    Ready {
        /// Write the line into the journal, too.
        #[arg(long)]
        journal: bool,
        /// Take the failed units from this file, as `systemctl list-units --plain --no-legend` prints them,
        /// and do not ask systemd, which answers root alone.
        #[arg(long, value_name = "FILE")]
        failed_units: Option<PathBuf>,
    },
    /// Says in one line that the DHCP server has fallen silent or is amiss, or serves again; nothing where that was said.
    DhcpStatus {
        /// Write the line into the journal, too.
        #[arg(long)]
        journal: bool,
    },
    /// Prints the event log, oldest first.
    Events {
        /// Go on with what comes.
        #[arg(short, long)]
        follow: bool,
        /// The folder of the log.
        #[arg(long, value_name = "FOLDER", default_value = paths::EVENTS_DIR)]
        log: PathBuf,
    },
    /// Tells how the last boot of one machine went, and where it stopped and why.
    Node {
        /// Its name in lab.toml, or its hardware address.
        machine: String,
        #[command(flatten)]
        known: known::Known,
    },
    /// Says which channels the nodes follow, and has one follow another.
    Channel(channel::Arguments),
    /// Says which nodes are installed at their next start from the network, and has one installed once more.
    Install(install::Arguments),
    /// Says which machines were met as nodes that lab.toml knows by UUID or serial number, and forgets one.
    Forget(forget::Arguments),
    /// Lets a node be given its certificates: for those whose profile does not do it by itself.
    Arm {
        /// Its name in lab.toml.
        node: String,
        /// How long it may take to ask, in minutes; no more than 60.
        #[arg(long, default_value_t = 30)]
        minutes: u64,
        #[command(flatten)]
        authority: ca::Authority,
    },
    /// Prints a kubeconfig for an administrator of the lab's cluster. It is a secret.
    Kubeconfig {
        /// A new file to write it into, which nobody else may read.
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        authority: ca::Authority,
    },
    /// Prints the secrets that the lab's Talos nodes share, for `talosctl gen config --with-secrets`. The authorities' keys are
    /// among them.
    TalosSecrets {
        /// A new file to write them into, which nobody else may read.
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        authority: ca::Authority,
    },
    /// The certificate authority: what it is trusted by, its backup, and a backup brought back.
    #[command(subcommand)]
    Ca(ca::Verb),
    /// Has the Pi look for newer releases of what the lab's channels follow, and says what came of it.
    Mirror {
        /// For `cargo xtask mirror --to`: takes releases from a desk.
        #[arg(long, hide = true)]
        take: bool,
    },
    /// Switches machines on and off.
    Power(power::Arguments),
    /// Starts machines anew that were up before the Pi's start and have said nothing since: what a timer does once, six minutes
    /// after it.
    Recover(recover::Arguments),
    /// Says what time it is on the Pi and whether machines are told to believe it; sets it with `--set`.
    Clock {
        /// The time: `2026-11-23T23:20:00Z`, or `@` and the seconds since 1970.
        #[arg(long, value_name = "TIME")]
        set: Option<String>,
    },
    /// Looks for other DHCP servers on the Pi's wire, and says what they offer.
    DhcpServers {
        /// The DHCP server's socket.
        #[arg(long, value_name = "SOCKET", default_value = paths::DHCP_SOCKET)]
        socket: PathBuf,
    },
    /// Hands standard input and output to the update service: what `cargo xtask push` speaks to.
    Update,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Ready { journal, failed_units } => ready::ready(journal, failed_units.as_deref()),
        Verb::DhcpStatus { journal } => ready::dhcp(journal),
        Verb::Events { follow, log } => events::print(&log, follow),
        Verb::Node { machine, known } => node::print(&machine, &known),
        Verb::Channel(arguments) => channel::run(&arguments),
        Verb::Install(arguments) => install::run(&arguments),
        Verb::Forget(arguments) => forget::run(&arguments),
        Verb::Arm { node, minutes, authority } => ca::arm(&authority, &node, minutes),
        Verb::Kubeconfig { out, authority } => ca::kubeconfig(&authority, out.as_deref()),
        Verb::TalosSecrets { out, authority } => ca::talos_secrets(&authority, out.as_deref()),
        Verb::Ca(verb) => ca::run(&verb),
        Verb::Mirror { take } => mirror::run(take),
        Verb::Power(arguments) => power::run(&arguments),
        Verb::Recover(arguments) => recover::run(&arguments),
        Verb::Clock { set } => clock::run(set.as_deref()),
        Verb::DhcpServers { socket } => dhcp::servers(&socket),
        Verb::Update => relay::relay("the update service", Path::new(paths::UPDATE_SOCKET)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilotctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}
