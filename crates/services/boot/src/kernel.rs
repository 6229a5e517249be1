//! A kernel, its initrd and its command line, the same for every loader.

use pilotlight_lab::{Lab, Node, Profile, ProfileKind};

use crate::url;

/// What a loader needs to start a system.
pub(crate) struct Kernel {
    pub(crate) linux: String,
    pub(crate) initrd: String,
    /// The command line, without what only one loader needs.
    pub(crate) arguments: Vec<String>,
}

/// How a profile is started, on a node or on a machine that nobody named; none for the machine's own disk.
///
/// Only the node's own profile brings its preseed file along: from any other entry the installer asks.
pub(crate) fn kernel(lab: &Lab, name: &str, profile: &Profile, node: Option<&Node>) -> Option<Kernel> {
    let ProfileKind::DebianInstaller { release, architecture, arguments: more, .. } = &profile.kind else {
        return None;
    };
    let asset = |file| url::asset(lab, &url::asset_path(*release, architecture, file));
    let mut arguments = Vec::new();
    if let Some(node) = node {
        if node.profile.as_deref() == Some(name) {
            arguments.extend(unattended(lab, node));
        }
        arguments.push(format!("hostname={}", node.name));
        arguments.push(format!("domain={}", lab.network.domain));
        // With `interface=auto` the installer takes the interface that BOOTIF names (01 is Ethernet in ARP's
        // numbers); without it the first one with a link, which may be another wire.
        arguments.push("interface=auto".to_owned());
        arguments.push(format!("BOOTIF=01-{}", node.mac.hyphenated()));
    }
    arguments.extend(more.iter().cloned());
    Some(Kernel { linux: asset("linux"), initrd: asset("initrd.gz"), arguments })
}

/// `auto` puts off the questions about language and keyboard until the preseed file is there. What it leaves
/// open is asked when there is no disk to install to (`high`, the installer's usual level); with one, only what
/// cannot go on without an answer is.
fn unattended(lab: &Lab, node: &Node) -> Vec<String> {
    let priority = if node.install_to.is_some() { "critical" } else { "high" };
    let mut arguments = vec!["auto=true".to_owned(), format!("priority={priority}")];
    // Debian 13's installer asks these before it has fetched the preseed file: whether to go on without a way out, and
    // then for a name server, although DHCP has named one. A blank would end the argument: one is enough.
    if lab.network.isolated() {
        arguments.push("netcfg/no_default_route=true".to_owned());
        let server = lab.network.dns.first().map(ToString::to_string).unwrap_or_default();
        arguments.push(format!("netcfg/get_nameservers={server}"));
    }
    arguments.push(format!("url={}", url::preseed(lab, node.mac)));
    arguments
}
