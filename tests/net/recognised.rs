//! Machines that the lab knows by UUID or serial number: met by what they say, from then on known by their hardware address.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::{daemon::Daemon, namespace::CLIENT};

use crate::{keeper::Keeper, stage::Stage};

const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
probe-first = false
pool = { first = "10.77.0.100", last = "10.77.0.199" }

[[nodes]]
name = "one"
uuid = "4c4c4544-0042-3510-8052-b4c04f564433"
address = "10.77.0.21"

[[nodes]]
name = "two"
uuid = "4c4c4544-0042-3510-8052-b4c04f564434"
address = "10.77.0.22"

[[nodes]]
name = "three"
serial = "CZ 1234/A"
address = "10.77.0.23"
profile = "ram"

[profiles.ram]
kind = "debian-ram"
"#;
/// The UUID of `one` as firmware sends it, and that of `two` the other way round.
const ONE: &str = "44454c4c42001035";
const TWO: &str = "4c4c454400423510";
const SCRIPT: &str = "http://10.77.0.1/ipxe?mac=52-54-00-00-00-13&serial=CZ%201234%2FA";

pub(crate) fn by_uuid_and_serial() -> Result<()> {
    let stage = Stage::set(LAB)?;
    let keeper = Keeper::new(&stage)?;
    let kept = keeper.keep("lab-stated")?;
    let _dhcpd = dhcpd(&stage, &keeper)?;
    let asks = |mac: &str, uuid: &str, last: &str| -> Result<String> {
        stage.cable.ip(&format!("link set dev {CLIENT} address {mac}"))?;
        lease(&stage, &format!("0x61:00{uuid}8052b4c04f5644{last}"))
    };
    let says = |words: &[&str], expect: &str| keeper.says("forget", words, expect);

    says(&[], "one    UUID 4c4c4544-0042-3510-8052-b4c04f564433  not met yet\n")?;
    // The first with a UUID is its node at once; another one is not, and that is told.
    let first = asks("52:54:00:00:00:11", ONE, "33")?;
    ensure!(first == "10.77.0.21", "it was recognised, and has {first}");
    says(&[], "one    UUID 4c4c4544-0042-3510-8052-b4c04f564433  52:54:00:00:00:11\n")?;
    let second = asks("52:54:00:00:00:12", ONE, "33")?;
    ensure!(second.starts_with("10.77.0.1"), "two machines of one UUID: the second has {second}");
    told(&stage, "which is known as 52:54:00:00:00:11: `pilotctl forget one` if")?;

    // Its card was changed: it is forgotten by hand, and met anew.
    says(&["one"], "52:54:00:00:00:11 is not one any more: the next machine that lab.toml means is\n")?;
    says(&["one"], "no machine was met as one yet\n")?;
    let third = asks("52:54:00:00:00:12", ONE, "33")?;
    ensure!(third == "10.77.0.21", "it was forgotten, and the next one has {third}");
    says(&["four"], "refused: there is no node \"four\": known: one, two, three\n")?;

    // Whoever only looks is nobody; who asks is told to ask again, until it is known.
    stage.cable.fixed_client_address()?;
    keeper.curl(&["--head", SCRIPT])?;
    thread::sleep(Duration::from_millis(300));
    says(&[], "three  serial number CZ 1234/A                    not met yet\n")?;
    const METADATA: &str = "http://10.77.0.1/metadata?serial=CZ%201234%2FA";
    let unmet = format!("{:?}", keeper.curl(&[METADATA]));
    ensure!(unmet.contains("404"), "{unmet}");
    let script = keeper.curl(&[SCRIPT])?;
    let again = "chain --replace http://10.77.0.1/ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring}&asked=1\n";
    ensure!(script.contains("echo This machine is three.\n") && script.contains(again), "{script}");
    let boot = keeper.curl(&["http://10.77.0.1/boot.ipxe"])?;
    ensure!(boot.contains("&uuid=${uuid}&serial=${serial:uristring} ||\n"), "{boot}");
    thread::sleep(Duration::from_secs(1));
    let script = keeper.curl(&[&format!("{SCRIPT}&asked=1")])?;
    ensure!(script.contains("goto profile-ram\n"), "it is known, and has another's script:\n{script}");
    let plain = keeper.curl(&["http://10.77.0.1/ipxe?mac=52-54-00-00-00-13"])?;
    ensure!(plain == script, "what it says besides its hardware address counts although that is known");
    // Matchbox's pages select by any of these.
    let metadata = keeper.curl(&[METADATA])?;
    ensure!(metadata.lines().any(|line| line == "MAC=52:54:00:00:00:13"), "{metadata}");
    let by_uuid = keeper.curl(&["http://10.77.0.1/metadata?uuid=4c4c4544-0042-3510-8052-b4c04f564433"])?;
    ensure!(by_uuid.lines().any(|line| line == "MAC=52:54:00:00:00:12"), "{by_uuid}");

    // Nobody can write it down: it gets an address all the same, a stranger's, and a stranger's script.
    drop(kept);
    let stranger = asks("52:54:00:00:00:14", TWO, "34")?;
    ensure!(stranger.starts_with("10.77.0.1"), "nobody keeps who it is, and it has {stranger}");
    fs::remove_file(&keeper.state).context("cannot remove the state")?;
    let script = keeper.curl(&[&format!("{SCRIPT}&asked=5")])?;
    ensure!(script.contains("# A machine without a name: 52:54:00:00:00:13\n"), "{script}");
    Ok(())
}

fn dhcpd(stage: &Stage, keeper: &Keeper<'_>) -> Result<Daemon> {
    let paths = [stage.subfolder("dhcp")?, stage.path("dhcp-status"), keeper.state.clone()];
    let [state, status, known] = paths.each_ref().map(|path| path.to_string_lossy());
    let arguments = ["--state", &*state, "--status", &*status, "--lab-state", &*known];
    stage.daemon("pilotlight-dhcpd", "dhcpd", &arguments)
}

/// The address that a machine gets which says this of itself.
fn lease(stage: &Stage, option: &str) -> Result<String> {
    let mut client = stage.client("udhcpc")?;
    client.args(["-f", "-n", "-q", "-t", "10", "-T", "1", "-i", CLIENT, "-s", "/bin/true", "-x", option]);
    let asked = client.output().context("could not start udhcpc")?;
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    let (_, address) = said.split_once("lease of ").with_context(|| format!("no lease: {said}"))?;
    Ok(address.split(' ').next().unwrap_or_default().to_owned())
}

fn told(stage: &Stage, words: &str) -> Result<()> {
    let text = fs::read_to_string(stage.path("log/events.jsonl"))?;
    ensure!(text.contains(words), "{words:?} is not in the log:\n{text}");
    Ok(())
}
