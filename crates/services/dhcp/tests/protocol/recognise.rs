//! Machines that the lab knows by their UUID.

use crate::common::*;
use pilotlight_dhcp::server::Server;
use pilotlight_lab::{LabState, MacAddr};

const UUID: [u8; 16] =
    [0x44, 0x45, 0x4c, 0x4c, 0x42, 0, 0x10, 0x35, 0x80, 0x52, 0xb4, 0xc0, 0x4f, 0x56, 0x44, 0x33];
const OTHER: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0x98]);

fn text() -> String {
    let node = "[[nodes]]\nname = \"byuuid\"\nuuid = \"4c4c4544-0042-3510-8052-b4c04f564433\"\naddress = \"10.77.0.50\"\n";
    format!("{LAB}\n{node}")
}

/// What a PXE firmware sends in option 97.
fn option() -> Vec<u8> {
    [&[0][..], &UUID].concat()
}

#[test]
fn a_machine_that_is_recognised_gets_its_own_address_when_it_asks_again() {
    let lab = pilotlight_lab::parse(&text()).expect("a lab");
    let mut server = Server::new(lab.clone());
    let question = discover(GUEST, &[(97, &option())]);
    let first = ask(&mut server, 0, &question);
    assert!(first.reply.is_none() && first.dropped.is_none(), "{first:?}");
    let [met] = &first.events[..] else { panic!("{:?}", first.events) };
    assert_eq!((met.stage.as_str(), met.node.as_deref()), ("met", Some("byuuid")));
    assert_eq!(met.mac, Some(GUEST.to_string()));

    // The keeper of the state writes down what was told.
    let mut state = LabState::default();
    state.meet(&lab, "byuuid", GUEST);
    server.learn(state.applied(&lab));
    let second = ask(&mut server, 1_000, &question);
    assert_eq!(reply(&second).0.yiaddr, ip(50));
    assert!(second.events.iter().all(|event| event.stage != "met"), "{:?}", second.events);
    let ack = ask(&mut server, 1_100, &select(GUEST, ip(50)));
    assert_eq!((u8::from(reply(&ack).0.kind), ack.persist), (5, None));
}

#[test]
fn nobody_waits_for_a_card_that_cannot_write() {
    let mut server = Server::new(pilotlight_lab::parse(&text()).expect("a lab"));
    let question = discover(GUEST, &[(97, &option())]);
    for (now, answered) in [(5, false), (1_005, false), (3_004, false), (3_005, true), (7_000, true)] {
        let actions = ask(&mut server, now, &question);
        assert_eq!(actions.reply.is_some(), answered, "{now}");
        assert!(actions.events.iter().any(|event| event.stage == "met"), "{now}: {:?}", actions.events);
    }
}

#[test]
fn one_of_the_same_uuid_is_another_machine() {
    let lab = pilotlight_lab::parse(&text()).expect("a lab");
    let mut state = LabState::default();
    state.meet(&lab, "byuuid", OTHER);
    let mut server = Server::new(state.applied(&lab));
    let actions = ask(&mut server, 0, &discover(GUEST, &[(97, &option())]));
    assert_ne!(reply(&actions).0.yiaddr, ip(50));
    let doubt = actions.events.iter().find(|event| event.stage == "met").expect("a word of it");
    let reason = doubt.reason.as_deref().unwrap_or_default();
    assert!(reason.contains("of byuuid, which is known as 52:54:00:00:00:98"), "{reason}");
}

#[test]
fn what_says_no_uuid_or_another_waits_for_nothing() {
    let mut server = Server::new(pilotlight_lab::parse(&text()).expect("a lab"));
    let other = [&[0][..], &[7; 16]].concat();
    let typed = [&[1][..], &UUID].concat();
    for (number, option) in
        [(1, None), (2, Some(&other[..])), (3, Some(&typed)), (4, Some(&UUID)), (5, Some(&[]))]
    {
        let options: Vec<(u8, &[u8])> = option.map(|option| (97, option)).into_iter().collect();
        let actions = ask(&mut server, 0, &discover(MacAddr([2, 0, 0, 0, 0, number]), &options));
        assert!(
            actions.reply.is_some() && actions.events.iter().all(|event| event.stage != "met"),
            "{number}"
        );
    }
}
