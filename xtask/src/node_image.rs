//! `cargo xtask node-image`: the system that machines run from memory.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use pilotlight_card::{NodeFiles, NodeKind, Workshop};

use crate::{Source, ui};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The channel: stable (Debian 13), oldstable (12), testing (what 14 is to become) or sid
    #[arg(long, default_value = "stable")]
    channel: String,
    /// What it is for: amd64 or arm64
    #[arg(long, default_value = "amd64")]
    arch: String,
    /// Where to put it, as debian-ram/VERSION/ARCH [default: target/nodes]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (channel, arch) = (&arguments.channel, &arguments.arch);
    let kind = NodeKind::all().find(|kind| (kind.channel(), kind.architecture().name()) == (channel, arch));
    let kind = kind.with_context(|| {
        let known: Vec<String> = NodeKind::all().map(|kind| kind.to_string()).collect();
        format!("there is no system of the channel {channel:?} for {arch:?}: there are {}", known.join(", "))
    })?;
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let image = workshop.node_image(kind, arguments.out.as_deref())?;
    for step in &image.steps {
        println!("{:<22} {:>7.2} s", step.name, step.time.as_secs_f64());
    }
    println!("\n{}", image.folder.display());
    for (name, length, sha256) in &image.made.files {
        println!("{name:<16} {:>10}  {sha256}", ui::bytes(*length));
    }
    let NodeFiles { version, kernel_release, packages, .. } = &image.made;
    println!("version {version}, {kind}, Linux {kernel_release}, {packages} packages");
    Ok(ExitCode::SUCCESS)
}
