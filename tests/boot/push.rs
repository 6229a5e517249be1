//! Updates of a running Pi, by an operator's real ssh: a good one is kept, a sick one is left again.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_disk::{Slot, Trial};
use pilotlight_emulator::scene::Scene;
use pilotlight_fetch::Digest;
use pilotlight_tests::{
    process::{self, must},
    releases::{Flatcar, KERNEL},
    surroundings::{self, Tools, checkout},
};

use crate::{
    PATIENCE,
    card::{self, Card, PI},
};

/// A node that a device switches, and that is started with what the Pi is handed.
const SWITCHED: &str = r#"
[profiles.flatcar]
kind = "flatcar"

[[nodes]]
name = "switched"
mac = "52:54:00:77:00:14"
address = "10.77.0.14"
profile = "flatcar"
power = { device = "strip", outlet = 1 }

[power.strip]
kind = "web-switch"
url = "http://10.77.0.250"
"#;

/// The desk of an operator.
pub(crate) struct Desk {
    folder: PathBuf,
    /// Where the Pi's login is.
    pub(crate) port: u16,
}

pub(crate) fn kept_and_left() -> Result<()> {
    let mut scene = card::scene("virt-push")?;
    let desk = Desk::new(scene.folder())?;
    let card = card::of_lab_file(&scene, &desk.lab()?)?;
    start(&mut scene, &card, &desk)?;

    // Nobody without the key gets in, and no password is asked for.
    let said = desk.push(checkout(), &desk.stranger()?)?;
    ensure!(
        said.status.code() == Some(1) && said.text.contains("Permission denied (publickey)"),
        "{}",
        said.text
    );
    ensure!(said.text.contains("[[operators]]"), "{}", said.text);

    // A device's password is told to the Pi by its operator, who cannot read it afterwards.
    const LOGIN: &str = "printf 'pi\\ngeheim\\n' | pilotctl power login --untried strip";
    desk.says(LOGIN, "whether strip lets pi in was not tried")?;
    desk.says("cat /var/lib/pilotlight/power/strip.json", "Permission denied")?;

    desk.hands_over().context("a release for its machines")?;

    let said = desk.push(checkout(), &desk.key())?;
    ensure!(said.status.success() && said.text.contains("slot b, read back"), "{}", said.text);
    println!("{}", said.text.lines().find(|line| line.starts_with("differs")).unwrap_or_default());
    ensure!(
        sent(&said.text)? < 4.0,
        "the same system, for the other slot, took more than 4 MB:\n{}",
        said.text
    );
    restarted(&mut scene, &card, &desk)?;
    scene.wait_for(PI, "root b (on trial) on vda3", PATIENCE)?;
    scene.wait_for(PI, "slot b is kept", PATIENCE)?;
    let table = card.table()?;
    ensure!((table.trial, table.active_slot()?) == (Trial::Settled, Slot::B), "{table:?}");

    // The new system knows it as well. There is no such device on this wire.
    desk.says("pilotctl power on switched", "cannot connect to 10.77.0.250:80")?;

    let sick = desk.sick_workspace()?;
    let said = desk.push(&sick, &desk.key())?;
    ensure!(said.status.success() && said.text.contains("last       slot b was kept"), "{}", said.text);
    restarted(&mut scene, &card, &desk)?;
    scene.wait_for(PI, "root a (on trial) on vda2", PATIENCE)?;
    scene.wait_for(PI, "slot a is left again: these units failed: pilotlight-sick.service", PATIENCE)?;
    restarted(&mut scene, &card, &desk)?;
    scene.wait_for(PI, "root b on vda3", PATIENCE)?;
    scene.wait_for(PI, "pilotlight: ready in ", PATIENCE)?;
    let said = desk.push_with(checkout(), &desk.key(), &["--dry-run"])?;
    ensure!(said.text.contains("last       slot a was left again: these units failed"), "{}", said.text);
    fs::remove_dir_all(&sick)?;
    card::tidy(scene)
}

fn start(scene: &mut Scene, card: &Card, desk: &Desk) -> Result<()> {
    card::start_for_login(scene, card, desk.port)?;
    let ready = scene.wait_for(PI, "pilotlight: ready in ", PATIENCE)?;
    ensure!(ready.contains("failed units: none"), "{ready}");
    Ok(())
}

/// The Pi restarts by itself, which ends QEMU; the firmware's part is done again.
fn restarted(scene: &mut Scene, card: &Card, desk: &Desk) -> Result<()> {
    scene.wait(PI, "a restart", PATIENCE, |heard| heard.closed.then_some(()))?;
    scene.end(PI);
    card::start_for_login(scene, card, desk.port)
}

/// The megabytes that differed.
fn sent(text: &str) -> Result<f64> {
    let line =
        text.lines().find_map(|line| line.strip_prefix("differs ")).context("no word of what differs")?;
    let mut words = line.split_whitespace();
    let (count, unit) = (words.next().context("no number")?, words.next().context("no unit")?);
    let count: f64 = count.parse()?;
    Ok(if unit == "kB" { count / 1000.0 } else { count })
}

impl Desk {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        // Somebody else may take it before QEMU does; then the scene fails and says so.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let desk = Self { folder: folder.to_owned(), port };
        desk.make_key(&desk.key())?;
        Ok(desk)
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("operator")
    }

    /// A key that the lab does not name.
    fn stranger(&self) -> Result<PathBuf> {
        let key = self.folder.join("stranger");
        self.make_key(&key)?;
        Ok(key)
    }

    fn make_key(&self, path: &Path) -> Result<()> {
        let mut command = Tools::desk()?.command("ssh-keygen")?;
        must(command.args(["-q", "-t", "ed25519", "-N", "", "-C", "me@desk", "-f"]).arg(path), PATIENCE)?;
        Ok(())
    }

    /// The scenes' lab with this operator.
    pub(crate) fn lab(&self) -> Result<PathBuf> {
        let key = fs::read_to_string(self.key().with_extension("pub")).context("there is no public key")?;
        let text = fs::read_to_string(card::lab_file("scene"))?;
        let path = self.folder.join("lab.toml");
        fs::write(
            &path,
            format!("{text}\n{SWITCHED}\n[[operators]]\nname = \"me\"\nkey = \"{}\"\n", key.trim()),
        )?;
        Ok(path)
    }

    /// The checkout, with a unit on the card that fails.
    fn sick_workspace(&self) -> Result<PathBuf> {
        let workspace = self.folder.join("sick");
        fs::create_dir(&workspace)?;
        for name in ["Cargo.toml", "Cargo.lock", "bases", "boards", "crates", "pilotlight.lock"] {
            symlink(checkout().join(name), workspace.join(name))?;
        }
        let overlay = workspace.join("image-overlay");
        must(Command::new("cp").arg("-r").arg(checkout().join("image-overlay")).arg(&overlay), PATIENCE)?;
        let units = overlay.join("usr/lib/systemd/system");
        let sick = "[Unit]\nDescription=Fails\n[Service]\nType=oneshot\nExecStart=/bin/false\n";
        fs::write(units.join("pilotlight-sick.service"), sick)?;
        let target = units.join("pilotlight.target");
        let text = fs::read_to_string(&target)?;
        fs::write(&target, text.replace("[Unit]\n", "[Unit]\nWants=pilotlight-sick.service\n"))?;
        let ready = units.join("pilotlight-ready.service");
        let text = fs::read_to_string(&ready)?;
        fs::write(&ready, text.replace("[Unit]\n", "[Unit]\nAfter=pilotlight-sick.service\n"))?;
        Ok(workspace)
    }

    pub(crate) fn push(&self, workspace: &Path, key: &Path) -> Result<process::Outcome> {
        self.push_with(workspace, key, &["--no-wait"])
    }

    fn push_with(&self, workspace: &Path, key: &Path, more: &[&str]) -> Result<process::Outcome> {
        let mut command = Command::new(surroundings::xtask()?);
        command.args(["push", "127.0.0.1", "--port", &self.port.to_string(), "--identity"]).arg(key);
        command.arg("--known-hosts").arg(self.folder.join("known_hosts")).args(more);
        command.env("CARGO_MANIFEST_DIR", workspace.join("xtask")).current_dir(workspace);
        command.env("CARGO_TARGET_DIR", checkout().join("target"));
        process::run(&mut command, PATIENCE)
    }

    /// Releases that the desk has fetched go to the Pi, which cannot fetch any, and machines are started with them.
    fn hands_over(&self) -> Result<()> {
        let mut flatcar = Flatcar::new();
        let sources = self.folder.join("sources.toml");
        fs::write(&sources, flatcar.sources())?;
        let mirror = |more: &[&str]| -> Result<process::Outcome> {
            let mut command = Command::new(surroundings::xtask()?);
            command.args(["mirror", "--lab"]).arg(self.folder.join("lab.toml")).args(more);
            process::run(command.current_dir(checkout()), PATIENCE)
        };
        let (port, key, known) = (self.port.to_string(), self.key(), self.folder.join("known_hosts"));
        let (key, known) = (key.to_string_lossy(), known.to_string_lossy());
        let to = ["--to", "127.0.0.1", "--port", &port, "--identity", &*key, "--known-hosts", &*known];
        for (version, expect) in
            [("4230.2.1", "Flatcar stable for amd64: 4230.2.1, new"), ("4230.2.2", "4230.2.1 -> 4230.2.2")]
        {
            flatcar.release(version, 1);
            let said = mirror(&["--sources", &sources.to_string_lossy(), "--update"])?;
            ensure!(said.status.success() && said.text.contains(expect), "{}", said.text);
            let said = mirror(&to)?;
            ensure!(said.status.success() && said.text.contains(expect), "{}", said.text);
            self.says("pilotctl channel", &format!("stable   {version}"))?;
        }
        let said = mirror(&to)?;
        ensure!(said.status.success() && said.text.contains("nothing new"), "{}", said.text);
        let digest = Digest::of(Flatcar::content(KERNEL, "4230.2.2")).to_string();
        self.says("sha256sum /data/assets/flatcar/4230.2.2/amd64/*vmlinuz", &digest)?;
        self.says("pilotctl mirror", "refused: the lab has no upstream")
    }

    /// What `command` says on the Pi, where the operator is logged in, is this among other things.
    fn says(&self, command: &str, expect: &str) -> Result<()> {
        let known = format!("UserKnownHostsFile={}", self.folder.join("known_hosts").display());
        let mut ssh = Tools::desk()?.command("ssh")?;
        ssh.args(["-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new", "-o", &known]);
        ssh.args(["-o", "IdentitiesOnly=yes", "-p", &self.port.to_string(), "-i"]).arg(self.key());
        let said = process::run(ssh.args(["operator@127.0.0.1", command]), PATIENCE)?;
        ensure!(said.text.contains(expect), "{command} said, and not {expect:?}:\n{}", said.text);
        Ok(())
    }
}
