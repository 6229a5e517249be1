//! Relays, and what they may add.

use std::net::Ipv4Addr;

use pilotlight_dhcp::{packet::Draft, server::Destination};

use crate::common::*;

/// What the relay at `relay` makes of a message, with these sub-options of option 82.
fn relayed(draft: Draft, relay: Ipv4Addr, added: &[(u8, &[u8])]) -> Draft {
    let information =
        added.iter().flat_map(|(code, value)| [&[*code, value.len() as u8], *value].concat()).collect();
    Draft { giaddr: relay, relay_information: Some(information), ..draft }
}

const FAR: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 9);

#[test]
fn rfc3527_the_link_counts_and_not_the_relays_own_address() {
    let link = ip(250).octets();
    for (name, relay, added, expect) in [
        ("a relay of this network", ip(250), &[][..], "offer"),
        ("a relay of another network", FAR, &[], "drop foreign-link"),
        ("which says that the client is on this one", FAR, &[(5u8, &link[..])], "offer"),
        ("after a circuit", FAR, &[(1, &b"port 7"[..]), (5, &link)], "offer"),
        ("cut short", FAR, &[(5, &link[..3])], "drop foreign-link"),
        ("a relay of this network, a client of another", ip(250), &[(5, &FAR.octets())], "drop foreign-link"),
    ] {
        let draft = relayed(discover(NODE, &[]), relay, added);
        let said = verdict(&ask(&mut server(), 0, &draft));
        assert_eq!(
            said.split(' ').take(expect.split(' ').count()).collect::<Vec<_>>().join(" "),
            expect,
            "{name}"
        );
    }
    let draft = relayed(discover(NODE, &[]), FAR, &[(5, &link)]);
    assert_eq!(
        reply(&ask(&mut server(), 0, &draft)).1,
        Destination::Relay(FAR),
        "the answer goes to the relay"
    );
}

#[test]
fn rfc3011_the_client_may_name_its_network_and_hears_it_again() {
    let offer = ask(&mut server(), 0, &discover(NODE, &[(118, &[10, 77, 0, 0])]));
    assert_eq!(reply(&offer).0.address(118), Some(ip(0)));
    let elsewhere = discover(NODE, &[(118, &[192, 168, 1, 0])]);
    assert_eq!(verdict(&ask(&mut server(), 0, &elsewhere)), "drop foreign-link");
}

#[test]
fn rfc5107_the_server_is_known_by_the_address_that_the_relay_gives_it() {
    let relay = ip(250);
    let known_as = relay.octets();
    let added: &[(u8, &[u8])] = &[(11, &known_as)];
    let mut server = server();
    let (offer, _) = reply(&ask(&mut server, 0, &relayed(discover(NODE, &[]), relay, added)));
    assert_eq!(offer.address(54), Some(relay));
    let chosen = message(NODE, 3, &[(54, &known_as), (50, &NODE_ADDRESS.octets())]);
    let (ack, to) = reply(&ask(&mut server, 0, &relayed(chosen.clone(), relay, added)));
    assert_eq!((u8::from(ack.kind), ack.address(54), to), (5, Some(relay), Destination::Relay(relay)));
    // Without a relay nobody may have added it.
    let forged = Draft { giaddr: NONE, ..relayed(chosen, relay, added) };
    assert_eq!(verdict(&ask(&mut server, 0, &forged)), "drop not-for-us");
}
