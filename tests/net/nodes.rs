//! What nodes are told by HTTP, what Matchbox's clients ask for, and what nodes say of themselves.

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::{daemon::PATIENCE, process::must};
use serde_json::Value;

use crate::{stage::Stage, web::Talk};

/// The client's end of the cable has the address of `cloud`.
const LAB: &str = r#"
ssh-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA0000000000000000000000000000000000000000000 me@desk"]

[network]
address = "10.77.0.1/24"
domain = "lab.home.arpa"

[profiles]
ram = { kind = "debian-ram" }
flatcar = { kind = "flatcar" }
own = { kind = "custom", linux = "own/linux" }

[configs.packages]
kind = "cloud-config"
template = "packages: {{ variables.packages }}\n"

[configs.answers]
kind = "text"
template = "role={{ node.role }}\n"

[[nodes]]
name = "cloud"
mac = "52:54:00:00:00:50"
address = "10.77.0.50"
profile = "ram"
config = "packages"
variables = { packages = ["vim", "x: y"] }

[[nodes]]
name = "fire"
mac = "52:54:00:00:00:51"
address = "10.77.0.51"
profile = "flatcar"

[[nodes]]
name = "text"
mac = "52:54:00:00:00:52"
address = "10.77.0.52"
role = "worker"
profile = "own"
config = "answers"
"#;

const SERVER: &str = "10.77.0.1:80";

pub(crate) fn told_and_heard() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let (mut server, _) = stage.httpd()?;
    configurations()?;
    matchbox()?;
    reports(&stage)?;
    let ready = server.event("the report", |event| event["stage"] == "ready")?;
    for (name, expect) in [("state", "running"), ("system", "Debian & \"friends\""), ("hostname", "cloud")] {
        ensure!(ready[name] == expect, "{name} of the report is {}", ready[name]);
    }
    ensure!(ready["node"] == "cloud" && ready["secret"] == Value::Null, "the report is told as {ready}");
    ensure!(server.events(|event| event["stage"] == "ready").len() == 1, "more than one report was taken");
    server.must_be_alive()
}

fn page(path: &str) -> Result<String> {
    let answer = Talk::to(SERVER)?.get(path, "")?;
    let text = String::from_utf8(answer.body).with_context(|| format!("{path} is no text"))?;
    ensure!(answer.status == 200, "{path}: {} {text}", answer.status);
    Ok(text)
}

fn configurations() -> Result<()> {
    let cloud = |name: &str| page(&format!("/node/52-54-00-00-00-50/{name}"));
    ensure!(cloud("user-data")? == "#cloud-config\npackages: [\"vim\",\"x: y\"]", "{}", cloud("user-data")?);
    let meta: Value = serde_json::from_str(&cloud("meta-data")?)?;
    ensure!(meta["local-hostname"] == "cloud", "{meta}");
    ensure!(cloud("vendor-data")?.starts_with("#cloud-config\n{"), "{}", cloud("vendor-data")?);
    let network: Value = serde_json::from_str(&cloud("network-config")?)?;
    ensure!(network["version"] == 2, "{network}");
    let fire: Value = serde_json::from_str(&page("/node/52-54-00-00-00-51/ignition")?)?;
    ensure!(fire["ignition"]["version"] == "3.3.0", "{fire}");
    for (path, status) in [
        ("/node/52-54-00-00-00-50/ignition", 404),
        ("/node/52-54-00-00-00-51/user-data", 404),
        ("/node/52-54-00-00-00-50/preseed.cfg", 404),
        ("/node/52-54-00-00-00-99/user-data", 404),
        ("/node/52-54-00-00-00-50/", 404),
        ("/node/52-54-00-00-00-50/ready", 405),
    ] {
        let answer = Talk::to(SERVER)?.get(path, "")?;
        ensure!(answer.status == status, "{path} gives {}", answer.status);
    }
    Ok(())
}

/// As Matchbox answers whoever names the machine in the query.
fn matchbox() -> Result<()> {
    let same = |one: &str, other: &str| -> Result<()> {
        let (left, right) = (page(one)?, page(other)?);
        ensure!(left == right, "{one} and {other} differ:\n{left}\n{right}");
        Ok(())
    };
    same("/ignition?uuid=1&mac=52-54-00-00-00-51&os=installed", "/node/52-54-00-00-00-51/ignition")?;
    same("/cloud?mac=52:54:00:00:00:50", "/node/52-54-00-00-00-50/user-data")?;
    same("/generic?mac=52-54-00-00-00-52", "/node/52-54-00-00-00-52/config")?;
    ensure!(page("/generic?mac=52-54-00-00-00-52")? == "role=worker", "another text");
    ensure!(page("/grub?mac=52-54-00-00-00-51")?.contains("menuentry"), "no menu for GRUB");
    let metadata = page("/metadata?mac=52-54-00-00-00-50&os=a%20b")?;
    for line in ["PACKAGES=\"vim x: y\"", "REQUEST_QUERY_OS=\"a b\"", "MAC=52:54:00:00:00:50"] {
        ensure!(metadata.lines().any(|said| said == line), "no {line} in\n{metadata}");
    }
    for path in ["/ignition", "/ignition?mac=52-54-00-00-00-50", "/cloud?mac=52-54-00-00-00-99", "/metadata"]
    {
        let answer = Talk::to(SERVER)?.get(path, "")?;
        ensure!(answer.status == 404, "{path} gives {}", answer.status);
    }
    Ok(())
}

/// A form as `curl` and cloud-init send it; only from the node's own address.
fn reports(stage: &Stage) -> Result<()> {
    for (mac, status) in
        [("52-54-00-00-00-51", "403"), ("52-54-00-00-00-99", "404"), ("52-54-00-00-00-50", "200")]
    {
        let mut curl = stage.client("curl")?;
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}"]);
        for field in ["hostname=cloud", "state=running", "system=Debian & \"friends\"", "secret=x"] {
            curl.args(["--data-urlencode", field]);
        }
        let said = must(curl.arg(format!("http://{SERVER}/node/{mac}/ready")), PATIENCE)?.text;
        ensure!(said.trim() == status, "a report of {mac} gets {said}, not {status}");
    }
    let mut chunked = Talk::to(SERVER)?;
    chunked.say(
        "POST /node/52-54-00-00-00-50/ready HTTP/1.1\nHost: lab\nTransfer-Encoding: chunked\n\n3\na=b\n0\n\n",
    )?;
    let refused = chunked.hear(false)?;
    ensure!(refused.status == 411, "a report of no said length gets {}", refused.status);
    ensure!(chunked.get("/healthz", "")?.status == 200, "the connection is not kept");
    Ok(())
}
