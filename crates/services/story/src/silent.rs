//! Which machines were up when the Pi went down, and have said nothing since it came back.

use pilotlight_kit::{Event, Outcome};
use pilotlight_lab::{Lab, Mode, Node, Power};

/// Events reach the log in the order in which they come, which is not quite the one in which they happened: an event that is
/// older than the one before it by more than this, in milliseconds since power-on, is of another start of the Pi.
const BETWEEN_STARTS: u64 = 10_000;
/// Whose events tell that a machine has spoken.
const HEARD_BY: [&str; 3] = ["dhcp", "tftp", "http"];

/// The nodes that something switches, that were heard of within a lease before the Pi was last up, that nobody has switched
/// off since, and of which nothing was heard since the Pi's start; `events` is the log, oldest first. A node whose next start
/// would install it is none of them, nor one whose power device is not to be used so.
pub fn silent<'a>(lab: &'a Lab, events: &[Event]) -> Vec<&'a Node> {
    // Without an earlier start nothing is known of what was up.
    let Some((before, since)) = last_start(events).and_then(|start| events.split_at_checked(start)) else {
        return Vec::new();
    };
    // Of the last run alone: how long the Pi was down before that nobody knows.
    let before = before.get(last_start(before).unwrap_or(0)..).unwrap_or_default();
    let nodes = lab.nodes.iter().filter(|_| lab.network.mode == Mode::Server);
    let nodes = nodes.filter(|node| node.address.is_some() && is_recovered(lab, node));
    let nodes = nodes.filter(|node| lab.erased(node).is_none() || node.installed);
    nodes
        .filter(|node| was_up(lab, node, before) && !since.iter().any(|event| tells_of(event, node)))
        .collect()
}

/// Whether what switches the node may be used for this.
fn is_recovered(lab: &Lab, node: &Node) -> bool {
    match &node.power {
        None => false,
        Some(Power::WakeOnLan) => true,
        Some(Power::Outlet { device, .. } | Power::System { device, .. }) => {
            lab.power.get(device).is_some_and(|device| device.recover)
        }
    }
}

/// Where the events of the Pi's last start begin, if the log has an earlier one.
fn last_start(events: &[Event]) -> Option<usize> {
    let is_start = |pair: &[Event]| match pair {
        [before, after] => before.boot_ms > after.boot_ms + BETWEEN_STARTS,
        _ => false,
    };
    events.windows(2).rposition(is_start).map(|last| last + 1)
}

/// Whether it spoke within a lease before the last of these events, and was not switched off afterwards.
fn was_up(lab: &Lab, node: &Node, events: &[Event]) -> bool {
    let end = events.last().map_or(0, |event| event.boot_ms);
    let lease = u64::try_from(lab.network.lease.as_millis()).unwrap_or(u64::MAX);
    let last = events.iter().rev().find(|event| tells_of(event, node));
    last.is_some_and(|event| !is_off(event) && end.saturating_sub(event.boot_ms) <= lease)
}

/// Whether the event shows that the node was up, or what somebody has switched it to.
fn tells_of(event: &Event, node: &Node) -> bool {
    event.node.as_deref() == Some(&node.name)
        && (HEARD_BY.contains(&event.service.as_str())
            || (event.service == "power" && event.outcome == Outcome::Ok))
}

fn is_off(event: &Event) -> bool {
    event.service == "power" && ["off", "shut-down"].contains(&event.stage.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
lease = "1h"
[[nodes]]
name = "one"
mac = "52:54:00:00:00:01"
address = "10.77.0.11"
power = { device = "strip", outlet = 1 }
[[nodes]]
name = "two"
mac = "52:54:00:00:00:02"
address = "10.77.0.12"
power = { wake-on-lan = true }
[[nodes]]
name = "bare"
mac = "52:54:00:00:00:03"
address = "10.77.0.13"
[[nodes]]
name = "new"
mac = "52:54:00:00:00:04"
address = "10.77.0.14"
profile = "debian-installer"
install-to = "/dev/sda"
power = { wake-on-lan = true }
[power.strip]
kind = "web-switch"
url = "http://10.77.0.250"
"#;

    fn event(minutes: u64, service: &str, stage: &str, node: &str) -> Event {
        let mut event = Event::ok(service, stage).node(Some(node));
        event.boot_ms = minutes * 60_000;
        event
    }

    fn names(text: &str, events: &[Event]) -> Vec<String> {
        let lab = pilotlight_lab::parse(text).expect("a lab");
        silent(&lab, events).iter().map(|node| node.name.clone()).collect()
    }

    /// All four nodes, heard of when the Pi was up for this many minutes; it went down at a hundred, and is back.
    fn heard_at(minutes: u64) -> Vec<Event> {
        let nodes = ["one", "two", "bare", "new"];
        let mut events: Vec<_> = nodes.iter().map(|node| event(minutes, "dhcp", "ack", node)).collect();
        events.extend([event(100, "dns", "drop", "other"), event(1, "dhcp", "ack", "other")]);
        events
    }

    #[test]
    fn who_was_up_and_says_nothing_is_silent() {
        assert_eq!(names(LAB, &heard_at(90)), ["one", "two"]);
        // A lease before the end it may have been switched off at the machine itself.
        assert_eq!(names(LAB, &heard_at(39)), [""; 0]);
        let off = LAB.replace("url =", "recover = false\nurl =");
        assert_eq!(names(&off, &heard_at(90)), ["two"]);
        assert_eq!(names(LAB, &heard_at(90)[..5]), [""; 0], "the Pi's first start");
        assert_eq!(names(LAB, &[]), [""; 0]);
    }

    #[test]
    fn who_speaks_or_was_switched_off_is_left_alone() {
        let with = |place: usize, more: Event| {
            let mut events = heard_at(90);
            events.insert(place, more);
            names(LAB, &events)
        };
        assert_eq!(with(6, event(2, "http", "get", "one")), ["two"]);
        assert_eq!(with(6, event(2, "power", "cycle", "one")), ["two"]);
        assert_eq!(with(6, event(2, "mirror", "refreshed", "one")), ["one", "two"]);
        assert_eq!(with(4, event(95, "power", "off", "one")), ["two"]);
        assert_eq!(with(0, event(80, "power", "off", "one")), ["one", "two"]);
        let failed = Event { outcome: Outcome::Failed, ..event(95, "power", "off", "one") };
        assert_eq!(with(4, failed), ["one", "two"]);
    }

    #[test]
    fn only_the_last_run_counts() {
        let mut events = heard_at(90);
        events.extend([event(50, "dns", "drop", "other"), event(1, "dhcp", "ack", "other")]);
        assert_eq!(names(LAB, &events), [""; 0]);
    }
}
