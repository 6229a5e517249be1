//! How a node comes to its certificates: a script that makes a key and asks the Pi, run by a unit of the node's own.

use pilotlight_lab::{Lab, Node, Role};
use pilotlight_pki::Purpose;

use crate::{Text, context, script};

/// The script's name beneath `/node/MAC/`.
pub const NAME: &str = "certificates";

/// The script of a node that is given certificates.
pub(crate) fn text(lab: &Lab, node: &Node) -> Option<Text> {
    let role = node.role.filter(|_| lab.is_enrolled(node))?;
    let purposes =
        Purpose::ALL.into_iter().filter(|purpose| role == Role::Controller || purpose.for_worker());
    let purposes: Vec<&str> = purposes.map(Purpose::name).collect();
    // Neither an address nor the words of this crate's own need to be quoted.
    let url = context::url(lab, node);
    let (pi, own) = (format!("http://{}", lab.network.address), url.trim_end_matches('/'));
    let facts = format!("pi={pi}\nown={own}\npurposes=\"{}\"", purposes.join(" "));
    Some(script::text(NAME, include_str!("certificates.sh"), &facts))
}
