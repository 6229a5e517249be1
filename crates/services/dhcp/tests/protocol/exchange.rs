//! Whole exchanges between a client, a server and a card, on a clock that is only a number; and nonsense.

use std::{collections::BTreeMap, net::Ipv4Addr};

use crate::common::*;
use pilotlight_dhcp::{
    Millis,
    packet::Draft,
    server::{Actions, Server},
    store::{self, Change},
};
use pilotlight_lab::MacAddr;
use proptest::prelude::*;

/// A card that survives the server.
struct Card(String);

impl Card {
    fn write(&mut self, change: &Change, boot: &str) {
        self.0.push_str(&store::line(change, boot));
    }

    fn start(&self, boot: &str, now: Millis) -> Server {
        let mut server = server();
        for (address, (mac, until)) in store::read(self.0.as_bytes(), boot, now).leases {
            server.leases_mut().restore(mac, address, until);
        }
        server
    }
}

/// What a client of RFC 2131 § 4.4 does with an answer.
#[derive(Debug, PartialEq)]
enum Client {
    Init,
    Bound(Ipv4Addr),
}

impl Client {
    fn step(&mut self, mac: MacAddr, actions: &Actions) -> Option<Draft> {
        let (packet, _) = reply(actions);
        match u8::from(packet.kind) {
            2 => return Some(select(mac, packet.yiaddr)),
            5 => *self = Self::Bound(packet.yiaddr),
            6 => *self = Self::Init,
            other => panic!("{other} from a server"),
        }
        None
    }
}

#[test]
fn a_machine_boots_renews_and_comes_back_after_a_power_cut() {
    let mut card = Card(store::HEADER.to_owned());
    let mut server = card.start("a", 0);
    let mut client = Client::Init;
    let offer = ask(&mut server, 0, &discover(GUEST, &[]));
    assert_eq!(offer.persist, None, "an OFFER waits for no card");
    let request = client.step(GUEST, &offer).unwrap();
    let ack = ask(&mut server, 10, &request);
    card.write(&ack.persist.unwrap(), "a");
    client.step(GUEST, &ack);
    let Client::Bound(address) = client else { panic!("{client:?}") };

    let renewed = ask(&mut server, 1_800_000, &renew(GUEST, address));
    card.write(&renewed.persist.unwrap(), "a");

    // The plug is pulled; the clock starts anew; nobody knows for how long it was dark.
    let mut server = card.start("b", 9_000);
    let taken = discover(MacAddr([2; 6]), &[(50, &address.octets())]);
    assert_ne!(reply(&ask(&mut server, 9_001, &taken)).0.yiaddr, address, "nobody else gets it");
    let ack = ask(&mut server, 9_002, &reboot(GUEST, address));
    client.step(GUEST, &ack);
    assert_eq!(client, Client::Bound(address));
}

#[test]
fn a_pxe_boot_keeps_one_address_through_all_its_stages() {
    let mut server = server();
    let stages: [&[(u8, &[u8])]; 4] = [
        &[(60, b"PXEClient:Arch:00000:UNDI:002001"), (93, &[0, 0]), (97, &[0; 17])],
        &[
            (60, b"PXEClient:Arch:00000:UNDI:002001"),
            (93, &[0, 0]),
            (77, b"iPXE"),
            (61, &[1, 0x52, 0x54, 0, 0, 0, 0x99]),
        ],
        &[(60, b"d-i"), (61, &[0xff, 1, 2, 3, 4, 0, 1])],
        &[(61, &[0xff, 9, 9, 9, 9, 0, 2, 0, 0])],
    ];
    let mut addresses = Vec::new();
    for options in stages {
        let (offer, _) = reply(&ask(&mut server, 0, &discover(GUEST, options)));
        let (ack, _) = reply(&ask(&mut server, 1, &select(GUEST, offer.yiaddr)));
        addresses.push(ack.yiaddr);
    }
    addresses.dedup();
    assert_eq!(addresses.len(), 1);
}

#[test]
fn lost_and_repeated_messages_do_no_harm() {
    let mut server = server();
    let offers: Vec<_> =
        (0..5).map(|n| reply(&ask(&mut server, n, &discover(GUEST, &[]))).0.yiaddr).collect();
    assert!(offers.iter().all(|offer| *offer == offers[0]));
    for n in 0..5 {
        let (ack, _) = reply(&ask(&mut server, n, &select(GUEST, offers[0])));
        assert_eq!(u8::from(ack.kind), 5);
    }
}

fn any_message() -> impl Strategy<Value = Draft> {
    let address = prop_oneof![
        Just(NONE),
        (95u8..112).prop_map(ip),
        Just(SERVER),
        Just(ip(255)),
        any::<u32>().prop_map(Ipv4Addr::from_bits),
    ];
    let mac = prop_oneof![Just(NODE), (0u8..30).prop_map(|n| MacAddr([2, 0, 0, 0, 0, n]))];
    let option = (1u8..255, proptest::collection::vec(any::<u8>(), 0..20));
    let options = proptest::collection::vec(option, 0..6);
    (mac, 0u8..10, address.clone(), address.clone(), address, any::<bool>(), any::<bool>(), options).prop_map(
        |(mac, kind, ciaddr, requested, giaddr, relayed, ours, options)| {
            let mut draft = message(mac, kind, &[]);
            draft.ciaddr = ciaddr;
            draft.giaddr = if relayed { giaddr } else { NONE };
            if requested != NONE {
                draft.options.push((50, requested.octets().to_vec()));
            }
            if ours {
                draft.options.push((54, SERVER.octets().to_vec()));
            }
            draft.options.extend(options);
            draft
        },
    )
}

proptest! {
    /// Whatever is said in whatever order: no address is anybody's twice, reserved ones go to their nodes
    /// alone, and an ACK from the pool is never without something to write.
    #[test]
    fn no_address_is_given_twice(messages in proptest::collection::vec((any_message(), 0u64..4_000_000), 1..120)) {
        let mut server = server();
        let mut held: BTreeMap<Ipv4Addr, (MacAddr, Millis)> = BTreeMap::new();
        let mut now = 0;
        for (draft, later) in messages {
            now += later / 60;
            let actions = ask(&mut server, now, &draft);
            prop_assert!(actions.dropped.is_some() == actions.events.is_empty(), "done or dropped, never silent");
            if let Some(change) = actions.persist.filter(|change| change.lease_s == 0) {
                held.remove(&change.address);
            }
            let Some(reply) = actions.reply else { continue };
            prop_assert!(reply.payload.len() >= 300);
            let packet = pilotlight_dhcp::packet::Packet::parse(&reply.payload).unwrap();
            if u8::from(packet.kind) != 5 || packet.yiaddr == NONE {
                continue;
            }
            prop_assert_eq!(packet.yiaddr == NODE_ADDRESS, packet.mac == NODE);
            prop_assert_eq!(actions.persist.is_some(), packet.mac != NODE);
            if let Some((other, until)) = held.get(&packet.yiaddr) {
                prop_assert!(*other == packet.mac || *until <= now, "{} is {}'s", packet.yiaddr, other);
            }
            let until = now + u64::from(packet.number32(51).unwrap()) * 1000;
            held.insert(packet.yiaddr, (packet.mac, until));
        }
    }

    #[test]
    fn no_bytes_make_the_server_panic(
        draft in any_message(), cut in 0usize..400,
        flips in proptest::collection::vec((0usize..400, any::<u8>()), 0..12),
    ) {
        let mut payload = bytes(&draft);
        for (at, value) in flips {
            if let Some(byte) = payload.get_mut(at) {
                *byte = value;
            }
        }
        payload.truncate(payload.len().saturating_sub(cut));
        let actions = server().handle(0, &payload);
        prop_assert!(actions.dropped.is_some() == actions.events.is_empty());
    }

    #[test]
    fn no_length_makes_the_server_panic(payload in proptest::collection::vec(any::<u8>(), 0..65_536)) {
        server().handle(0, &payload);
    }
}
