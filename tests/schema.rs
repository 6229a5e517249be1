//! The schema for editors against real labs, right and wrong.

use jsonschema::Validator;
use pilotlight_lab::{parse, schema};
use serde_json::Value;

const LABS: [(&str, &str); 4] = [
    ("the default", include_str!("../image-overlay/usr/share/pilotlight/lab.toml")),
    ("the origin's", include_str!("../crates/lab/examples/origin.toml")),
    ("one node", include_str!("../crates/lab/examples/one-node.toml")),
    ("proxy", include_str!("../crates/lab/examples/proxy.toml")),
];

fn validator() -> Validator {
    let schema = serde_json::from_str(schema()).expect("the schema is JSON");
    jsonschema::options().build(&schema).expect("the schema is one")
}

#[test]
fn labs_in_the_tree_are_right_by_parser_and_schema() {
    let validator = validator();
    for (name, text) in LABS {
        parse(text).unwrap_or_else(|problems| panic!("{}", problems.render(name, text, false)));
        let value: Value = toml::from_str(text).expect("TOML");
        let faults: Vec<_> = validator.iter_errors(&value).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{name}: {faults:?}");
    }
}

/// What each kind of profile has for a page.
const PAGES: [(&str, &str); 7] = [
    ("custom", include_str!("../docs/profiles/custom.md")),
    ("debian-installer", include_str!("../docs/profiles/debian-installer.md")),
    ("debian-live", include_str!("../docs/profiles/debian-live.md")),
    ("debian-ram", include_str!("../docs/profiles/debian-ram.md")),
    ("fedora-coreos", include_str!("../docs/profiles/fedora-coreos.md")),
    ("flatcar", include_str!("../docs/profiles/flatcar.md")),
    ("talos", include_str!("../docs/profiles/talos.md")),
];

/// The first lines of each page, with a network, and something in the place of what is left out.
#[test]
fn each_profiles_page_shows_a_lab_that_is_right() {
    let validator = validator();
    for (kind, page) in PAGES {
        let text = page.split("```").find_map(|part| part.strip_prefix("toml\n"));
        let text = text.unwrap_or_else(|| panic!("the page of {kind} shows no lab"));
        assert!(text.contains(&format!("kind = \"{kind}\"")), "the page of {kind} is about another one");
        let key = format!("AAAAC3NzaC1lZDI1NTE5AAAAI{}", "A".repeat(43));
        let text = text
            .replace("AAAA…", &key)
            .replace("https://…", "https://example.org")
            .replace("sha256 = \"…\"", &format!("sha256 = \"{}\"", "a".repeat(64)));
        let text = format!("network.address = \"10.77.0.1/24\"\n{text}");
        parse(&text).unwrap_or_else(|problems| panic!("{}", problems.render(kind, &text, false)));
        let value: Value = toml::from_str(&text).expect("TOML");
        let faults: Vec<_> = validator.iter_errors(&value).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{kind}: {faults:?}");
    }
}

/// What an editor can see, the schema refuses as the parser does.
#[test]
fn both_refuse_the_same_mistakes() {
    let validator = validator();
    let origin = LABS[1].1;
    let check = |from: &str, to: &str| {
        assert!(origin.contains(from), "{from}");
        let text = origin.replacen(from, to, 1);
        assert!(parse(&text).is_err(), "{to}");
        let value: Value = toml::from_str(&text).expect("TOML");
        assert!(!validator.is_valid(&value), "{to}");
    };
    check("kind = \"flatcar\"", "kind = \"coreos\"");
    check("arm = \"itself\"", "arm = \"never\"");
    check("extends = \"all\"", "extend = \"all\"");
    check("role = \"controller\"", "role = \"master\"");
    check("loader = \"undionly\"", "loader = \"lilo\"");
    check("outlet = 1", "outlet = 0");
    check("kind = \"web-switch\"", "kind = \"snmp\"");
    check("version = \"1.34.1\"", "version = \"1.34\"");
    check("mac = \"52:54:00:77:00:01\"", "mac = \"52:54:00:77:00\"");
    check("mac = \"52:54:00:77:00:01\"", "uuid = \"52:54:00:77:00:01\"");
    check("mac = \"52:54:00:77:00:01\"", "mac = \"52:54:00:77:00:01\"\nserial = \"1\"");
    check("address = \"10.77.0.1/24\"", "address = \"10.77.0.1\"");
    check("[network]", "[netwrok]");
    check("cores = 4", "4cores = 4");
}
