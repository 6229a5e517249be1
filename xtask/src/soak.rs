//! `cargo xtask soak`: what takes too long for the tests.

use std::{
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use xshell::{Shell, cmd};

use crate::{Source, test, ui};

/// The run that simulates boots; all others start the image.
const BOOTS: &str = "boots";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Parts of the names of the runs [default: all]: boots, power-cuts-of-leases,
    /// power-cuts-of-an-update, memory-after-leases
    runs: Vec<String>,
    /// The seed of what is random [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// For how long boots are simulated
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    #[command(flatten)]
    pub(crate) source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| u64::from(now.subsec_micros()));
    let seed = arguments.seed.unwrap_or(now);
    println!("seed {seed}: --seed {seed} plays the same again");
    let wanted =
        |name: &str| arguments.runs.is_empty() || arguments.runs.iter().any(|part| name.contains(&**part));
    if wanted(BOOTS) {
        boots(arguments.minutes, seed)?;
    }
    let others: Vec<String> =
        arguments.runs.iter().filter(|part| !BOOTS.contains(&***part)).cloned().collect();
    if arguments.runs.is_empty() || !others.is_empty() {
        test::soak(&arguments.source, &others, seed)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Plays boots in memory, as many as there is time for.
fn boots(minutes: u64, seed: u64) -> anyhow::Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(ui::workspace()?);
    let cargo = test::cargo();
    let (seconds, seed) = ((minutes * 60).to_string(), seed.to_string());
    let run = cmd!(
        shell,
        "{cargo} run --quiet --release --locked --package pilotlight-machines -- {seconds} {seed}"
    );
    test::step(run)
}
