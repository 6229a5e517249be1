//! `cargo xtask bench services`: builds the daemons as they are on the card and has `pilotlight-bench` measure them.

use clap::Args;
use pilotlight_card::{Toolset, Workshop};
use xshell::{Shell, cmd};

use super::Arguments;
use crate::{
    test::{DAEMONS, Profile, programs, step},
    ui,
};

#[derive(Debug, Args)]
pub(crate) struct Services {
    /// What to measure [default: all]
    subjects: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments, services: &Services) -> anyhow::Result<()> {
    let workspace = ui::workspace()?;
    let shell = Shell::new()?;
    shell.change_dir(&workspace);
    let workshop = Workshop::open(&workspace, &arguments.source.settings())?;
    let clients = workshop.toolbox(Toolset::Clients)?.folder().to_owned();
    let peers = workshop.toolbox(Toolset::Peers)?.folder().to_owned();
    let packages = [DAEMONS, &["pilotlight-bench"]].concat();
    let folder = programs(&shell, &workspace, Profile::Release(&packages))?;
    let (bench, rounds, subjects) =
        (folder.join("pilotlight-bench"), arguments.rounds.to_string(), &services.subjects);
    step(
        cmd!(shell, "{bench} --rounds {rounds} {subjects...}")
            .env("PILOTLIGHT_TOOLS_CLIENTS", clients)
            .env("PILOTLIGHT_TOOLS_PEERS", peers)
            .env("PILOTLIGHT_DAEMONS", folder),
    )
}
