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

/// The unit that runs it, for systems that have none of their own. `order` is what else stands in its first section, line by
/// line.
pub(crate) fn unit(lab: &Lab, node: &Node, name: &str, title: &str, order: &str) -> String {
    let url = format!("{}{name}", context::url(lab, node));
    format!(
        "[Unit]\n\
         Description={title}\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         {order}\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         Restart=on-failure\n\
         RestartSec=30s\n\
         RestartPreventExitStatus={DECIDED}\n\
         ExecStart=/bin/sh -c \"curl -fsS --retry 5 --retry-connrefused -o /run/{name}.sh {url} && exec sh /run/{name}.sh\"\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}
