//! `cargo xtask lock`: the packages anew, from what the archives have today.

use std::{
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use clap::Args;

use crate::{Source, ui};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's clock is before 1970")?;
    let changes = pilotlight_card::relock(
        &ui::workspace()?,
        &arguments.source.settings(),
        now.as_secs().cast_signed(),
    )?;
    for line in &changes {
        println!("{line}");
    }
    match changes.len() {
        0 => println!("pilotlight.lock: nothing changed"),
        count => println!("pilotlight.lock: {count} changes; look at them, then commit the file"),
    }
    Ok(ExitCode::SUCCESS)
}
