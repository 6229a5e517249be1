//! DHCP: its packets, the server through conversations, the probes, and the leases' journal.

use std::net::{Ipv4Addr, SocketAddrV4};

use pilotlight_dhcp::{frame, guard::Guard, packet::Packet, server::Server, store};
use pilotlight_lab::{MacAddr, Mode};

use crate::targets::{LAB, kind, messages};

/// A packet, and all that is asked of one.
pub(crate) fn packet(input: &[u8]) -> u64 {
    match Packet::parse(input) {
        Err(fault) => kind(fault.kind()),
        Ok(packet) => {
            let known = (0..=u8::MAX).filter(|code| packet.option(*code).is_some());
            let read = known
                .map(|code| {
                    let numbers = (packet.number16(code).is_some(), packet.number32(code).is_some());
                    (code, packet.address(code).is_some(), numbers, packet.wants(code))
                })
                .collect::<Vec<_>>();
            assert!(packet.room() >= 300, "an answer has room for {} bytes", packet.room());
            kind((format!("{:?}{:?}", packet.op, packet.kind), read))
        }
    }
}

/// A server through a conversation, on its port and on that of boot servers, with the addresses its own affair or another
/// server's; time passes between messages, and every fourth promise cannot be written down.
pub(crate) fn server(input: &[u8]) -> u64 {
    let mut lab = LAB.clone();
    if input.len() % 2 == 1 {
        lab.network.mode = Mode::Proxy;
    }
    let proxy = lab.network.mode == Mode::Proxy;
    let mut server = Server::new(lab);
    let client = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 60), 68);
    let mut story = Vec::new();
    for (number, message) in messages(input).enumerate() {
        let now = number as u64 * 45_000;
        let at_boot_port = number % 5 == 4;
        let mut actions =
            if at_boot_port { server.handle_boot(message, client) } else { server.handle(now, message) };
        let silent = actions.reply.is_none();
        assert!(
            !(proxy || at_boot_port) || actions.persist.is_none(),
            "an address is another server's to give"
        );
        assert!(
            !silent
                || (proxy && !at_boot_port)
                || actions.dropped.is_some()
                || !actions.events.is_empty()
                || actions.persist.is_some(),
            "silence"
        );
        if let Some(reply) = &actions.reply {
            assert!(
                (300..=1_500).contains(&reply.payload.len()),
                "an answer of {} bytes",
                reply.payload.len()
            );
            assert!(Packet::parse(&reply.payload).is_ok(), "an answer that cannot be read");
        }
        match actions.persist {
            Some(change) if number % 4 == 3 => {
                let left_s = server.not_written(now, &change, actions.reply.as_mut());
                let promised = actions.reply.as_ref().and_then(|reply| Packet::parse(&reply.payload).ok());
                let promised = promised.and_then(|packet| packet.number32(51));
                assert!(left_s.is_none() || left_s == promised, "{left_s:?} is left, {promised:?} promised");
            }
            Some(change) => server.written(&change),
            None => {}
        }
        story.push((silent, actions.dropped.map(|dropped| dropped.kind), actions.events.len()));
    }
    kind(story)
}

/// What a conflict probe hears.
pub(crate) fn arp(input: &[u8]) -> u64 {
    let found = frame::has(input);
    if let Some(end) = found {
        assert!(!end.address.is_unspecified() && !end.mac.is_group(), "nobody can have that: {end:?}");
    }
    kind((found.is_some(), input.len() < 32))
}

/// The look for other servers, through a conversation.
pub(crate) fn guard(input: &[u8]) -> u64 {
    let mut lab = LAB.clone();
    lab.network.probe_first = true;
    let mut guard = Guard::new(&lab, MacAddr([2, 0, 0, 0, 0, 1]));
    let mut story = Vec::new();
    for (number, message) in messages(input).enumerate() {
        let now = number as u64 * 1_000;
        let wish = guard.poll(now, 7);
        let heard = guard.heard(now, message).is_some();
        story.push((
            wish.send.is_some(),
            wish.event.is_some(),
            heard,
            guard.serving(),
            guard.other().is_some(),
        ));
    }
    kind(story)
}

/// What was read can be written again, and is the same.
pub(crate) fn journal(input: &[u8]) -> u64 {
    let journal = store::read(input, "this boot", 1_000);
    let again = [store::HEADER.to_owned(), journal.kept.values().map(store::Kept::line).collect()].concat();
    let read = store::read(again.as_bytes(), "this boot", 1_000);
    assert_eq!((&read.leases, read.damaged), (&journal.leases, 0), "written again it is another journal");
    kind((journal.leases.len().min(4), journal.damaged.min(4)))
}
