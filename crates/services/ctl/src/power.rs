//! `pilotctl power`: asked of the daemon that switches machines, which alone knows what their devices want to be told.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use pilotlight_lab::paths;

use crate::{ask::ask, login};

/// A device may take half a minute for each of several answers, and a machine as long to become what it was told to.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// The socket over which machines are switched.
    #[arg(long, global = true, value_name = "SOCKET", default_value = paths::POWER_SOCKET)]
    socket: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Says whether a node is on.
    Status {
        /// Its name in lab.toml.
        node: String,
    },
    /// Switches a node on, or wakes it.
    On {
        /// Its name in lab.toml.
        node: String,
    },
    /// Switches a node off, whatever it is doing.
    Off {
        /// Its name in lab.toml.
        node: String,
        /// Have its system shut down and switch it off, if its controller can.
        #[arg(long)]
        gently: bool,
    },
    /// Restarts a node, whatever it is doing; one that is off is switched on.
    Cycle {
        /// Its name in lab.toml.
        node: String,
        /// How long it is off, in seconds, where it is restarted by switching it off and on: 60 at most.
        #[arg(long, value_name = "SECONDS", default_value_t = 10)]
        off_for: u8,
    },
    /// Tells the Pi which user a power device lets in: asks for the name and the password, or reads a line for each from
    /// standard input.
    Login {
        /// The device's name in lab.toml.
        device: String,
        /// Keep them without asking the device.
        #[arg(long)]
        untried: bool,
    },
    /// Has the Pi forget which user a power device lets in.
    Logout {
        /// The device's name in lab.toml.
        device: String,
    },
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let question = match &arguments.verb {
        Verb::Status { node } => format!("status {node}"),
        Verb::On { node } => format!("on {node}"),
        Verb::Off { node, gently: false } => format!("off {node}"),
        Verb::Off { node, gently: true } => format!("shut-down {node}"),
        Verb::Cycle { node, off_for } => format!("cycle {node} {off_for}"),
        Verb::Login { device, untried } => {
            let (user, password) = login::read(device)?;
            let verb = if *untried { "login-untried" } else { "login" };
            format!("{verb} {device}\n{user}\n{password}")
        }
        Verb::Logout { device } => format!("logout {device}"),
    };
    let who = "nothing is done: who switches machines, and listens to operators alone,";
    let silence = "what became of it is not known: no answer came";
    ask(who, &arguments.socket, Some(&question), PATIENCE, silence)
}
