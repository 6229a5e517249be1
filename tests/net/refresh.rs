//! A Pi with a way out follows its channel: found, verified and brought onto a small card beside running services, through
//! lies, a kill and want of room.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_fetch::{Cache, Digest, testing::Trouble};
use pilotlight_tests::{
    daemon::PATIENCE,
    namespace::small_disk,
    process::{end_with_this_thread, must},
    releases::{Flatcar, INITRD, KERNEL},
    surroundings,
};

use crate::stage::Stage;

const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
upstream = ["10.77.0.254"]
probe-first = false

[[nodes]]
name = "one"
mac = "52:54:00:00:00:11"
address = "10.77.0.11"
profile = "flatcar"

[profiles.flatcar]
kind = "flatcar"
"#;
const SCRIPT: &str = "http://10.77.0.1/ipxe?mac=52-54-00-00-00-11";
/// Room for two releases of some 9.5 MB, and not for three.
const CARD_KIB: u32 = 24 * 1024;

struct Scene {
    stage: Stage,
    root: PathBuf,
    clock: PathBuf,
}

impl Scene {
    fn refresh(&self) -> Result<Command> {
        let mut refresh = Command::new(surroundings::daemon("pilotlight-refresh")?);
        refresh.arg("--lab").arg(self.stage.path("lab.toml")).arg("--assets").arg(&self.root);
        refresh.arg("--clock-set").arg(&self.clock).arg("--sources").arg(self.stage.path("sources.toml"));
        refresh.args(["--reserve", "1", "--events"]).arg(self.stage.path("events.sock"));
        Ok(refresh)
    }

    fn says(&self, expect: &str) -> Result<()> {
        let said = must(&mut self.refresh()?, PATIENCE)?.text;
        ensure!(said.contains(expect), "it does not say {expect:?}:\n{said}");
        Ok(())
    }

    fn curl(&self, url: &str) -> Result<Vec<u8>> {
        let file = self.stage.path("got");
        let _ = fs::remove_file(&file);
        must(self.stage.client("curl")?.args(["-sSf", "-o"]).arg(&file).arg(url), PATIENCE)?;
        fs::read(&file).with_context(|| format!("nothing came of {url}"))
    }

    /// The node is started with this version, and gets its files as they were made.
    fn starts(&self, version: &str, times: usize) -> Result<()> {
        let script = String::from_utf8(self.curl(SCRIPT)?)?;
        let first = script.split("/flatcar/").nth(1).unwrap_or_default();
        ensure!(first.starts_with(&format!("{version}/")), "{version} is not started:\n{script}");
        for name in [KERNEL, INITRD] {
            let got = self.curl(&format!("http://10.77.0.1/assets/flatcar/{version}/amd64/{name}"))?;
            ensure!(got == Flatcar::content(name, version).repeat(times), "another {name} of {version}");
        }
        Ok(())
    }

    fn has(&self, version: &str) -> bool {
        self.root.join("flatcar").join(version).join("amd64").join(KERNEL).exists()
    }
}

pub(crate) fn by_itself() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let root = stage.subfolder("http")?;
    small_disk(&root, CARD_KIB)?;
    let (mut httpd, _) = stage.httpd()?;
    let mut flatcar = Flatcar::new();
    flatcar.release("4230.2.1", 1);
    fs::write(stage.path("sources.toml"), flatcar.sources())?;
    let clock = stage.path("clock");
    let scene = Scene { stage, root, clock };

    scene.says("nobody has vouched for the clock")?;
    fs::write(&scene.clock, "1800000000 operator\n")?;
    scene.says("Flatcar stable for amd64: 4230.2.1, new")?;
    scene.starts("4230.2.1", 1)?;
    scene.says("\"stage\":\"current\"")?;

    // A new release that is not as it was signed: nothing changes.
    flatcar.release("4230.2.2", 1);
    flatcar.trouble("4230.2.2", KERNEL, Trouble::Flip);
    scene.says("does not fit")?;
    scene.starts("4230.2.1", 1)?;

    // The plug is pulled while it comes: what is half here is served to nobody.
    flatcar.server().heal();
    flatcar.trouble("4230.2.2", INITRD, Trouble::Stall { after: 3_000_000, times: 1 });
    flatcar.server().take_log();
    killed_at(&scene, &Cache::name(None, &flatcar.url("4230.2.2", INITRD)), 2_000_000)?;
    scene.starts("4230.2.1", 1)?;
    for path in [".fetch/partial/", ".fetch/objects/", ".fetch"] {
        let status = ["-s", "-o", "/dev/null", "-w", "%{http_code}"];
        let mut curl = scene.stage.client("curl")?;
        curl.args(status).arg(format!("http://10.77.0.1/assets/{path}"));
        let code = must(&mut curl, PATIENCE)?.text;
        ensure!(code == "404" || code == "403", "{path} is answered with {code}");
    }
    scene.says("4230.2.1 -> 4230.2.2")?;
    let log = flatcar.server().take_log();
    ensure!(log.iter().any(|line| line.contains(&format!("{INITRD} from "))), "it began anew: {log:?}");
    scene.starts("4230.2.2", 1)?;
    ensure!(scene.has("4230.2.1"), "nothing is left to go back to");

    // For a third one there is room once the first has gone.
    flatcar.release("4230.2.3", 1);
    scene.says("4230.2.2 -> 4230.2.3")?;
    scene.starts("4230.2.3", 1)?;
    ensure!(scene.has("4230.2.2") && !scene.has("4230.2.1"), "what was given up is not the oldest");

    // And for one that is larger than the card there is none: that is known before anything comes.
    flatcar.release("4230.2.4", 4);
    flatcar.server().take_log();
    scene.says("and there is room for")?;
    let log = flatcar.server().take_log();
    ensure!(
        !log.iter().any(|line| line.contains(&format!("4230.2.4/{INITRD}")) && !line.ends_with(".sig")),
        "{log:?}"
    );
    scene.starts("4230.2.3", 1)?;
    // Nor does it go back, whatever the server says.
    flatcar.release("4230.2.2", 1);
    scene.says("an old release")?;
    scene.starts("4230.2.3", 1)?;
    httpd.must_be_alive()
}

/// Starts it, and kills it once more than so many bytes of the file of this name are here.
fn killed_at(scene: &Scene, name: &Digest, bytes: u64) -> Result<()> {
    let mut refresh = scene.refresh()?;
    refresh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    end_with_this_thread(&mut refresh);
    let mut child = refresh.spawn().context("could not start it")?;
    let begun = Instant::now();
    let partial = scene.root.join(".fetch/partial").join(name.to_string());
    while fs::metadata(&partial).map_or(0, |file| file.len()) < bytes {
        ensure!(child.try_wait()?.is_none(), "it ended by itself");
        ensure!(begun.elapsed() < PATIENCE, "the file did not grow");
        thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    ensure!(child.wait()?.signal().is_some(), "it ended by itself");
    Ok(())
}
