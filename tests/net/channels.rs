//! An operator has a node follow another channel: its next start is of that one, over HTTP and TFTP alike, until it is taken
//! back.

use std::fs;

use anyhow::{Result, ensure};

use crate::{keeper::Keeper, stage::Stage};

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
    fs::write(stage.subfolder("http")?.join("index.toml"), index())?;
    let mut keeper = Keeper::new(&stage)?;
    let kept = keeper.keep("lab-stated")?;
    // What a node starts by itself stands first in each of its pages.
    let starts = |version: &str| -> Result<()> {
        for url in PAGES {
            let text = keeper.curl(&[url])?;
            let first = text.split("debian-ram/").nth(1).unwrap_or_default();
            ensure!(first.starts_with(&format!("{version}/")), "{url} does not start {version}:\n{text}");
        }
        Ok(())
    };
    let says = |words: &[&str], expect: &str| keeper.says("channel", words, expect);

    starts("13.2")?;
    says(&["set", "two", "oldstable"], "two follows oldstable (12.12) from its next start on\n")?;
    starts("12.12")?;
    let own = keeper.curl(&["http://10.77.0.1/node/52-54-00-00-00-12/user-data"])?;
    ensure!(own.contains("oldstable"), "its configuration is still of another channel:\n{own}");
    // From its menu the other one can be had for one start.
    let menu = keeper.curl(&PAGES[..1])?;
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
    drop(kept);
    says(&["reset", "two"], "alone, does not answer at ")?;
    starts("12.12")?;
    let kept = keeper.keep("lab-stated-again")?;
    says(&["reset", "two"], "two follows stable (13.2) from its next start on, as lab.toml has it\n")?;
    starts("13.2")?;
    let text = fs::read_to_string(stage.path("log/events.jsonl"))?;
    let told = |by: &str| text.lines().any(|line| line.contains("\"channel\"") && line.contains(by));
    ensure!(told("an operator") && told("lab.toml"), "the choices are not in the log:\n{text}");

    // A file that nobody can have written is not followed, and that is told.
    fs::write(&keeper.state, "[channels.two]\nchannel = \"../../etc\"\n")?;
    starts("13.2")?;
    keeper.httpd.events_at_least(1, "a word of the damaged file", |event| {
        event["reason"].as_str().is_some_and(|reason| reason.contains("nodes.toml"))
    })?;
    keeper.tftpd.must_be_alive()?;
    drop(kept);
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
