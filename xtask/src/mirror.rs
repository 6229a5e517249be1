//! `cargo xtask mirror`: other projects' releases for a lab.

use std::{
    fs,
    io::{BufReader, BufWriter, Read as _, Write as _},
    path::PathBuf,
    process::{ExitCode, Stdio},
};

use anyhow::{Context as _, bail};
use clap::Args;
use pilotlight_card::{Toolset, Workshop};
use pilotlight_lab::System;
use pilotlight_mirror::{
    LockedRelease, Sources, Update,
    handover::{self, HandoverError},
};

use crate::{
    Source, lock,
    login::{LOCKED_OUT, Login, shown},
    ui,
};

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
    /// Look for nothing: hand what is locked, and what this builder makes, to the running Pi at this address
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["update", "sources"])]
    to: Option<String>,
    #[command(flatten)]
    login: Login,
    #[command(flatten)]
    pub(crate) source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(pi) = &arguments.to {
        return hand_over(arguments, pi);
    }
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

/// Hands the lab's releases to a running Pi: what it lacks of them is sent, and machines are started with them from then on.
fn hand_over(arguments: &Arguments, pi: &str) -> anyhow::Result<ExitCode> {
    arguments.login.check()?;
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let ssh = workshop.toolbox(Toolset::Desk)?.program("ssh")?;
    let (lock, contents) = workshop.shelf(arguments.lab.as_deref())?;
    if contents.is_empty() {
        bail!(
            "there is nothing to hand over: the lab names nothing, or `cargo xtask mirror` has not locked it yet (--lab)"
        );
    }
    let mut command = arguments.login.command(&ssh, pi, &["pilotctl", "mirror", "--take"]);
    let unreached = format!("cannot reach the Pi by `{}`", shown(&command));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().with_context(|| unreached.clone())?;
    let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else { bail!("no line to ssh") };
    let (mut to, mut from) = (BufWriter::new(to), BufReader::new(from));
    let lacking =
        handover::offer(&mut to, &lock).map_err(Into::into).and_then(|()| handover::read_need(&mut from));
    let lacking = match lacking {
        Ok(lacking) => lacking,
        Err(HandoverError::Refused(why)) => bail!("the Pi says: {why}"),
        Err(fault) => return Err(anyhow::Error::new(fault).context(format!("{unreached}: {LOCKED_OUT}"))),
    };
    let files: Vec<_> = lacking
        .iter()
        .map(|path| {
            contents.get(path).with_context(|| format!("the Pi asks for {path}, which was not offered"))
        })
        .collect::<Result<_, _>>()?;
    let bar = ui::sending(files.iter().map(|file| file.len() as u64).sum());
    for piece in files.iter().flat_map(|file| file.chunks(1 << 16)) {
        to.write_all(piece).context("the Pi went away")?;
        bar.inc(piece.len() as u64);
    }
    to.flush().context("the Pi went away")?;
    bar.finish_and_clear();
    let mut answer = String::new();
    from.read_to_string(&mut answer).context("the Pi went away")?;
    match answer.trim_end() {
        "" => bail!("what came of it is not known: the Pi ended without a word (`pilotctl events` there)"),
        refused if refused.starts_with("refused: ") => bail!("the Pi says: {refused}"),
        good => println!("{good}"),
    }
    // It has said its last word; ssh's is of no interest.
    let _ = child.wait();
    Ok(ExitCode::SUCCESS)
}
