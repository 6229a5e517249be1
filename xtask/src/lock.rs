//! `cargo xtask lock`: which packages are used, and whether there are better ones.

use std::{
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use pilotlight_card::{BASE, Settings, Update, Wish, lock_path, review};

use crate::{Source, ui};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Move what is locked to the newest versions: everything, or only these packages (`name` or
    /// `name:architecture`) with what has to move along; without this only what archives.toml asks for anew is
    /// resolved, and the rest stays
    #[arg(long, value_name = "PACKAGE", num_args = 0.., conflicts_with = "locked")]
    update: Option<Vec<String>>,
    /// Report the security updates that the lock lacks, and change nothing: ends with 0 when there are none, with 1
    /// when there are, and with 2 when it could not be told
    #[arg(long, conflicts_with_all = ["update", "locked"])]
    check: bool,
    /// Lock from what the archives had on this day (year-month-day): for a mirror that keeps the state of a day, whose
    /// testing and sid have ended since
    #[arg(long, value_name = "DAY", value_parser = day, conflicts_with_all = ["check", "locked"])]
    as_of: Option<i64>,
    #[command(flatten)]
    source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (workspace, settings) = (ui::workspace()?, arguments.source.settings());
    let file = lock_path(&workspace, settings.base.as_deref().unwrap_or(BASE));
    let file = file.file_name().unwrap_or_default().to_string_lossy();
    if arguments.check {
        return Ok(ExitCode::from(check(&workspace, &settings)));
    }
    if settings.locked {
        pilotlight_card::check_lock(&workspace, &settings)?;
        println!("{file}: what archives.toml asks for");
        return Ok(ExitCode::SUCCESS);
    }
    let update = update(arguments.update.as_deref())?;
    let time = arguments.as_of.map_or_else(now, Ok)?;
    let changes = pilotlight_card::relock(&workspace, &settings, &update, time)?;
    for line in &changes.lines {
        println!("{line}");
    }
    match changes.lines.len() {
        0 if !changes.written => println!("{file}: nothing changed"),
        0 => println!("{file}: the same packages, found in newer indexes; commit the file"),
        1 => println!("{file}: 1 change; look at it, then commit the file"),
        count => println!("{file}: {count} changes; look at them, then commit the file"),
    }
    Ok(ExitCode::SUCCESS)
}

fn check(workspace: &Path, settings: &Settings) -> u8 {
    match now().and_then(|now| review(workspace, settings, now)) {
        Ok(review) => {
            print!("{review}");
            verdict(!review.lacking.is_empty(), !review.unknown.is_empty())
        }
        Err(error) => {
            ui::tell(&error);
            verdict(false, true)
        }
    }
}

/// The exit code. Not to know is worse than to know of a lack: what is lacking was told all the same.
fn verdict(lacking: bool, unknown: bool) -> u8 {
    if unknown { 2 } else { u8::from(lacking) }
}

fn update(packages: Option<&[String]>) -> anyhow::Result<Update> {
    let wish = |text: &String| Wish::try_from(text.clone()).map_err(|fault| anyhow!(fault));
    Ok(match packages {
        None => Update::Changed,
        Some([]) => Update::All,
        Some(packages) => Update::Packages(packages.iter().map(wish).collect::<anyhow::Result<_>>()?),
    })
}

/// A day that has begun.
fn day(text: &str) -> anyhow::Result<i64> {
    let day = pilotlight_card::day(text).context("write it as in 2026-11-28")?;
    ensure!(day <= now()?, "it is yet to come");
    Ok(day)
}

/// Seconds since 1970.
pub(crate) fn now() -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's clock is before 1970")?;
    Ok(now.as_secs().cast_signed())
}
