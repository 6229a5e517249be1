//! Nodes that the lab knows by something else than a hardware address: what may be said, and which machine they come to be.

use pilotlight_lab::{Lab, LabState, MacAddr, Marks, Recognised, parse};

const UUID: &str = "4c4c4544-0042-3510-8052-b4c04f564433";
const POOL: &str = r#"pool = { first = "10.77.0.100", last = "10.77.0.199" }"#;
const CARD: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0x11]);
const OTHER: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0x12]);
const NAMED: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);

fn text(more: &str) -> String {
    format!(
        r#"
[network]
address = "10.77.0.1/24"
{POOL}
[[nodes]]
name = "by-mac"
mac = "52:54:00:00:00:01"
address = "10.77.0.11"
{more}
"#
    )
}

fn node(name: &str, number: u8, known_by: &str) -> String {
    format!("[[nodes]]\nname = {name:?}\naddress = \"10.77.0.{number}\"\n{known_by}\n")
}

fn lab() -> Lab {
    let by_uuid = node("by-uuid", 12, &format!("uuid = {UUID:?}"));
    let by_serial = node("by-serial", 13, "serial = \"CZ 1234/A\"");
    parse(&text(&(by_uuid + &by_serial))).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn uuid(text: &str) -> Marks {
    Marks { uuid: Some(text.parse().expect("a UUID")), serial: None }
}

fn serial(text: &str) -> Marks {
    Marks { uuid: None, serial: Some(text.to_owned()) }
}

/// The name of the node that is recognised, and whether it is another's.
fn recognised(lab: &Lab, mac: MacAddr, marks: &Marks) -> Option<(String, bool)> {
    lab.recognise(mac, marks).map(|found| match found {
        Recognised::AsNew(node) => (node.name.clone(), false),
        Recognised::AsAnother(node) => (node.name.clone(), true),
    })
}

#[test]
fn a_machine_is_known_by_one_thing() {
    let check = |known_by: &str, expect: &str| {
        let text = text(&node("one", 12, known_by));
        let problems = parse(&text).expect_err(known_by);
        let report = problems.render("lab.toml", &text, false);
        assert!(report.contains(expect), "{report}");
    };
    check("", "add `mac = \"52:54:00:12:34:56\"`");
    check(
        &format!("mac = \"52:54:00:00:00:02\"\nuuid = {UUID:?}"),
        "known by one of `mac`, `uuid` and `serial`",
    );
    check(&format!("serial = \"1\"\nuuid = {UUID:?}"), "known by one of `mac`, `uuid` and `serial`");
    check("uuid = \"4c4c4544\"", "is no UUID");
    check("uuid = \"03000200-0400-0500-0006-000700080009\"", "many boards have it");
    check("serial = \" 1\"", "is no serial number");
    check("serail = \"1\"", "serial");
    let twice = text(
        &(node("one", 12, &format!("uuid = {UUID:?}"))
            + &node("two", 13, "uuid = \"44454C4C-4200-1035-8052-b4c04f564433\"")),
    );
    let problems = parse(&twice).expect_err("one UUID in both orders");
    assert!(problems.render("lab.toml", &twice, false).contains("is given twice"));
    let closed = text(&node("one", 12, "serial = \"1\"")).replace(POOL, "");
    let problems = parse(&closed).expect_err("no address to say the serial number from");
    assert!(problems.render("lab.toml", &closed, false).contains("there is no pool"));
}

#[test]
fn the_machine_that_says_so_is_the_node() {
    let lab = lab();
    let mut state = LabState::default();
    let none = |node: &str| lab.node_by_name(node).is_some_and(|node| !node.is_met());
    assert!(none("by-uuid") && none("by-serial") && lab.node_by_mac(MacAddr::UNKNOWN).is_none());
    let swapped = uuid("44454c4c-4200-1035-8052-b4c04f564433");
    for marks in [uuid(UUID), swapped] {
        assert_eq!(recognised(&lab, CARD, &marks), Some(("by-uuid".to_owned(), false)));
    }
    assert_eq!(recognised(&lab, CARD, &serial("CZ 1234/A")), Some(("by-serial".to_owned(), false)));
    // What the lab says of a hardware address counts more, and what it does not say nothing.
    assert_eq!(recognised(&lab, NAMED, &uuid(UUID)), None);
    assert_eq!(recognised(&lab, CARD, &serial("CZ 1234/B")), None);
    assert_eq!(recognised(&lab, CARD, &Marks::default()), None);

    state.meet(&lab, "by-uuid", CARD);
    let met = state.applied(&lab);
    assert_eq!(met.node_by_mac(CARD).map(|node| node.name.as_str()), Some("by-uuid"));
    assert_eq!(LabState::parse(&state.text()), Ok(state.clone()), "{}", state.text());
    assert_eq!(recognised(&met, CARD, &uuid(UUID)), None);
    assert_eq!(recognised(&met, OTHER, &uuid(UUID)), Some(("by-uuid".to_owned(), true)));
    let doubt = met.recognise(OTHER, &uuid(UUID)).and_then(|found| found.doubt()).expect("two of one UUID");
    assert_eq!(
        doubt,
        "it has the UUID 4c4c4544-0042-3510-8052-b4c04f564433 of by-uuid, which is known as 52:54:00:00:00:11: \
         `pilotctl forget by-uuid` if by-uuid has another network card now"
    );
}

#[test]
fn the_first_one_counts_until_it_is_forgotten() {
    let lab = lab();
    let mut state = LabState::default();
    state.meet(&lab, "by-uuid", CARD);
    let known = state.clone();
    // Neither another card, nor another node with that card, nor a node of the lab's own words, nor nobody.
    for (name, mac) in [
        ("by-uuid", OTHER),
        ("by-serial", CARD),
        ("by-serial", NAMED),
        ("by-serial", MacAddr::UNKNOWN),
        ("by-serial", MacAddr([0xff; 6])),
        ("by-mac", OTHER),
        ("nobody", OTHER),
    ] {
        state.meet(&lab, name, mac);
        assert_eq!(state, known, "{name} {mac}");
    }
    assert_eq!(state.forget(&lab, "by-uuid"), Ok(Some(CARD.to_string())));
    assert_eq!(state.forget(&lab, "by-uuid"), Ok(None));
    assert_eq!(state, LabState::default());
    let refused = state.forget(&lab, "by-mac").expect_err("the lab names its hardware address").to_string();
    assert!(refused.contains("known by its hardware address in lab.toml"), "{refused}");
    state.meet(&lab, "by-uuid", OTHER);
    assert!(state.applied(&lab).node_by_mac(OTHER).is_some());
}

#[test]
fn what_the_lab_says_anew_voids_the_meeting() {
    let before = lab();
    let mut state = LabState::default();
    state.meet(&before, "by-uuid", CARD);
    let changed = |lab: &Lab, from: &dyn Fn(&mut pilotlight_lab::Node)| {
        let mut lab = lab.clone();
        lab.nodes.iter_mut().for_each(from);
        lab
    };
    let moved = changed(&before, &|node| {
        if node.name == "by-mac" {
            node.mac = CARD;
        }
    });
    let replaced = changed(&before, &|node| {
        if node.name == "by-uuid" {
            node.identity = Some(pilotlight_lab::Identity::Serial("1".to_owned()));
        }
    });
    for after in [moved, replaced] {
        assert!(!state.applied(&after).node_by_name("by-uuid").expect("it is there").is_met());
        let mut tidied = state.clone();
        tidied.tidy(&after);
        assert_eq!(tidied, LabState::default());
    }
    let mut tidied = state.clone();
    tidied.tidy(&before);
    assert_eq!(tidied, state);
}
