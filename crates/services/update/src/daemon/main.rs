//! `pilotlight-updated`: takes a new system for the other slot, and says what becomes of it.
//!
//! Three ways to run it, all as the same user, who may touch the card's disk and nothing else: as the daemon behind
//! the operators' socket, and at the end of a start on trial, to keep the slot or to go back.

mod disk;
mod last;
mod serve;

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use pilotlight_disk::Trial;
use pilotlight_lab::paths;
use pilotlight_update::{go_back, settle, table};

use crate::{
    disk::Card,
    last::{Last, State},
};

/// Takes a new system, tries it, keeps it or goes back.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Answers on the socket that systemd hands over.
    Serve,
    /// Ends the trial of the slot that runs: keeps it when no unit has failed, else goes back.
    Judge {
        /// The failed units, as `systemctl list-units --plain --no-legend` prints them.
        #[arg(long, value_name = "FILE")]
        failed_units: std::path::PathBuf,
    },
    /// Ends the trial of the slot that runs, if it is not over: it took too long.
    Expire,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Serve => serve::serve(),
        Verb::Judge { failed_units } => judge(&failed_units),
        Verb::Expire => back("it was not ready in time"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilotlight-updated: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn judge(failed_units: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(failed_units)
        .with_context(|| format!("cannot read {}", failed_units.display()))?;
    let failed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_start_matches(['●', ' ']).split_whitespace().next())
        .collect();
    if !failed.is_empty() {
        return back(&format!("these units failed: {}", failed.join(", ")));
    }
    let card = Card::open()?;
    if table(&card)?.trial == Trial::Settled {
        return Ok(());
    }
    settle(&card)?;
    println!("slot {} is kept", card.running);
    Last { slot: card.running.name().to_owned(), state: State::Kept, reason: String::new() }.write();
    Ok(())
}

fn back(reason: &str) -> anyhow::Result<()> {
    let card = Card::open()?;
    if table(&card)?.trial == Trial::Settled {
        return Ok(());
    }
    println!("slot {} is left again: {reason}", card.running);
    Last { slot: card.running.name().to_owned(), state: State::WentBack, reason: reason.to_owned() }.write();
    go_back(&card)?;
    restart()
}

/// Asks for a restart: a path unit waits for the file.
fn restart() -> anyhow::Result<()> {
    match fs::write(paths::RESTART, "") {
        Err(fault) => bail!("cannot ask for a restart by {}: {fault}", paths::RESTART),
        Ok(()) => Ok(()),
    }
}
