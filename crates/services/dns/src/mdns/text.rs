//! How the Pi is, in the words of a TXT record (RFC 6763 § 6): keys for programs, sentences for people.

use pilotlight_lab::Lab;
use serde_json::Value;

/// The longest string of a TXT record, in bytes (RFC 1035 § 3.3.14).
const LONGEST: usize = 255;

/// The strings of the record: what the lab says, the words of `init` on card and lab, null where there is none, and the line
/// of the DHCP server on itself, empty where there is none.
pub fn text(lab: &Lab, card: &Value, origin: &Value, dhcp: &str) -> Vec<String> {
    let network = &lab.network;
    let said = |value: &Value, unknown: &str| value.as_str().unwrap_or(unknown).to_owned();
    let words = dhcp.lines().next().unwrap_or_default().trim();
    let state = words.split([' ', ':', ';']).next().filter(|state| !state.is_empty());
    let mut strings = vec![
        "txtvers=1".to_owned(),
        format!("address={}/{}", network.address, network.prefix),
        format!("dhcp={}", state.unwrap_or("unknown")),
    ];
    if !words.is_empty() {
        strings.push(format!("words={words}"));
    }
    strings.push(format!("data={}", said(&card["data"]["state"], "unknown")));
    strings.push(format!("lab={}", said(&origin["source"], "unknown")));
    if origin["problem"].as_str().is_some() {
        strings.push("problem=lab.toml on the card has mistakes and is not used".to_owned());
    }
    strings.iter().map(|string| string[..string.floor_char_boundary(LONGEST)].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pi_says_how_it_is() {
        let lab = pilotlight_lab::parse("network = { address = \"10.77.0.1/24\" }").unwrap();
        let check = |card, origin, dhcp: &str, expect: &[&str]| {
            assert_eq!(text(&lab, &card, &origin, dhcp), expect);
        };
        check(
            Value::Null,
            Value::Null,
            "",
            &["txtvers=1", "address=10.77.0.1/24", "dhcp=unknown", "data=unknown", "lab=unknown"],
        );
        check(
            json!({ "data": { "state": "corrupt" } }),
            json!({ "source": "image", "problem": "line 3\nis wrong" }),
            "silent: another DHCP server at 192.168.1.1 answers on eth0\n",
            &[
                "txtvers=1",
                "address=10.77.0.1/24",
                "dhcp=silent",
                "words=silent: another DHCP server at 192.168.1.1 answers on eth0",
                "data=corrupt",
                "lab=image",
                "problem=lab.toml on the card has mistakes and is not used",
            ],
        );
        let long = text(&lab, &Value::Null, &Value::Null, &"ü".repeat(200));
        assert!(long.iter().all(|string| string.len() <= LONGEST));
    }
}
