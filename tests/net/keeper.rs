//! The services that start machines by what becomes of nodes, the daemon that keeps that, and an operator beside it.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Result, ensure};
use pilotlight_tests::{
    daemon::Daemon,
    process::{self, must},
    surroundings,
};

use crate::stage::Stage;

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Keeper<'s> {
    stage: &'s Stage,
    desk: String,
    /// Its file.
    pub(crate) state: PathBuf,
    /// The folder that the web server serves, and in which the index of systems is looked for.
    pub(crate) assets: PathBuf,
    pub(crate) httpd: Daemon,
    pub(crate) tftpd: Daemon,
}

impl<'s> Keeper<'s> {
    /// Starts the services, and nobody who keeps the state yet.
    pub(crate) fn new(stage: &'s Stage) -> Result<Self> {
        let (state, assets, tftp) =
            (stage.path("state/nodes.toml"), stage.subfolder("http")?, stage.subfolder("tftp")?);
        let [known, index, tftp] = [&state, &assets, &tftp].map(|path| path.to_string_lossy());
        let http = ["--root", &index, "--listen", "10.77.0.1:80", "--lab-state", &known];
        let httpd = stage.daemon("pilotlight-httpd", "httpd", &http)?;
        let tftp = ["--root", &tftp, "--index", &index, "--listen", "10.77.0.1:69", "--lab-state", &known];
        let tftpd = stage.daemon("pilotlight-tftpd", "tftpd", &tftp)?;
        let desk = stage.path("desk.sock").to_string_lossy().into_owned();
        Ok(Self { stage, desk, state, assets, httpd, tftpd })
    }

    /// Starts the daemon that keeps the state; `label` tells one start from the next.
    pub(crate) fn keep(&self, label: &str) -> Result<Daemon> {
        let (log, card) = (self.stage.subfolder("log")?, self.stage.path("card.json"));
        let [log, card, state, index] =
            [&log, &card, &self.state, &self.assets].map(|path| path.to_string_lossy());
        let arguments = [
            "--state",
            &log,
            "--desk",
            &self.desk,
            "--lab-state",
            &state,
            "--card",
            &card,
            "--index",
            &index,
        ];
        self.stage.daemon("pilotlight-lab-stated", label, &arguments)
    }

    /// What curl fetches.
    pub(crate) fn curl(&self, words: &[&str]) -> Result<String> {
        let mut curl = self.stage.client("curl")?;
        Ok(must(curl.args(["--silent", "--show-error", "--fail"]).args(words), LIMIT)?.text)
    }

    /// `pilotctl VERB WORDS` says this, among other things.
    pub(crate) fn says(&self, verb: &str, words: &[&str], expect: &str) -> Result<()> {
        let mut command = Command::new(surroundings::daemon("pilotctl")?);
        command.args([verb, "--socket", &self.desk, "--lab-state"]).arg(&self.state).arg("--index");
        command.arg(&self.assets).arg("--lab").arg(self.stage.path("lab.toml")).args(words);
        let said = process::run(&mut command, LIMIT)?.text;
        ensure!(said.contains(expect), "pilotctl {verb} {words:?} said {said:?}, not {expect:?}");
        Ok(())
    }
}
