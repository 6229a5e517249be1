//! `cargo xtask check`: the mistakes of a lab.toml, all of them.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

use crate::ui;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The lab to check
    #[arg(value_name = "LAB.TOML")]
    lab: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let name = arguments.lab.display().to_string();
    let text =
        std::fs::read_to_string(&arguments.lab).with_context(|| format!("cannot read the lab {name}"))?;
    match pilotlight_lab::parse(&text) {
        Ok(lab) => {
            let nodes = lab.nodes.len();
            println!("{name}: good: {nodes} {} named", if nodes == 1 { "machine" } else { "machines" });
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            eprint!("{}", problems.render(&name, &text, ui::colour()));
            Ok(ExitCode::from(1))
        }
    }
}
