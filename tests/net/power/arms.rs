//! A node whose profile is armed by a power cycle gets its token once the Pi has switched it on, and not otherwise.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use pilotlight_tests::{daemon::Daemon, process::must};

use super::{
    LIMIT, Switching,
    strip::{PASSWORD, USER, plug_in},
};

/// The cable's client end is the node.
const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
probe-first = false

[kubernetes]
api = "10.77.0.13"

[profiles.ram]
kind = "debian-ram"
arm = "power-cycle"

[[nodes]]
name = "plugged"
mac = "52:54:00:00:00:12"
address = "10.77.0.50"
profile = "ram"
role = "worker"
power = { device = "strip", outlet = 3 }

[power.strip]
kind = "web-switch"
url = "http://10.77.0.50:8080"
"#;
const TOKEN: &str = "http://10.77.0.1/node/52-54-00-00-00-12/token";

pub(crate) fn by_power_cycle() -> Result<()> {
    let scene = Switching::begin(LAB)?;
    let _strip = plug_in()?;
    let (pkid, _others) = authority(&scene)?;
    scene.says(&["login", "strip"], &format!("{USER}\n{PASSWORD}\n"), true, "and the Pi remembers it")?;
    request(&scene)?;
    let fetched = |what: &str, expect: &str| -> Result<()> {
        let mut curl = scene.stage.client("curl")?;
        curl.args(["-sS", "-m", "20", "-w", "%{http_code}", "--data-urlencode", "request@own.csr", TOKEN]);
        let said = must(curl.current_dir(scene.stage.folder()), LIMIT)?.text;
        ensure!(said.ends_with(expect), "{what}: it was told {said:?}");
        Ok(())
    };
    let armed = |count: usize| {
        let by = |event: &serde_json::Value| event["stage"] == "armed" && event["by"] == "power-cycle";
        pkid.events_at_least(count, "that it is armed", by)
    };

    fetched("a node that runs", "403")?;
    scene.done(&["on", "plugged"], "plugged is on")?;
    armed(1)?;
    fetched("a node that the Pi switched on", "200")?;
    // An order that changes nothing arms nobody, nor does switching off.
    scene.done(&["on", "plugged"], "plugged is on already")?;
    scene.done(&["off", "plugged"], "plugged is off")?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(pkid.events(|event| event["stage"] == "armed").len() == 1, "it was armed by something else");
    scene.done(&["cycle", "plugged"], "plugged is on")?;
    armed(2)
}

/// The authority, and who tells it of machines that start.
fn authority(scene: &Switching) -> Result<(Daemon, [Daemon; 2])> {
    let stage = &scene.stage;
    std::fs::write(stage.path("set"), "1800000000 operator\n")?;
    let own = rustix::process::getuid().as_raw().to_string();
    let paths = ["pki.sock", "pki", "card.json", "lab.toml", "set", "log", "nodes.toml", "http"];
    let [socket, state, card, built, set, log, nodes, root] = paths.map(|name| stage.path(name));
    let [socket, state, card, built, set, log, nodes] =
        [&socket, &state, &card, &built, &set, &log, &nodes].map(|path| path.to_string_lossy());
    let pki = [["--socket", &*socket], ["--state", &state], ["--card", &card], ["--built", &built]];
    let pki = [&pki[..], &[["--clock-set", &set], ["--operator", &own]]].concat().concat();
    let pkid = stage.daemon("pilotlight-pkid", "pkid", &pki)?;
    let keeper =
        [["--state", &*log], ["--lab-state", &nodes], ["--card", &card], ["--pki", &socket]].concat();
    std::fs::create_dir_all(stage.path("log"))?;
    let keeper = stage.daemon("pilotlight-lab-stated", "lab-stated", &keeper)?;
    std::fs::create_dir_all(&root)?;
    let http = ["--root", &root.to_string_lossy(), "--listen", "10.77.0.1:80", "--pki", &socket];
    let httpd = stage.daemon("pilotlight-httpd", "httpd", &http)?;
    Ok((pkid, [keeper, httpd]))
}

/// A key and a request.
fn request(scene: &Switching) -> Result<()> {
    let stage = &scene.stage;
    std::fs::write(stage.path("openssl.cnf"), "[req]\ndistinguished_name = name\n[name]\n")?;
    for words in [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out own.key",
        "req -new -key own.key -subj /CN=whatever -out own.csr",
    ] {
        let mut openssl: Command = stage.client("openssl")?;
        openssl.env("OPENSSL_CONF", stage.path("openssl.cnf")).current_dir(stage.folder());
        must(openssl.args(words.split_whitespace()), LIMIT)?;
    }
    Ok(())
}
