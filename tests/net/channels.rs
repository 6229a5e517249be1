//! An operator has a node follow another channel: its next start is of that one, over HTTP and TFTP alike, until it is taken
//! back.

use std::{fs, process::Command, time::Duration};

use anyhow::{Result, ensure};
use pilotlight_tests::{
    daemon::Daemon,
    process::{self, must},
    surroundings,
};

use crate::stage::Stage;

const LIMIT: Duration = Duration::from_secs(30);
const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
probe-first = false

[[nodes]]
name = "one"
mac = "52:54:00:00:00:11"
address = "10.77.0.11"
profile = "ram"

[[nodes]]
name = "two"
mac = "52:54:00:00:00:12"
address = "10.77.0.12"
profile = "ram"
config = "said"

[profiles.ram]
kind = "debian-ram"

[configs.said]
kind = "cloud-config"
template = "channel: {{ node.channel }}\n"
"#;
const PAGES: [&str; 3] = [
    "http://10.77.0.1/ipxe?mac=52-54-00-00-00-12",
    "tftp://10.77.0.1/pxelinux.cfg/01-52-54-00-00-00-12",
    "tftp://10.77.0.1/grub/grub.cfg-01-52-54-00-00-00-12",
];

pub(crate) fn chosen() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let folder = |name: &str| stage.subfolder(name).map(|path| path.to_string_lossy().into_owned());
    let (root, log, tftp) = (folder("http")?, folder("log")?, folder("tftp")?);
    let path = |name: &str| stage.path(name).to_string_lossy().into_owned();
    let (desk, lab_state) = (path("desk.sock"), path("state/nodes.toml"));
    fs::write(stage.path("http/index.toml"), index())?;
    let state = |label: &str| -> Result<Daemon> {
        let arguments = ["--state", &log, "--desk", &desk, "--lab-state", &lab_state, "--index", &root];
        stage.daemon("pilotlight-lab-stated", label, &arguments)
    };
    let state_daemon = state("lab-stated")?;
    let known = ["--lab-state", &*lab_state];
    let http = [&["--root", &*root, "--listen", "10.77.0.1:80"][..], &known].concat();
    let httpd = stage.daemon("pilotlight-httpd", "httpd", &http)?;
    let tftp = [&["--root", &*tftp, "--index", &*root, "--listen", "10.77.0.1:69"][..], &known].concat();
    let mut tftpd = stage.daemon("pilotlight-tftpd", "tftpd", &tftp)?;

    let page = |url: &str| -> Result<String> {
        Ok(must(stage.client("curl")?.args(["--silent", "--show-error", "--fail", url]), LIMIT)?.text)
    };
    // What a node starts by itself stands first in each of its pages.
    let starts = |version: &str| -> Result<()> {
        for url in PAGES {
            let text = page(url)?;
            let first = text.split("debian-ram/").nth(1).unwrap_or_default();
            ensure!(first.starts_with(&format!("{version}/")), "{url} does not start {version}:\n{text}");
        }
        Ok(())
    };
    let channel = |words: &[&str]| -> Result<process::Outcome> {
        let mut command = Command::new(surroundings::daemon("pilotctl")?);
        command.args(["channel", "--socket", &desk, "--lab-state", &lab_state, "--index", &root, "--lab"]);
        process::run(command.arg(stage.path("lab.toml")).args(words), LIMIT)
    };
    let says = |words: &[&str], expect: &str| -> Result<()> {
        let said = channel(words)?.text;
        ensure!(said.contains(expect), "pilotctl channel {words:?} said {said:?}, not {expect:?}");
        Ok(())
    };

    starts("13.2")?;
    says(&["set", "two", "oldstable"], "two follows oldstable (12.12) from its next start on\n")?;
    starts("12.12")?;
    let own = page("http://10.77.0.1/node/52-54-00-00-00-12/user-data")?;
    ensure!(own.contains("oldstable"), "its configuration is still of another channel:\n{own}");
    // From its menu the other one can be had for one start.
    let menu = page(PAGES[0])?;
    ensure!(
        menu.contains("item profile-ram.stable Debian in memory (amd64), stable (13.2) this time"),
        "{menu}"
    );
    says(&[], "one   Debian in memory  stable     13.2     or oldstable (12.12)\n")?;
    says(&[], "two   Debian in memory  oldstable  12.12    lab.toml: stable; or stable (13.2)\n")?;

    // What cannot be booted is not chosen, and nothing changes.
    says(&["set", "two", "sid"], "refused: the Pi has no Debian in memory sid; it has oldstable (12.12), ")?;
    says(&["set", "tow", "stable"], "refused: there is no node \"tow\": known: one, two")?;
    starts("12.12")?;

    // It outlives whoever wrote it down.
    drop(state_daemon);
    says(&["reset", "two"], "nothing is changed: nobody answers at ")?;
    starts("12.12")?;
    let state_daemon = state("lab-stated-again")?;
    says(&["reset", "two"], "two follows stable (13.2) from its next start on, as lab.toml has it\n")?;
    starts("13.2")?;
    let text = fs::read_to_string(stage.path("log/events.jsonl"))?;
    let told = |by: &str| text.lines().any(|line| line.contains("\"channel\"") && line.contains(by));
    ensure!(told("an operator") && told("lab.toml"), "the choices are not in the log:\n{text}");

    // A file that nobody can have written is not followed, and that is told.
    fs::write(stage.path("state/nodes.toml"), "[channels.two]\nchannel = \"../../etc\"\n")?;
    starts("13.2")?;
    httpd.events_at_least(1, "a word of the damaged file", |event| {
        event["reason"].as_str().is_some_and(|reason| reason.contains("nodes.toml"))
    })?;
    tftpd.must_be_alive()?;
    drop(state_daemon);
    Ok(())
}

fn index() -> String {
    let digest = "a".repeat(64);
    let release = |version: &str, channel: &str| {
        format!(
            "[[release]]\nsystem = \"debian-ram\"\narchitecture = \"amd64\"\nversion = \"{version}\"\n\
             channels = [\"{channel}\"]\nfiles = {{ \"root.squashfs\" = \"{digest}\" }}\n"
        )
    };
    release("13.2", "stable") + &release("12.12", "oldstable")
}
