//! The disks that a node may use while it runs: a script that mounts them, run by a unit of the node's own.

use pilotlight_lab::{Lab, Node};

use crate::{Text, context, script};

/// The script's name beneath `/node/MAC/`.
pub const NAME: &str = "disks";

/// The script of a node with disks of its own.
pub(crate) fn text(lab: &Lab, node: &Node) -> Option<Text> {
    let disks = node.disks.named();
    if disks.is_empty() {
        return None;
    }
    let disks: Vec<_> = disks.iter().map(|(purpose, serial)| format!("{purpose}={serial}")).collect();
    // Nothing that may stand in a serial number needs to be quoted any further.
    let facts =
        format!("own={}\ndisks=\"{}\"", context::url(lab, node).trim_end_matches('/'), disks.join(" "));
    Some(script::text(NAME, include_str!("disks.sh"), &facts))
}
