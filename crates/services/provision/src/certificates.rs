//! How a node comes to its certificates: a script that makes a key and asks the Pi, run by a unit of the node's own.

use pilotlight_lab::{Lab, Node, Role};
use pilotlight_pki::Purpose;

use crate::{Text, context};

/// The script's name beneath `/node/MAC/`.
pub const NAME: &str = "certificates";

/// What the script does. What the lab says of the node stands before it.
const SCRIPT: &str = include_str!("certificates.sh");

/// The script of a node that is given certificates.
pub(crate) fn text(lab: &Lab, node: &Node) -> Option<Text> {
    let role = node.role.filter(|_| lab.is_enrolled(node))?;
    let purposes =
        Purpose::ALL.into_iter().filter(|purpose| role == Role::Controller || purpose.for_worker());
    let purposes: Vec<&str> = purposes.map(Purpose::name).collect();
    // Neither an address nor the words of this crate's own need to be quoted.
    let url = context::url(lab, node);
    let (pi, own) = (format!("http://{}", lab.network.address), url.trim_end_matches('/'));
    let body = SCRIPT.replacen(
        "# (what is asked, and where)",
        &format!("pi={pi}\nown={own}\npurposes=\"{}\"", purposes.join(" ")),
        1,
    );
    Some(Text { name: NAME, body })
}

/// The unit that runs it, for systems that have none of their own.
pub(crate) fn unit(lab: &Lab, node: &Node) -> String {
    let url = format!("{}{NAME}", context::url(lab, node));
    format!(
        "[Unit]\n\
         Description=Fetch this node's certificates from the boot server\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         Restart=on-failure\n\
         RestartSec=30s\n\
         ExecStart=/bin/sh -c \"curl -fsS --retry 5 --retry-connrefused -o /run/certificates.sh {url} && exec sh /run/certificates.sh\"\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}
