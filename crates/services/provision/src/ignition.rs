//! Ignition's configuration, specification 3 (coreos/ignition, `docs/configuration-v3_3.md`).
//!
//! What every node gets is a configuration of our own; the lab's is merged into it by Ignition itself, by the rules of
//! its specification, from a `data:` URL. So each may be of its own version.

use pilotlight_lab::{Lab, Node, Profile};
use serde_json::{Value, json};

use crate::{
    CORE, account, certificates, disks, has_units, report,
    script::{self, BEGUN, ENDED, Unit},
    template::base64,
};

/// Ours is of this version: all that is kept up takes it.
const OURS: &str = "3.3.0";

/// The configuration; `own` is the lab's, `highest` the version of the specification that the node's system takes.
pub(crate) fn config(
    lab: &Lab,
    node: &Node,
    profile: &Profile,
    own: Option<&str>,
    highest: Option<(u32, u32)>,
) -> Result<String, String> {
    let mut files = vec![file("/etc/hostname", 0o644, &format!("{}\n", node.name))];
    let name = account(profile);
    let mut user = json!({ "name": name, "sshAuthorizedKeys": node.ssh_keys });
    // Systems that are made for Ignition have their account already, and it may become root.
    if name != CORE {
        user["shell"] = json!("/bin/bash");
        files.push(file("/etc/sudoers.d/pilotlight", 0o440, &format!("{name} ALL=(ALL) NOPASSWD:ALL\n")));
    }
    // Our own Debian has units for its scripts, and starts them by its command line.
    let units = if has_units(profile) { Vec::new() } else { scripts(lab, node, name == CORE) };
    let mut config = json!({
        "ignition": { "version": OURS },
        "passwd": { "users": [user] },
        "storage": { "files": files },
        "systemd": { "units": units },
    });
    if let Some(own) = own {
        let value: Value = serde_json::from_str(own).map_err(|error| error.to_string())?;
        fits(&value, highest)?;
        config["ignition"]["config"] = json!({ "merge": [{ "source": data(&value.to_string()) }] });
    }
    Ok(format!("{config:#}\n"))
}

/// The units that run the node's scripts: of a system of which nothing is known, none but its report.
fn scripts(lab: &Lab, node: &Node, is_known: bool) -> Vec<Value> {
    let report = Unit {
        name: report::NAME,
        title: "Tell the boot server that this node is up",
        order: "",
        started: BEGUN,
    };
    let certificates = Unit {
        name: certificates::NAME,
        title: "Fetch this node's certificates from the boot server",
        order: "",
        started: ENDED,
    };
    let disks = Unit {
        name: disks::NAME,
        title: "Mount the disks that the lab names for this node",
        // Before whatever keeps something there.
        order: "Before=containerd.service docker.service etcd.service kubelet.service\n",
        started: ENDED,
    };
    let wanted = [
        (report, true),
        (certificates, is_known && lab.is_enrolled(node)),
        (disks, is_known && !node.disks.named().is_empty()),
    ];
    let wanted = wanted.iter().filter(|(_, is_wanted)| *is_wanted);
    let unit = |unit: &Unit| {
        let contents = script::unit(lab, node, unit);
        json!({ "name": format!("pilotlight-{}.service", unit.name), "enabled": true, "contents": contents })
    };
    wanted.map(|(wanted, _)| unit(wanted)).collect()
}

fn file(path: &str, mode: u32, text: &str) -> Value {
    json!({ "path": path, "mode": mode, "overwrite": true, "contents": { "source": data(text) } })
}

/// A text as a URL that holds it.
pub(crate) fn data(text: &str) -> String {
    format!("data:;base64,{}", base64(text))
}

fn fits(config: &Value, highest: Option<(u32, u32)>) -> Result<(), String> {
    let version = config.pointer("/ignition/version").and_then(Value::as_str);
    let version = version.ok_or("it has no ignition.version, as in \"3.3.0\"")?;
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(_)), None) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    else {
        return Err(format!("its ignition.version {version:?} is no version, as in \"3.3.0\""));
    };
    let highest = highest.unwrap_or((3, u32::MAX));
    if major != 3 || (major, minor) > highest {
        let most = if highest.1 == u32::MAX { "3".to_owned() } else { format!("3.{}", highest.1) };
        return Err(format!(
            "the node's system takes Ignition's specification {most} at the most, not {version}"
        ));
    }
    Ok(())
}
