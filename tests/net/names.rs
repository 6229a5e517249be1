//! Names asked for by other people's clients.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::{
    daemon::Daemon,
    process::{must, run},
};

use crate::stage::{LAB, Stage};

const LIMIT: Duration = Duration::from_secs(30);

/// What drill(1) has to say; `words` are separated by blanks.
fn drill_says(stage: &Stage, words: &str) -> Result<String> {
    let mut client = stage.client("drill")?;
    Ok(must(client.args(words.split_ascii_whitespace()), LIMIT)?.text)
}

fn check(stage: &Stage, words: &str, expect: &[&str]) -> Result<()> {
    let said = drill_says(stage, words)?;
    // Columns are set apart by tabs.
    let plain = said.replace('\t', " ");
    for part in expect {
        ensure!(plain.contains(part), "drill {words} did not say {part:?}:\n{said}");
    }
    Ok(())
}

pub(crate) fn drill() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let mut server = stage.daemon("pilotlight-dnsd", "dnsd", &["--listen", "0.0.0.0:53"])?;
    for way in ["", "-t ", "-b 1232 "] {
        check(
            &stage,
            &format!("{way}@10.77.0.1 node1.lab.home.arpa"),
            &["rcode: NOERROR", "aa", "10.77.0.11"],
        )?;
        check(
            &stage,
            &format!("{way}@10.77.0.1 -x 10.77.0.11"),
            &["rcode: NOERROR", "node1.lab.home.arpa."],
        )?;
    }
    check(&stage, "@10.77.0.1 none.lab.home.arpa", &["rcode: NXDOMAIN", "AUTHORITY: 1"])?;
    check(&stage, "@10.77.0.1 node1.lab.home.arpa AAAA", &["rcode: NOERROR", "ANSWER: 0", "AUTHORITY: 1"])?;
    check(&stage, "@10.77.0.1 deb.debian.org", &["rcode: REFUSED"])?;
    check(&stage, "@10.77.0.1 printer.local", &["rcode: NXDOMAIN"])?;
    let mut busybox = stage.client("busybox")?;
    let said = must(busybox.args(["nslookup", "-type=a", "node1.lab.home.arpa", "10.77.0.1"]), LIMIT)?.text;
    ensure!(said.contains("10.77.0.11"), "busybox nslookup said\n{said}");
    server.must_be_alive()
}

/// Another name server, at the clients' end, knows more: what it says is passed on, and kept when it goes away.
pub(crate) fn upstream() -> Result<()> {
    let stage = Stage::set(&LAB.replace("lease =", "upstream = [\"10.77.0.254\"]\nlease ="))?;
    stage.cable.fixed_client_address()?;
    stage.cable.ip("address add 10.77.0.254/24 dev client0")?;
    let other = LAB
        .replace("10.77.0.1/24", "10.77.0.254/24")
        .replace("lab.home.arpa", "example.org")
        .replace("node1", "www");
    let path = stage.path("other.toml");
    fs::write(&path, other).context("could not write the other lab")?;
    let (path, events) = (path.to_string_lossy(), stage.path("other.sock"));
    let events = events.to_string_lossy();
    let arguments = ["--lab", &*path, "--events", &*events, "--listen", "10.77.0.254:53"];
    let other = Daemon::start(None, "pilotlight-dnsd", "other", &arguments, stage.folder())?;
    let mut server = stage.daemon("pilotlight-dnsd", "dnsd", &["--listen", "10.77.0.1:53"])?;
    for way in ["", "-t "] {
        check(&stage, &format!("{way}@10.77.0.1 www.example.org"), &["rcode: NOERROR", "ra", "10.77.0.11"])?;
        check(&stage, &format!("{way}@10.77.0.1 none.example.org"), &["rcode: NXDOMAIN", "AUTHORITY: 1"])?;
    }
    check(&stage, "@10.77.0.1 node1.lab.home.arpa", &["rcode: NOERROR", "aa", "10.77.0.11"])?;
    // The other one refuses what it does not know: that is no answer to pass on.
    check(&stage, "@10.77.0.1 deb.debian.org", &["rcode: SERVFAIL"])?;
    drop(other);
    check(&stage, "@10.77.0.1 www.example.org", &["rcode: NOERROR", "10.77.0.11"])?;
    let mut client = stage.client("drill")?;
    let said = run(client.args(["@10.77.0.1", "new.example.org"]), LIMIT)?.text;
    ensure!(said.contains("rcode: SERVFAIL"), "without the other name server drill said\n{said}");
    server.event("the word that nobody answers", |event| {
        event["service"] == "dns" && event["stage"] == "ask"
    })?;
    server.must_be_alive()
}
