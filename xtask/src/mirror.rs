//! `cargo xtask mirror`: other projects' releases for a lab.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;
use pilotlight_card::Workshop;
use pilotlight_lab::System;
use pilotlight_mirror::{LockedRelease, Sources, Update};

use crate::{Source, lock, ui};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The lab; what is found is locked beside it, in my-lab.lock beside my-lab.toml [default: the one that every image
    /// brings along]
    #[arg(long, value_name = "LAB.TOML")]
    lab: Option<PathBuf>,
    /// Move channels to what they have now: all of them, or those of these systems; without this only what the lab asks
    /// for anew is looked for
    #[arg(long, value_name = "SYSTEM", num_args = 0..)]
    update: Option<Vec<String>>,
    /// Where releases come from and whose signature counts, in the form of crates/mirror/src/sources.toml
    #[arg(long, value_name = "FILE", env = "PILOTLIGHT_SOURCES")]
    sources: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let update = update(arguments.update.as_deref())?;
    let sources = match &arguments.sources {
        None => Sources::own()?,
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Sources::parse(&text).with_context(|| format!("cannot use {}", path.display()))?
        }
    };
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let mirrored = workshop.mirror(arguments.lab.as_deref(), &sources, &update, lock::now()?)?;
    for line in &mirrored.changes {
        println!("{line}");
    }
    let file = mirrored.path.display();
    match mirrored.lock.all().len() {
        0 => println!("the lab names nothing that would have to be fetched"),
        _ if mirrored.changes.is_empty() => println!("{file}: nothing changed"),
        _ => println!("{file}: written; keep it beside the lab"),
    }
    for release in &mirrored.lock.releases {
        println!("{}", line(release));
    }
    let more = &mirrored.lock.files;
    if !more.is_empty() {
        let bytes = more.iter().map(|file| file.size).sum();
        println!("{} more files, {}", more.len(), ui::bytes(bytes));
    }
    Ok(ExitCode::SUCCESS)
}

/// A release for a person.
pub(crate) fn line(release: &LockedRelease) -> String {
    let bytes = release.files.iter().map(|file| file.size).sum();
    let LockedRelease { system, version, architecture, channels, .. } = release;
    format!("{} {version} for {architecture} ({}), {}", system.title(), channels.join(", "), ui::bytes(bytes))
}

fn update(systems: Option<&[String]>) -> anyhow::Result<Update> {
    let known = |name: &String| {
        let found = System::NAMES.iter().find(|(known, _)| known == name);
        let names = System::NAMES.map(|(name, _)| name).join(", ");
        found
            .map(|(_, system)| *system)
            .with_context(|| format!("there is no system {name:?}: there are {names}"))
    };
    match systems {
        None => Ok(Update::Changed),
        Some(systems) => {
            let systems: Vec<System> = systems.iter().map(known).collect::<anyhow::Result<_>>()?;
            if systems.contains(&System::DebianRam) {
                bail!(
                    "debian-ram is made of the packages in pilotlight.lock: `cargo xtask lock --update` moves it"
                );
            }
            Ok(Update::Systems(systems))
        }
    }
}
