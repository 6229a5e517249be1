//! `cargo xtask soak`: what takes too long for the tests.

use std::{
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;

use crate::{Source, test};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Parts of the names of the runs [default: all]: power-cuts-of-leases, power-cuts-of-an-update
    runs: Vec<String>,
    /// The seed of what is random [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    pub(crate) source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| u64::from(now.subsec_micros()));
    let seed = arguments.seed.unwrap_or(now);
    println!("seed {seed}: --seed {seed} plays the same again");
    test::soak(&arguments.source, &arguments.runs, seed)?;
    Ok(ExitCode::SUCCESS)
}
