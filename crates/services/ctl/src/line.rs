//! The one line that says how the Pi is doing. Pure: facts in, words out.

use std::{fmt::Write as _, net::Ipv4Addr};

use serde_json::Value;

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What is not available to a new program.
    pub(crate) used: u64,
    /// What the kernel manages.
    pub(crate) total: u64,
}

/// The Pi's own place on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// The address that the lab gives it.
    pub(crate) address: Ipv4Addr,
    /// The length of the prefix in bits.
    pub(crate) prefix: u8,
    /// The interface.
    pub(crate) interface: String,
    /// How far that has come.
    pub(crate) state: Link,
}

/// How far the Pi's address has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// The interface has it and a cable.
    Up,
    /// The interface has it; there is no cable, or none that leads anywhere.
    NoCarrier,
    /// The interface is there without the address.
    NoAddress,
    /// There is no such interface.
    NoInterface,
}

/// Everything that the line says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    /// Milliseconds since power-on.
    pub(crate) boot_ms: u64,
    /// Memory, where the kernel tells.
    pub(crate) memory: Option<Memory>,
    /// The Pi's address, or why there is none.
    pub(crate) address: Result<Address, String>,
    /// `init`'s word on the lab; null when there is none.
    pub(crate) lab: Value,
    /// `init`'s word on the card; null when there is none.
    pub(crate) card: Value,
    /// The DHCP server's word on itself; empty when there is none.
    pub(crate) dhcp: String,
    /// The failed units, or why that is not known.
    pub(crate) failed: Result<Vec<String>, String>,
}

/// The line, without a line's end.
pub(crate) fn line(facts: &Facts) -> String {
    let seconds = facts.boot_ms as f64 / 1000.0;
    let mut text = format!("pilotlight: ready in {seconds:.1} s, ");
    let _ = match facts.memory {
        Some(Memory { used, total }) => write!(text, "{} MiB of {} MiB in use, ", used >> 20, total >> 20),
        None => write!(text, "memory unknown, "),
    };
    let _ = match &facts.address {
        Ok(Address { address, prefix, interface, state }) => match state {
            Link::Up => write!(text, "{address}/{prefix} on {interface}"),
            Link::NoCarrier => write!(text, "{address}/{prefix} on {interface} (no cable)"),
            Link::NoAddress => write!(text, "{interface} without its address {address}/{prefix}"),
            Link::NoInterface => write!(text, "no {interface} for {address}/{prefix}"),
        },
        Err(reason) => write!(text, "no address ({})", first_line(reason)),
    };
    let _ = write!(text, ", lab: {}", state(&facts.lab, &facts.lab["source"], &facts.lab["problem"]));
    let data = &facts.card["data"];
    let _ = write!(text, ", data: {}", state(data, &data["state"], &data["reason"]));
    if let Some(amiss) = amiss(&facts.dhcp) {
        let _ = write!(text, ", dhcp: {amiss}");
    }
    let failed = match &facts.failed {
        Ok(units) if units.is_empty() => "none".to_owned(),
        Ok(units) => units.join(" "),
        Err(reason) => format!("unknown ({})", first_line(reason)),
    };
    let _ = write!(text, ", failed units: {failed}");
    text
}

/// What the DHCP server says when not all is well; what it says otherwise is not worth the room.
fn amiss(dhcp: &str) -> Option<&str> {
    let dhcp = first_line(dhcp);
    (dhcp.starts_with("silent") || dhcp.contains("cannot")).then_some(dhcp)
}

/// What the console says when the DHCP server's word on itself has become `now`, and `said` was said of it last: nothing
/// twice, and that all is well only after something else.
pub(crate) fn dhcp(said: Option<&str>, now: &str) -> Option<String> {
    let (before, word) = (said.and_then(amiss), amiss(now));
    let word = match word {
        Some(_) if word == before => return None,
        Some(word) => word,
        // What it asks and waits for in between says nothing yet.
        None if before.is_some() && first_line(now).starts_with("serving") => first_line(now),
        None => return None,
    };
    Some(format!("pilotlight: DHCP: {word}"))
}

/// A state with its reason in brackets.
fn state(all: &Value, name: &Value, reason: &Value) -> String {
    match (name.as_str(), reason.as_str()) {
        (Some(name), None) => name.to_owned(),
        (Some(name), Some(reason)) => format!("{name} ({})", first_line(reason)),
        (None, _) if all.is_null() => "unknown".to_owned(),
        (None, _) => "unreadable".to_owned(),
    }
}

/// The line stays one line, whatever is quoted in it.
fn first_line(text: &str) -> &str {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("").trim()
}

/// What `/proc/meminfo` says.
pub(crate) fn memory(meminfo: &str) -> Option<Memory> {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let total = kib("MemTotal")?;
    Some(Memory { used: total.checked_sub(kib("MemAvailable")?)?, total })
}

/// The names in what `systemctl list-units --plain --no-legend` prints.
pub(crate) fn units(list: &str) -> Vec<String> {
    list.lines().filter_map(|line| line.split_ascii_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn facts() -> Facts {
        Facts {
            boot_ms: 23_449,
            memory: memory("MemTotal:  944128 kB\nMemFree: 1 kB\nMemAvailable:    881664 kB\n"),
            address: Ok(Address {
                address: Ipv4Addr::new(10, 77, 0, 1),
                prefix: 24,
                interface: "eth0".to_owned(),
                state: Link::Up,
            }),
            lab: json!({ "source": "card", "problem": null }),
            card: json!({ "data": { "state": "ok", "reason": null } }),
            dhcp: "serving eth0\n".to_owned(),
            failed: Ok(Vec::new()),
        }
    }

    #[test]
    fn all_is_well() {
        assert_eq!(
            line(&facts()),
            "pilotlight: ready in 23.4 s, 61 MiB of 922 MiB in use, 10.77.0.1/24 on eth0, lab: card, data: ok, \
             failed units: none"
        );
    }

    #[test]
    fn what_is_amiss_is_named_in_one_line() {
        let check = |facts: Facts, expect: &str| {
            let line = line(&facts);
            assert!(line.contains(expect) && line.lines().count() == 1, "{expect:?} in {line}");
        };
        let link =
            |state| Facts { address: facts().address.map(|address| Address { state, ..address }), ..facts() };
        check(link(Link::NoCarrier), "10.77.0.1/24 on eth0 (no cable)");
        check(link(Link::NoAddress), "eth0 without its address 10.77.0.1/24");
        check(link(Link::NoInterface), "no eth0 for 10.77.0.1/24");
        check(Facts { address: Err("no lab".to_owned()), ..facts() }, "no address (no lab)");
        check(Facts { memory: None, ..facts() }, "memory unknown");
        let lab = json!({ "source": "last-good", "problem": "\ncard: key\n --> lab.toml" });
        check(Facts { lab, ..facts() }, "lab: last-good (card: key), data");
        let card = json!({ "data": { "state": "corrupt", "reason": "no ext4" } });
        check(Facts { card, ..facts() }, "data: corrupt (no ext4), failed");
        check(Facts { card: Value::Null, lab: json!(7), ..facts() }, "lab: unreadable, data: unknown");
        let silent = "silent: another DHCP server at 192.168.1.1 answers on eth0";
        check(Facts { dhcp: format!("{silent}\n"), ..facts() }, &format!(", dhcp: {silent}, failed"));
        let list = "a.service loaded failed failed A\n\nb.mount loaded failed failed B\n";
        check(Facts { failed: Ok(units(list)), ..facts() }, "failed units: a.service b.mount");
        check(Facts { failed: Err("gone".to_owned()), ..facts() }, "failed units: unknown (gone)");
    }

    #[test]
    fn the_dhcp_server_is_quoted_when_it_falls_silent_and_when_it_serves_again() {
        let (silent, serving) =
            ("silent: another DHCP server at 192.168.1.1 answers on eth0\n", "serving eth0\n");
        let told = Some(format!("pilotlight: DHCP: {}", silent.trim()));
        let other = "silent: another DHCP server at 192.168.1.2 answers on eth0\n";
        for (name, said, now, expect) in [
            ("it falls silent", None, silent, told.clone()),
            ("after serving", Some(serving), silent, told),
            ("said already", Some(silent), silent, None),
            ("another one", Some(silent), other, Some(format!("pilotlight: DHCP: {}", other.trim()))),
            ("it serves from the start", None, serving, None),
            ("it asks", Some(silent), "asking for another DHCP server on eth0\n", None),
            ("it serves again", Some(silent), serving, Some("pilotlight: DHCP: serving eth0".to_owned())),
            ("written just now", Some(silent), "", None),
        ] {
            assert_eq!(dhcp(said, now), expect, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_of_the_kernel_is_read_or_refused(text in ".*", total: u64, available: u64) {
            let _ = memory(&text);
            let _ = memory(&format!("MemTotal: {total} kB\nMemAvailable: {available} kB\n"));
            let _ = units(&text);
        }
    }
}
