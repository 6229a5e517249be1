//! How a node says that it is up: a script that waits for the end of its start, run by a unit of the node's own.

use pilotlight_lab::{Lab, Node};

use crate::{Text, context, script};

/// The script's name beneath `/node/MAC/`.
pub const NAME: &str = "report";

/// The script.
pub(crate) fn text(lab: &Lab, node: &Node) -> Text {
    let facts = format!("own={}", context::url(lab, node).trim_end_matches('/'));
    script::text(NAME, include_str!("report.sh"), &facts)
}
