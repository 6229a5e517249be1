//! A lab, and a client's messages.

use std::net::Ipv4Addr;

use dhcproto::v4::{Flags, Opcode};
use pilotlight_dhcp::{
    Millis,
    packet::{Draft, Packet},
    server::{Actions, Destination, Server},
};
use pilotlight_lab::{Lab, MacAddr};

pub(crate) const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const NODE: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0x11]);
pub(crate) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 101);
pub(crate) const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0x99]);
pub(crate) const LEASE_S: u32 = 3600;

/// Ten pool addresses, one of them reserved for a node.
pub(crate) const LAB: &str = r#"
    [network]
    address = "10.77.0.1/24"
    domain = "lab.home.arpa"
    router = "10.77.0.254"
    dns = ["10.77.0.253", "10.77.0.254"]
    lease = "1h"
    probe-first = false
    pool = { first = "10.77.0.100", last = "10.77.0.109" }

    [[nodes]]
    name = "node1"
    mac = "52:54:00:00:00:11"
    address = "10.77.0.101"
"#;

pub(crate) fn lab() -> Lab {
    pilotlight_lab::parse(LAB)
        .unwrap_or_else(|problems| panic!("{}", problems.render("lab.toml", LAB, false)))
}

pub(crate) fn server() -> Server {
    Server::new(lab())
}

pub(crate) fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

/// A client's message of this type (option 53), with these options.
pub(crate) fn message(mac: MacAddr, kind: u8, options: &[(u8, &[u8])]) -> Draft {
    let mut all = vec![(53, vec![kind])];
    all.extend(options.iter().map(|(code, value)| (*code, value.to_vec())));
    Draft {
        op: Opcode::BootRequest,
        xid: 0x5eed,
        flags: Flags::default(),
        ciaddr: NONE,
        yiaddr: NONE,
        siaddr: NONE,
        giaddr: NONE,
        mac,
        file: String::new(),
        options: all,
        relay_information: None,
    }
}

pub(crate) fn discover(mac: MacAddr, options: &[(u8, &[u8])]) -> Draft {
    message(mac, 1, options)
}

/// A REQUEST in SELECTING.
pub(crate) fn select(mac: MacAddr, address: Ipv4Addr) -> Draft {
    message(mac, 3, &[(54, &SERVER.octets()), (50, &address.octets())])
}

/// A REQUEST in INIT-REBOOT.
pub(crate) fn reboot(mac: MacAddr, address: Ipv4Addr) -> Draft {
    message(mac, 3, &[(50, &address.octets())])
}

/// A REQUEST in RENEWING or REBINDING.
pub(crate) fn renew(mac: MacAddr, address: Ipv4Addr) -> Draft {
    Draft { ciaddr: address, ..message(mac, 3, &[]) }
}

pub(crate) fn decline(mac: MacAddr, address: Ipv4Addr) -> Draft {
    message(mac, 4, &[(54, &SERVER.octets()), (50, &address.octets())])
}

pub(crate) fn release(mac: MacAddr, address: Ipv4Addr) -> Draft {
    Draft { ciaddr: address, ..message(mac, 7, &[(54, &SERVER.octets())]) }
}

pub(crate) fn bytes(draft: &Draft) -> Vec<u8> {
    draft.write(1472).unwrap()
}

pub(crate) fn ask(server: &mut Server, now: Millis, draft: &Draft) -> Actions {
    server.handle(now, &bytes(draft))
}

/// The answer, read back, and where it goes.
pub(crate) fn reply(actions: &Actions) -> (Packet, Destination) {
    let reply = actions.reply.as_ref().unwrap_or_else(|| panic!("no reply: {actions:?}"));
    (Packet::parse(&reply.payload).unwrap(), reply.to)
}

/// A whole exchange from DISCOVER to ACK; gives the address.
pub(crate) fn lease(server: &mut Server, now: Millis, mac: MacAddr) -> Ipv4Addr {
    let (offer, _) = reply(&ask(server, now, &discover(mac, &[])));
    let acknowledged = ask(server, now, &select(mac, offer.yiaddr));
    let (ack, _) = reply(&acknowledged);
    assert_eq!((u8::from(ack.kind), ack.yiaddr), (5, offer.yiaddr));
    offer.yiaddr
}

/// One line that says what was decided.
pub(crate) fn verdict(actions: &Actions) -> String {
    if let Some(dropped) = &actions.dropped {
        assert!(actions.reply.is_none() && actions.persist.is_none() && actions.events.is_empty());
        return format!("drop {}", dropped.kind);
    }
    let event = &actions.events[0];
    let stage = &event.stage;
    let Some(reply) = &actions.reply else { return stage.clone() };
    let packet = Packet::parse(&reply.payload).unwrap();
    let stored = if actions.persist.is_some() { " written" } else { "" };
    format!("{stage} {} to {:?}{stored}", packet.yiaddr, reply.to)
}
