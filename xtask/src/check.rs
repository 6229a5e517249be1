//! `cargo xtask check`: the mistakes of a lab.toml, all of them.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use pilotlight_lab::Lab;

use crate::ui;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The lab to check
    #[arg(value_name = "LAB.TOML", required_unless_present = "schema")]
    lab: Option<PathBuf>,
    /// Print the JSON Schema by which editors complete and check a lab.toml
    #[arg(long, conflicts_with = "lab")]
    schema: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some(path) = &arguments.lab else {
        print!("{}", pilotlight_lab::schema());
        return Ok(ExitCode::SUCCESS);
    };
    let Some(lab) = read(path)? else { return Ok(ExitCode::from(1)) };
    let nodes = lab.nodes.len();
    let name = path.display();
    println!("{name}: good: {nodes} {} named", if nodes == 1 { "machine" } else { "machines" });
    Ok(ExitCode::SUCCESS)
}

/// Reads a lab; none when it has mistakes, which were told.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Lab>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the lab {name}"))?;
    match pilotlight_lab::parse(&text) {
        Ok(lab) => {
            // What a template comes to is seen only with a node's own values in it.
            let faults = pilotlight_provision::faults(&lab);
            for fault in &faults {
                eprintln!("error: {fault}");
            }
            Ok(faults.is_empty().then_some(lab))
        }
        Err(problems) => {
            eprint!("{}", problems.render(&name, &text, ui::colour()));
            Ok(None)
        }
    }
}
