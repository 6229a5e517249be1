//! `cargo xtask show`: all that one node of a lab would get.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use pilotlight_lab::Lab;

use crate::check;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The node, by its name
    #[arg(value_name = "NODE")]
    node: String,
    /// The lab that it is in
    #[arg(long, value_name = "LAB.TOML", default_value = "lab.toml")]
    lab: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some(mut lab) = check::read(&arguments.lab)? else { return Ok(ExitCode::from(1)) };
    // What the lab's card would have.
    lab.versions = pilotlight_card::read_lab_lock(&arguments.lab)?.versions();
    let node = lab.node_by_name(&arguments.node).with_context(|| unknown(&lab, &arguments.node))?;
    print!("{}", pilotlight_boot::describe(&lab, node));
    let provision = pilotlight_provision::provision(&lab, node)?;
    for text in provision.into_iter().flat_map(|provision| provision.texts) {
        print!("\n==> /node/{}/{}\n{}", node.mac.hyphenated(), text.name, text.body);
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(lab: &Lab, name: &str) -> String {
    let known: Vec<_> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
    match known.as_slice() {
        [] => format!("the lab names no machine, so not {name} either"),
        known => format!("the lab has no machine {name}; it has {}", known.join(", ")),
    }
}
