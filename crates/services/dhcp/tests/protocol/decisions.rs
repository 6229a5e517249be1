//! One message to a server in a known state, one decision: RFC 2131 § 4 point by point.

use std::net::Ipv4Addr;

use crate::common::*;
use dhcproto::v4::Flags;
use pilotlight_dhcp::{packet::Draft, server::Server};
use pilotlight_lab::MacAddr;

const HOUR: u64 = 3_600_000;
const OTHER: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0x98]);

/// The guest's lease is of this address; `OTHER` has one of its own.
fn settled() -> (Server, Ipv4Addr, Ipv4Addr) {
    let mut server = server();
    let guest = lease(&mut server, 0, GUEST);
    let other = lease(&mut server, 0, OTHER);
    (server, guest, other)
}

fn check(name: &str, server: &mut Server, draft: &Draft, expect: &str) {
    assert_eq!(verdict(&ask(server, 1000, draft)), expect, "{name}");
}

fn to(mac: MacAddr, address: Ipv4Addr) -> String {
    format!("Hardware {{ mac: MacAddr({:?}), address: {address} }}", mac.0)
}

#[test]
fn each_kind_of_request_finds_its_answer() {
    let (_, guest, other) = settled();
    let foreign = Ipv4Addr::new(192, 168, 7, 7);
    let via = |relay: Ipv4Addr, draft: Draft| Draft { giaddr: relay, ..draft };
    let chosen_elsewhere = message(GUEST, 3, &[(54, &ip(2).octets()), (50, &guest.octets())]);
    let broadcast = |draft: Draft| Draft { flags: Flags::default().set_broadcast(), ..draft };
    for (name, draft, expect) in [
        (
            "DISCOVER by a node",
            discover(NODE, &[]),
            format!("offer {NODE_ADDRESS} to {}", to(NODE, NODE_ADDRESS)),
        ),
        (
            "§ 4.1 broadcast flag",
            broadcast(discover(NODE, &[])),
            format!("offer {NODE_ADDRESS} to Broadcast"),
        ),
        (
            "§ 4.1 relay",
            via(ip(250), discover(NODE, &[])),
            format!("offer {NODE_ADDRESS} to Relay(10.77.0.250)"),
        ),
        ("a relay elsewhere", via(foreign, discover(NODE, &[])), "drop foreign-link".into()),
        ("§ 4.3.1 current address", discover(GUEST, &[]), format!("offer {guest} to {}", to(GUEST, guest))),
        (
            "§ 4.3.1 its own comes before the one it asks for",
            discover(GUEST, &[(50, &ip(107).octets())]),
            format!("offer {guest} to {}", to(GUEST, guest)),
        ),
        ("§ 4.3.2 SELECTING", select(GUEST, guest), format!("ack {guest} to {} written", to(GUEST, guest))),
        (
            "a reservation needs no write",
            select(NODE, NODE_ADDRESS),
            format!("ack {NODE_ADDRESS} to {}", to(NODE, NODE_ADDRESS)),
        ),
        ("SELECTING another server", chosen_elsewhere, "drop not-for-us".into()),
        ("SELECTING somebody else's address", select(GUEST, other), "nak 0.0.0.0 to Broadcast".into()),
        ("SELECTING a reserved address", select(GUEST, NODE_ADDRESS), "nak 0.0.0.0 to Broadcast".into()),
        (
            "SELECTING the server's address",
            select(MacAddr([2; 6]), SERVER),
            "nak 0.0.0.0 to Broadcast".into(),
        ),
        (
            "SELECTING without an address",
            message(GUEST, 3, &[(54, &SERVER.octets())]),
            "drop no-address".into(),
        ),
        ("§ 4.3.2 INIT-REBOOT", reboot(GUEST, guest), format!("ack {guest} to {} written", to(GUEST, guest))),
        ("§ 4.3.2 INIT-REBOOT with another address", reboot(GUEST, other), "nak 0.0.0.0 to Broadcast".into()),
        (
            "§ 4.3.2 INIT-REBOOT without record: silence",
            reboot(MacAddr([2; 6]), ip(105)),
            "drop no-record".into(),
        ),
        (
            "§ 4.3.2 INIT-REBOOT on the wrong network",
            reboot(MacAddr([2; 6]), foreign),
            "nak 0.0.0.0 to Broadcast".into(),
        ),
        (
            "INIT-REBOOT of a node",
            reboot(NODE, NODE_ADDRESS),
            format!("ack {NODE_ADDRESS} to {}", to(NODE, NODE_ADDRESS)),
        ),
        ("INIT-REBOOT of a node elsewhere", reboot(NODE, ip(105)), "nak 0.0.0.0 to Broadcast".into()),
        (
            "a NAK goes through the relay",
            via(ip(250), reboot(GUEST, foreign)),
            "nak 0.0.0.0 to Relay(10.77.0.250)".into(),
        ),
        ("RENEWING", renew(GUEST, guest), format!("ack {guest} to Unicast({guest}:68) written")),
        (
            "RENEWING a reservation",
            renew(NODE, NODE_ADDRESS),
            format!("ack {NODE_ADDRESS} to Unicast({NODE_ADDRESS}:68)"),
        ),
        ("RENEWING another's", renew(GUEST, other), "nak 0.0.0.0 to Broadcast".into()),
        (
            "RENEWING without record, free",
            renew(MacAddr([2; 6]), ip(109)),
            format!("ack {0} to Unicast({0}:68) written", ip(109)),
        ),
        (
            "RENEWING without record, reserved",
            renew(MacAddr([2; 6]), NODE_ADDRESS),
            "nak 0.0.0.0 to Broadcast".into(),
        ),
        ("RENEWING without record, not ours", renew(MacAddr([2; 6]), ip(200)), "drop no-record".into()),
        ("REBINDING on the wrong network", renew(GUEST, foreign), "nak 0.0.0.0 to Broadcast".into()),
        ("REQUEST for nothing", message(GUEST, 3, &[]), "drop no-address".into()),
        ("§ 4.3.3 DECLINE", decline(GUEST, guest), "decline".into()),
        ("DECLINE of another's", decline(GUEST, other), "drop not-its-lease".into()),
        ("DECLINE of a reservation", decline(NODE, NODE_ADDRESS), "decline".into()),
        (
            "DECLINE to another server",
            message(GUEST, 4, &[(54, &ip(2).octets()), (50, &guest.octets())]),
            "drop not-for-us".into(),
        ),
        ("§ 4.3.4 RELEASE", release(GUEST, guest), "release".into()),
        ("RELEASE of another's", release(GUEST, other), "drop not-its-lease".into()),
        (
            "§ 4.3.5 INFORM",
            Draft { ciaddr: ip(60), ..message(GUEST, 8, &[]) },
            "inform 0.0.0.0 to Unicast(10.77.0.60:68)".into(),
        ),
        ("INFORM without an address", message(GUEST, 8, &[]), "drop foreign-address".into()),
        ("an OFFER", message(GUEST, 2, &[]), "drop message-type".into()),
        ("a type of the future", message(GUEST, 200, &[]), "drop message-type".into()),
        (
            "a reply",
            Draft { op: dhcproto::v4::Opcode::BootReply, ..message(GUEST, 2, &[]) },
            "drop not-a-request".into(),
        ),
    ] {
        check(name, &mut settled().0, &draft, &expect);
    }
}

#[test]
fn broken_messages_are_named_drops() {
    let good = bytes(&discover(GUEST, &[]));
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    for (bytes, expect) in [
        (vec![], "drop truncated"),
        (good[..200].to_vec(), "drop truncated"),
        (with(2, 255), "drop hlen"),
        (with(2, 17), "drop hlen"),
        (with(2, 0), "drop hlen"),
        (with(1, 32), "drop hardware-type"),
        (with(28, 1), "drop hardware-address"),
        (with(238, 0), "drop no-cookie"),
        (with(241, 200), "drop option-overrun"),
        (vec![0xff; 65_536], "drop hardware-type"),
    ] {
        assert_eq!(verdict(&server().handle(0, &bytes)), expect);
    }
}

#[test]
fn rfc2131_4_3_1_pool_order() {
    let mut server = server();
    let machine = |n: u8| MacAddr([2, 0, 0, 0, 1, n]);
    // What it asks for, when that is free.
    let (offer, _) = reply(&ask(&mut server, 0, &discover(machine(0), &[(50, &ip(108).octets())])));
    assert_eq!(offer.yiaddr, ip(108));
    // Never a reserved one, nor the server's.
    for taken in [NODE_ADDRESS, SERVER, ip(108), ip(255), ip(0), ip(200)] {
        let (offer, _) = reply(&ask(&mut server, 0, &discover(machine(1), &[(50, &taken.octets())])));
        assert_ne!(offer.yiaddr, taken);
    }
    // Nine of ten: the tenth is reserved.
    let mut given: Vec<_> = (0..9).map(|n| lease(&mut server, u64::from(n), machine(n))).collect();
    assert_eq!(verdict(&ask(&mut server, 9, &discover(machine(9), &[]))), "drop pool-exhausted");
    assert_eq!(verdict(&ask(&mut server, 9, &discover(NODE, &[]))).split(' ').next(), Some("offer"));
    // Expired: the one that has been free the longest comes first, its old machine back to what is left.
    let oldest = given[0];
    assert_eq!(lease(&mut server, HOUR + 100, machine(9)), oldest);
    assert_eq!(lease(&mut server, HOUR + 100, machine(3)), given[3], "its own, although it expired");
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 9);
    assert!(!given.contains(&NODE_ADDRESS));
}

#[test]
fn the_same_machine_gets_the_same_address_without_any_memory() {
    let first = lease(&mut server(), 0, GUEST);
    assert_eq!(lease(&mut server(), 77 * HOUR, GUEST), first);
}

#[test]
fn two_machines_are_never_offered_the_same_address() {
    let mut server = server();
    let mut offered = Vec::new();
    for n in 0..9 {
        let (offer, _) = reply(&ask(&mut server, 0, &discover(MacAddr([2, 0, 0, 0, 1, n]), &[])));
        offered.push(offer.yiaddr);
    }
    offered.sort();
    offered.dedup();
    assert_eq!(offered.len(), 9);
    // An offer that nobody took is free again after a minute.
    let late = discover(MacAddr([2, 0, 0, 0, 2, 0]), &[]);
    assert_eq!(verdict(&ask(&mut server, 59_999, &late)), "drop pool-exhausted");
    assert!(verdict(&ask(&mut server, 60_000, &late)).starts_with("offer"));
}

#[test]
fn rfc2131_4_3_3_a_declined_address_is_in_quarantine() {
    let mut server = server();
    let bad = lease(&mut server, 0, GUEST);
    let declined = ask(&mut server, 1, &decline(GUEST, bad));
    assert_eq!(declined.persist.map(|change| (change.address, change.lease_s)), Some((bad, 0)));
    for n in 0..8 {
        assert_ne!(lease(&mut server, 2, MacAddr([2, 0, 0, 0, 1, n])), bad);
    }
    assert_eq!(verdict(&ask(&mut server, 3, &discover(GUEST, &[]))), "drop pool-exhausted");
    assert_eq!(verdict(&ask(&mut server, 3, &reboot(GUEST, bad))), "drop no-record");
    assert_eq!(verdict(&ask(&mut server, 3, &select(GUEST, bad))), "nak 0.0.0.0 to Broadcast");
    let again = ask(&mut server, 2 * HOUR, &discover(GUEST, &[(50, &bad.octets())]));
    assert_eq!(reply(&again).0.yiaddr, bad);
}

#[test]
fn a_released_address_stays_the_first_choice() {
    let mut server = server();
    let address = lease(&mut server, 0, GUEST);
    let released = ask(&mut server, 1, &release(GUEST, address));
    assert_eq!(released.persist.map(|change| change.lease_s), Some(0));
    assert_eq!(lease(&mut server, 2, GUEST), address);
}

#[test]
fn a_lease_that_was_not_written_is_not_a_lease() {
    let mut server = server();
    let (offer, _) = reply(&ask(&mut server, 0, &discover(GUEST, &[])));
    let acknowledged = ask(&mut server, 0, &select(GUEST, offer.yiaddr));
    let mut reply_too = acknowledged.reply.clone();
    let left = server.not_written(0, &acknowledged.persist.unwrap(), reply_too.as_mut());
    assert_eq!((left, reply_too), (None, acknowledged.reply.clone()), "there is nothing on the card");
    let asks = discover(MacAddr([2; 6]), &[(50, &offer.yiaddr.octets())]);
    assert_ne!(reply(&ask(&mut server, 1, &asks)).0.yiaddr, offer.yiaddr, "kept for a minute");
    assert_eq!(reply(&ask(&mut server, 61_000, &discover(GUEST, &[]))).0.yiaddr, offer.yiaddr);
}

#[test]
fn without_a_pool_only_named_machines_are_served() {
    let mut lab = lab();
    lab.network.pool = None;
    let mut server = Server::new(lab);
    assert_eq!(verdict(&ask(&mut server, 0, &discover(GUEST, &[]))), "drop unknown-machine");
    assert_eq!(lease(&mut server, 0, NODE), NODE_ADDRESS);
}

#[test]
fn a_machine_that_gets_a_name_moves_to_its_reservation() {
    let mut server = server();
    let mut unnamed = lab();
    unnamed.nodes.clear();
    let before = lease(&mut Server::new(unnamed), 0, NODE);
    server.leases_mut().restore(NODE, before, HOUR);
    assert_eq!(lease(&mut server, 0, NODE), NODE_ADDRESS);
}

#[test]
fn a_machine_that_never_stops_asking_is_answered_now_and_then_and_the_others_as_ever() {
    let mut server = server();
    let answered = |server: &mut Server, now: u64, mac: MacAddr| {
        let times = (0..100).map(|_| verdict(&ask(server, now, &discover(mac, &[]))));
        let (refused, answered): (Vec<_>, Vec<_>) = times.partition(|verdict| verdict == "drop flood");
        assert!(refused.len() + answered.len() == 100 && answered.iter().all(|one| one.starts_with("offer")));
        answered.len()
    };
    assert_eq!(answered(&mut server, 1000, GUEST), 32);
    assert_eq!(lease(&mut server, 1000, NODE), NODE_ADDRESS);
    // Eight a second from then on.
    assert_eq!(answered(&mut server, 1500, GUEST), 4);
    assert_eq!(answered(&mut server, 60_000, GUEST), 32);
}
