//! The time, asked for by chrony as a machine would: it is refused until an operator has set it.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::process::run;

use crate::stage::{LAB, Stage};

const LIMIT: Duration = Duration::from_secs(60);

/// What chronyd makes of the server: it asks four times, says by how much this machine's clock is off, and sets nothing.
fn chronyd(stage: &Stage) -> Result<(bool, String)> {
    let mut client = stage.client("chronyd")?;
    let folder = stage.folder().display();
    let server = "server 10.77.0.1 iburst maxsamples 4";
    let pid = format!("pidfile {folder}/chronyd.pid");
    client.args(["-Q", "-t", "15", "-x", "-u", "root", server, &pid, "cmdport 0", "bindcmdaddress /"]);
    let outcome = run(&mut client, LIMIT)?;
    Ok((outcome.status.success(), outcome.text))
}

pub(crate) fn chrony() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let state = stage.subfolder("ntp")?;
    let (set, control) = (stage.path("set"), stage.path("clock.sock"));
    let arguments = [
        "--listen",
        "0.0.0.0:123",
        "--state",
        &state.to_string_lossy(),
        "--set",
        &set.to_string_lossy(),
        "--control",
        &control.to_string_lossy(),
    ];

    let mut server = stage.time_server("ntpd", &arguments)?;
    let ask = |request: &str| -> Result<String> {
        let mut stream = UnixStream::connect(&control).context("the time server has no control socket")?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ensure!(ask("status")?.contains("nobody has set the clock"), "it was set by nobody");
    let (good, said) = chronyd(&stage)?;
    ensure!(!good, "chronyd believed a clock that nobody set:\n{said}");
    // An ordinary user's namespace may not set the machine's clock: that much is refused, and said.
    ensure!(ask("set 1800000000")?.starts_with("refused: the clock could not be set"), "the clock was set");
    ensure!(ask("set 1")?.contains("before 2025"), "a time without sense was taken");
    ensure!(ask("hello")?.contains("is no request"), "it took what is no request");
    server.must_be_alive()?;
    drop(server);
    std::fs::remove_file(&control)?;

    // As it finds it after an operator has set it and the daemon was started again.
    std::fs::write(&set, "1790000000 operator\n")?;
    let mut server = stage.time_server("ntpd-again", &arguments)?;
    ensure!(ask("status")?.contains("set by an operator"), "it forgot that the clock was set");
    let (good, said) = chronyd(&stage)?;
    ensure!(good && said.contains("System clock wrong by"), "chronyd said\n{said}");
    let wrong = said.split("wrong by ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let wrong: f64 = wrong.parse().with_context(|| said.clone())?;
    // Both ends have the same clock.
    ensure!(wrong.abs() < 0.01, "chronyd takes its clock to be wrong by {wrong} s:\n{said}");
    println!("chronyd takes its clock to be wrong by {wrong} s");
    server.must_be_alive()
}
