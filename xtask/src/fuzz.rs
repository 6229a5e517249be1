//! `cargo xtask fuzz`: arbitrary input for every parser, for as long as wanted.

use std::process::ExitCode;

use clap::Args;
use pilotlight_card::{Settings, Workshop};
use xshell::{Shell, cmd};

use crate::{test, ui};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What is fed [default: everything, one after the other]
    targets: Vec<String>,
    /// For how long in all
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The seed of what is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let workspace = ui::workspace()?;
    let finds = Workshop::open(&workspace, &Settings::default())?.target().join("fuzz");
    let shell = Shell::new()?;
    shell.change_dir(&workspace);
    let cargo = test::cargo();
    let (seconds, seed) = ((arguments.minutes * 60).to_string(), arguments.seed.to_string());
    let targets = &arguments.targets;
    // Not as a release: there a panic ends everything, and sums that overflow would pass.
    let run = cmd!(
        shell,
        "{cargo} run --quiet --locked --bin pilotlight-fuzz -- {seconds} {seed} {finds} {targets...}"
    );
    test::step(run.quiet())?;
    Ok(ExitCode::SUCCESS)
}
