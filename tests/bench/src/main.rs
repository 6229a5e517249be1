//! `pilotlight-bench`: the services and what they replace, at the two ends of a cable, in one run.
//!
//! Started by `cargo xtask bench services`, which builds the daemons as they are on the card (profile `release`) and says
//! where everything is. Each subject runs in a process of its own, which enters namespaces before it has threads.

mod cores;
mod dhcp;
mod figures;
mod groups;
mod http;
mod memory;
mod rig;
mod tftp;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;

/// Measures services; `cargo xtask bench services` starts it.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure [default: all]
    subjects: Vec<String>,
    /// How often each is measured; medians are printed
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Measure in this very process
    #[arg(long, hide = true)]
    here: bool,
    /// Serve a file from memory by TFTP at this address
    #[arg(long, value_names = ["ADDR:PORT", "FILE"], num_args = 2, hide = true)]
    from_memory: Vec<String>,
}

/// What can be measured: a name, and what measures it and prints a table, given the number of rounds.
type Subject = (&'static str, fn(u32) -> Result<()>);

const SUBJECTS: &[Subject] =
    &[("dhcp", dhcp::measure), ("http", http::measure), ("memory", memory::measure), ("tftp", tftp::measure)];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let [address, file] = arguments.from_memory.as_slice() {
        let address: SocketAddr = address.parse().context("no address and port")?;
        return tftp::reference::serve(address, &PathBuf::from(file));
    }
    let known: Vec<&str> = SUBJECTS.iter().map(|(name, _)| *name).collect();
    for name in &arguments.subjects {
        if !known.contains(&name.as_str()) {
            bail!("{name:?} cannot be measured; there are: {}", known.join(", "));
        }
    }
    let wanted =
        |name: &str| arguments.subjects.is_empty() || arguments.subjects.iter().any(|part| part == name);
    for (name, measure) in SUBJECTS.iter().filter(|(name, _)| wanted(name)) {
        if arguments.here {
            measure(arguments.rounds)?;
            continue;
        }
        let mut command = Command::new(std::env::current_exe().context("could not find this very program")?);
        command.args(["--here", "--rounds", &arguments.rounds.to_string(), name]);
        let status = command.status().with_context(|| format!("could not measure {name}"))?;
        if !status.success() {
            bail!("{name} could not be measured");
        }
    }
    Ok(())
}
