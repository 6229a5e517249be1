//! What nodes say of themselves: `POST /node/MAC/ready`, a form as cloud-init's `phone_home` sends it.

use std::net::IpAddr;

use pilotlight_http::{Request, target::pairs};
use pilotlight_lab::MacAddr;

use crate::{
    answer::{Answer, NOBODY, refusal, rendered, speaks_for},
    site::Site,
};

/// What is kept of a report, by the names in the form. cloud-init sends the first three, our own unit the others.
const FIELDS: [&str; 7] = ["hostname", "fqdn", "instance_id", "state", "kernel", "system", "uptime"];
/// The most that is kept of a field, in characters.
const LONGEST: usize = 128;

/// The node `mac` says that it is up. Who speaks for it has its address, where the lab gives it one.
pub(crate) fn ready(site: &Site, mac: MacAddr, from: IpAddr, request: &Request) -> Answer {
    let lab = site.lab();
    let Some(node) = lab.node_by_mac(mac) else { return refusal(404, NOBODY) };
    if !speaks_for(node, from) {
        return refusal(403, "a node reports for itself, from its own address");
    }
    let Some(said) = &request.said else {
        return refusal(411, "a report is a short form whose length is said");
    };
    let form = pairs(&String::from_utf8_lossy(said));
    let fields = form.into_iter().filter(|(name, _)| FIELDS.contains(&name.as_str()));
    site.ready(node, from, fields.map(|(name, value)| (name, value.chars().take(LONGEST).collect())));
    rendered("ok\n".to_owned())
}
