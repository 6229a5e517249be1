//! cloud-init's NoCloud: four files beneath one URL (cloud-init's documentation, "NoCloud", of version 25.1).
//!
//! What every node gets stands in `vendor-data`, what the lab's own template says in `user-data`, which counts more. All
//! are JSON, which YAML reads the same.

use pilotlight_lab::{Lab, Node, Profile};
use serde_json::{Value, json};

use crate::{Text, account, context, has_units, template};

const HEADER: &str = "#cloud-config\n";

/// The four files; `own` is what came of the lab's template.
pub(crate) fn texts(
    lab: &Lab,
    node: &Node,
    profile: &Profile,
    own: Option<&str>,
) -> Result<Vec<Text>, String> {
    let user = match own {
        Some(text) => {
            let value = template::yaml(text)?;
            if !value.is_object() {
                return Err("its outermost value is no mapping of keys".to_owned());
            }
            // The first line is what cloud-init knows it by, and people forget it.
            if text.trim_start().starts_with("#cloud-config") {
                text.trim_start().to_owned()
            } else {
                format!("{HEADER}{text}")
            }
        }
        None => format!("{HEADER}{{}}\n"),
    };
    let meta = json!({
        // The same at every boot: a node in memory has forgotten it, and one on a disk is not set up twice.
        "instance-id": format!("pilotlight-{}", node.name),
        "local-hostname": node.name,
    });
    let network = json!({
        "version": 2,
        "ethernets": { "boot": { "match": { "macaddress": node.mac.to_string() }, "dhcp4": true } },
    });
    Ok(vec![
        Text { name: "user-data", body: user },
        Text { name: "meta-data", body: pretty(&meta) },
        Text { name: "vendor-data", body: format!("{HEADER}{}", pretty(&vendor(lab, node, profile))) },
        Text { name: "network-config", body: pretty(&network) },
    ])
}

fn vendor(lab: &Lab, node: &Node, profile: &Profile) -> Value {
    let mut vendor = json!({
        "hostname": node.name,
        "fqdn": format!("{}.{}", node.name, lab.network.domain),
        "users": [{
            "name": account(profile),
            "shell": "/bin/bash",
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "lock_passwd": true,
            "ssh_authorized_keys": node.ssh_keys,
        }],
        "ssh_pwauth": false,
        "disable_root": true,
        // No disk is touched unless the lab says so.
        "growpart": { "mode": "off" },
        "resize_rootfs": false,
    });
    // The node says that it is up: the end of its boot's story on the Pi.
    if !has_units(profile) {
        vendor["phone_home"] = json!({
            "url": format!("{}ready", context::url(lab, node)),
            "post": ["hostname", "fqdn", "instance_id"],
            "tries": 10,
        });
    }
    vendor
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
