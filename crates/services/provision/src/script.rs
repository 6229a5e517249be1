//! Scripts that a node runs once at each start, for which it needs a unit.

use pilotlight_lab::{Lab, Node};

use crate::{Text, context};

/// How a script ends that is not to be run again before the next start: what it found is how it is.
const DECIDED: u8 = 3;

/// A script with what the lab says of the node put in the place of its one comment in parentheses.
pub(crate) fn text(name: &'static str, script: &str, facts: &str) -> Text {
    let body = script.lines().map(|line| if line.starts_with("# (") { facts } else { line });
    let body = body.flat_map(|line| [line, "\n"]).collect();
    Text { name, body }
}

/// A unit that runs a script, for systems that have none of their own.
pub(crate) struct Unit {
    /// The script.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) title: &'static str,
    /// What else stands in its first section, line by line.
    pub(crate) order: &'static str,
    /// When it counts as started, line by line.
    pub(crate) started: &'static str,
}

/// When the script has ended.
pub(crate) const ENDED: &str = "Type=oneshot\nRemainAfterExit=yes\n";
/// At once: the script waits for the start that it is a part of.
pub(crate) const BEGUN: &str = "Type=exec\n";

/// Its text for this node.
pub(crate) fn unit(lab: &Lab, node: &Node, unit: &Unit) -> String {
    let Unit { name, title, order, started } = unit;
    let url = format!("{}{name}", context::url(lab, node));
    format!(
        "[Unit]\n\
         Description={title}\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         {order}\
         \n\
         [Service]\n\
         {started}\
         Restart=on-failure\n\
         RestartSec=30s\n\
         RestartPreventExitStatus={DECIDED}\n\
         ExecStart=/bin/sh -c \"curl -fsS --retry 5 --retry-connrefused -o /run/{name}.sh {url} && exec sh /run/{name}.sh\"\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}
