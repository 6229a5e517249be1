//! Addresses that somebody has whom the server did not give them to.

use pilotlight_lab::MacAddr;

use crate::common::*;

const SQUATTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xee]);

#[test]
fn the_wire_is_asked_about_an_address_while_it_is_offered() {
    let mut server = server();
    let offered = ask(&mut server, 0, &discover(GUEST, &[]));
    let address = reply(&offered).0.yiaddr;
    assert_eq!(offered.probe, Some(address), "and the offer leaves all the same");
    assert_eq!(server.in_use(5, address, GUEST), None, "it may have it already");
    let conflict = server.in_use(5, address, SQUATTER).unwrap();
    assert_eq!((conflict.stage.as_str(), conflict.mac), ("conflict", Some(GUEST.to_string())));
    assert_eq!(server.in_use(6, address, SQUATTER), None, "said once");
    assert_eq!(verdict(&ask(&mut server, 10, &select(GUEST, address))), "nak 0.0.0.0 to Broadcast");
    assert_ne!(lease(&mut server, 20, GUEST), address);
}

#[test]
fn what_is_reserved_or_leased_is_not_asked_about() {
    let mut server = server();
    assert_eq!(ask(&mut server, 0, &discover(NODE, &[])).probe, None);
    let address = lease(&mut server, 0, GUEST);
    assert_eq!(ask(&mut server, 1, &discover(GUEST, &[])).probe, None, "it has been its own");
    assert_eq!(server.in_use(2, address, SQUATTER), None, "the machine finds out for itself, and declines");
    assert_eq!(server.in_use(2, NODE_ADDRESS, SQUATTER), None);
    let far = dhcp_of_a_relay();
    assert_eq!(ask(&mut server, 3, &far).probe, None, "nobody there would hear the question");
}

fn dhcp_of_a_relay() -> pilotlight_dhcp::packet::Draft {
    pilotlight_dhcp::packet::Draft { giaddr: ip(250), ..discover(MacAddr([2, 0, 0, 0, 0, 7]), &[]) }
}
