//! `cargo xtask node-image`: the system that machines run from memory.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use pilotlight_card::Workshop;

use crate::{Source, ui};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The channel: stable (Debian 13) or oldstable (Debian 12)
    #[arg(long, default_value = "stable")]
    channel: String,
    /// Where to put it, as debian-ram/VERSION/amd64 [default: target/nodes]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let image = workshop.node_image(&arguments.channel, arguments.out.as_deref())?;
    for step in &image.steps {
        println!("{:<22} {:>7.2} s", step.name, step.time.as_secs_f64());
    }
    println!("\n{}", image.folder.display());
    for (name, length, sha256) in &image.files {
        println!("{name:<16} {:>10}  {sha256}", ui::bytes(*length));
    }
    println!("version {}, Linux {}, {} packages", image.version, image.kernel_release, image.packages);
    Ok(ExitCode::SUCCESS)
}
