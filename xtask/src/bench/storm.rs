//! `cargo xtask bench storm`: builds the daemons as they are on the card and has `pilotlight-storm` switch machines on.

use clap::Args;
use pilotlight_card::{Toolset, Workshop};
use xshell::{Shell, cmd};

use super::Arguments;
use crate::{
    test::{DAEMONS, Profile, programs, step},
    ui,
};

#[derive(Debug, Args)]
pub(crate) struct Storm {
    /// What to play: rack, loss, jitter, shuffle, thousand, villains, kills [default: everything but shuffle]
    scenes: Vec<String>,
    /// How many machines [default: 200, a thousand, or what the scene needs]
    #[arg(long)]
    machines: Option<u32>,
    /// How many bytes each gets over HTTP [default: 6 million, or what the scene needs]
    #[arg(long)]
    bytes: Option<u64>,
    /// The seed of what is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(arguments: &Arguments, storm: &Storm) -> anyhow::Result<()> {
    let workspace = ui::workspace()?;
    let shell = Shell::new()?;
    shell.change_dir(&workspace);
    let workshop = Workshop::open(&workspace, &arguments.source.settings())?;
    let clients = workshop.toolbox(Toolset::Clients)?.folder().to_owned();
    let packages = [DAEMONS, &["pilotlight-bench"]].concat();
    let folder = programs(&shell, &workspace, Profile::Release(&packages))?;
    let (program, seed, scenes) = (folder.join("pilotlight-storm"), storm.seed.to_string(), &storm.scenes);
    let machines = storm.machines.map(|machines| format!("--machines={machines}"));
    let bytes = storm.bytes.map(|bytes| format!("--bytes={bytes}"));
    step(
        cmd!(shell, "{program} --seed {seed} {machines...} {bytes...} {scenes...}")
            .env("PILOTLIGHT_TOOLS_CLIENTS", clients)
            .env("PILOTLIGHT_DAEMONS", folder),
    )
}
