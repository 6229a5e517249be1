//! `pilotlight-storm`: a rack that is switched on at once, against the real daemons at the other end of a Fast Ethernet.
//!
//! Started by `cargo xtask bench storm`. Each scene runs in a process of its own, which enters namespaces before it has
//! threads. What the link can carry is counted as the wire does: every frame with its Ethernet header and the 24 bytes of
//! preamble, check sum and gap that go with it, at 100 Mbit/s, from power-on until the last machine has everything.

mod link;
mod scene;
mod table;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use scene::Scene;

/// Switches machines on; `cargo xtask bench storm` starts it.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to play: rack, loss, jitter, shuffle, thousand, villains, kills [default: everything but shuffle]
    scenes: Vec<String>,
    /// How many machines [default: the scene's own]
    #[arg(long)]
    machines: Option<u32>,
    /// How many bytes each gets over HTTP [default: the scene's own]
    #[arg(long)]
    bytes: Option<u64>,
    /// The seed of what is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Play the scene in this very process
    #[arg(long, hide = true)]
    here: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let known = || scene::ALL.iter().map(|scene| scene.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        let scene = scene::ALL.iter().find(|scene| scene.name == name);
        scene.with_context(|| format!("there is no scene {name:?}; there are: {}", known()))
    };
    let mut scenes = arguments.scenes.iter().map(find).collect::<Result<Vec<&Scene>>>()?;
    if scenes.is_empty() {
        scenes.extend(scene::ALL.iter().filter(|scene| scene.usual));
    }
    for scene in scenes {
        let machines = arguments.machines.unwrap_or(scene.machines);
        let bytes = arguments.bytes.unwrap_or(scene.bytes);
        if arguments.here {
            scene::play(scene, machines, bytes, arguments.seed)?;
            continue;
        }
        let mut command = Command::new(std::env::current_exe().context("could not find this very program")?);
        command.args(["--here", scene.name, "--machines", &machines.to_string()]);
        command.args(["--bytes", &bytes.to_string(), "--seed", &arguments.seed.to_string()]);
        let status = command.status().with_context(|| format!("could not play {}", scene.name))?;
        if !status.success() {
            bail!("{} did not come to a good end", scene.name);
        }
    }
    Ok(())
}
