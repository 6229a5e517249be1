//! An operator switches machines: by magic packets, by a web power switch, by a controller that speaks Redfish.

mod arms;
mod bmc;
mod served;
mod silent;
mod strip;
mod wake;

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
pub(crate) use arms::by_power_cycle;
pub(crate) use bmc::redfish;
use pilotlight_tests::{daemon::Daemon, process, surroundings};
pub(crate) use silent::started_anew;
pub(crate) use strip::web_switch;
pub(crate) use wake::magic;

use crate::stage::Stage;

const LIMIT: Duration = Duration::from_secs(60);

/// The stage, and the daemon's places on it.
struct Switching {
    stage: Stage,
    daemon: Daemon,
}

impl Switching {
    fn begin(lab: &str) -> Result<Self> {
        let stage = Stage::set(lab)?;
        stage.cable.fixed_client_address()?;
        let daemon = start(&stage, "powerd")?;
        Ok(Self { stage, daemon })
    }

    /// A new daemon in the place of the one before.
    fn restart(&mut self) -> Result<()> {
        self.daemon.kill()?;
        self.daemon = start(&self.stage, "powerd-again")?;
        Ok(())
    }

    /// `pilotctl power WORDS`; `input` is what comes from standard input.
    fn command(&self, words: &[&str], input: &str) -> Result<Command> {
        let path = self.stage.path("input");
        fs::write(&path, input)?;
        // `process::run` has a standard input of its own.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec \"$0\" \"$@\" < \"$INPUT\""]).env("INPUT", path);
        command.arg(surroundings::daemon("pilotctl")?).args(["power", "--socket"]);
        command.arg(self.stage.path("power.sock")).args(words);
        self.stage.cable.on_server_side(&mut command)?;
        Ok(command)
    }

    /// It succeeds or not as `good` says, and tells `expect` among other things.
    fn says(&self, words: &[&str], input: &str, good: bool, expect: &str) -> Result<String> {
        let said = process::run(&mut self.command(words, input)?, LIMIT)?;
        ensure!(
            said.status.success() == good && said.text.contains(expect),
            "pilotctl power {words:?} said, with {}:\n{}\nand not {expect:?}",
            said.status,
            said.text
        );
        Ok(said.text)
    }

    fn done(&self, words: &[&str], expect: &str) -> Result<String> {
        self.says(words, "", true, expect)
    }

    fn refused(&self, words: &[&str], expect: &str) -> Result<String> {
        self.says(words, "", false, expect)
    }

    /// The password is nowhere but in the one file.
    fn keeps_to_itself(&self, secret: &str, device: &str) -> Result<()> {
        let mut found = Vec::new();
        let mut folders = vec![self.stage.folder().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if entry.file_type()?.is_file() && entry.file_name() != "input" {
                    let content = fs::read(entry.path()).context("could not read a file of the scene")?;
                    if content.windows(secret.len()).any(|window| window == secret.as_bytes()) {
                        found.push(entry.path());
                    }
                }
            }
        }
        ensure!(found == [self.stage.path(&format!("power/{device}.json"))], "the password is in {found:?}");
        Ok(())
    }
}

fn start(stage: &Stage, label: &str) -> Result<Daemon> {
    let paths = ["power.sock", "power", "card.json"].map(|name| stage.path(name));
    let [socket, state, card] = paths.each_ref().map(|path| path.to_string_lossy());
    stage.daemon("pilotlight-powerd", label, &["--socket", &socket, "--state", &state, "--card", &card])
}
