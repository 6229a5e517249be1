//! What nodes say of themselves: `POST /node/MAC/ready`, a form as cloud-init's `phone_home` sends it, and
//! `POST /node/MAC/disk`.

use std::net::IpAddr;

use pilotlight_http::{
    Request,
    target::{Report, pairs},
};
use pilotlight_kit::Event;
use pilotlight_lab::MacAddr;

use crate::{
    answer::{Answer, NOBODY, refusal, rendered, speaks_for},
    site::{SERVICE, Site},
};

/// What is kept of the report that a node is up, by the names in the form. cloud-init sends the first three, a unit of ours the
/// first and the others.
const READY: [&str; 7] = ["hostname", "fqdn", "instance_id", "state", "kernel", "system", "uptime"];
/// What is kept of what is said of a disk, and besides, what it says when it is not used.
const DISK: [&str; 3] = ["purpose", "serial", "did"];
const REFUSED: &str = "refused";
/// The most that is kept of a field, in characters.
const LONGEST: usize = 128;

/// The node `mac` says what has become of it. Who speaks for it has its address, where the lab gives it one.
pub(crate) fn taken(site: &Site, mac: MacAddr, what: Report, from: IpAddr, request: &Request) -> Answer {
    let lab = site.lab();
    let Some(node) = lab.node_by_mac(mac) else { return refusal(404, NOBODY) };
    if !speaks_for(node, from) {
        return refusal(403, "a node reports for itself, from its own address");
    }
    let Some(said) = &request.said else {
        return refusal(411, "a report is a short form whose length is said");
    };
    let form = pairs(&String::from_utf8_lossy(said));
    let said = |(name, value): (String, String)| (name, value.chars().take(LONGEST).collect::<String>());
    let form: Vec<(String, String)> = form.into_iter().map(said).collect();
    let refused = form.iter().find(|(name, _)| name == REFUSED);
    let (fields, event) = match (what, refused) {
        (Report::Ready, _) => (&READY[..], Event::ok(SERVICE, "ready")),
        (Report::Disk, None) => (&DISK[..], Event::ok(SERVICE, "disk")),
        (Report::Disk, Some((_, why))) => (&DISK[..], Event::failed(SERVICE, "disk", why)),
    };
    let kept = form.iter().filter(|(name, _)| fields.contains(&name.as_str()));
    let event = kept.fold(event, |event, (name, value)| event.fact(name, value.as_str()));
    site.reported(node, from, event);
    rendered("ok\n".to_owned())
}
