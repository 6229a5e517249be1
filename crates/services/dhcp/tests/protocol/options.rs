//! What an answer says, RFC by RFC.

use std::net::Ipv4Addr;

use crate::common::*;
use dhcproto::{
    Decodable as _, Decoder,
    v4::{DhcpOption, Message, OptionCode},
};
use pilotlight_dhcp::packet::{Draft, Packet};

fn answer(draft: &Draft) -> Packet {
    reply(&ask(&mut server(), 0, draft)).0
}

fn codes(packet: &Packet) -> Vec<u8> {
    packet.options.keys().copied().collect()
}

const ASKED: (u8, &[u8]) = (55, &[1, 3, 6, 12, 15, 28, 42, 66, 67, 119, 150]);

#[test]
fn a_running_system_gets_what_it_asks_for() {
    let offer = answer(&discover(NODE, &[ASKED]));
    assert_eq!(codes(&offer), [1, 3, 6, 12, 15, 28, 42, 51, 53, 54, 58, 59, 119]);
    assert_eq!(offer.option(1), Some([255, 255, 255, 0].as_slice()));
    assert_eq!(offer.address(3), Some(ip(254)));
    assert_eq!(offer.option(6), Some([10, 77, 0, 253, 10, 77, 0, 254].as_slice()));
    assert_eq!(offer.option(12), Some(b"node1".as_slice()));
    assert_eq!(offer.option(15), Some(b"lab.home.arpa".as_slice()));
    assert_eq!(offer.address(28), Some(ip(255)));
    assert_eq!(offer.option(119), Some(b"\x03lab\x04home\x04arpa\0".as_slice()));
    assert_eq!(offer.address(42), Some(SERVER));
    assert_eq!([51, 58, 59].map(|code| offer.number32(code)), [Some(3600), Some(1800), Some(3150)]);
    assert_eq!((offer.address(54), offer.siaddr), (Some(SERVER), NONE));
}

#[test]
fn only_what_is_asked_for_and_known_is_said() {
    assert_eq!(codes(&answer(&discover(NODE, &[(55, &[1, 28])]))), [1, 28, 51, 53, 54, 58, 59]);
    let guest = answer(&discover(GUEST, &[ASKED]));
    assert!(guest.option(12).is_none(), "no name for a machine that has none");
}

#[test]
fn a_shorter_lease_can_be_asked_for() {
    for (asked, given) in [(60u32, 120), (600, 600), (3600, 3600), (u32::MAX, 3600)] {
        assert_eq!(answer(&discover(GUEST, &[(51, &asked.to_be_bytes())])).number32(51), Some(given));
    }
}

#[test]
fn rfc2131_4_3_5_inform_gets_neither_address_nor_lease() {
    let ack = answer(&Draft { ciaddr: ip(60), ..message(NODE, 8, &[ASKED]) });
    assert_eq!((ack.yiaddr, ack.ciaddr), (NONE, ip(60)));
    assert_eq!(codes(&ack), [1, 3, 6, 12, 15, 28, 42, 53, 54, 119]);
}

#[test]
fn rfc6842_and_rfc3046_are_echoed_in_every_answer() {
    let id: &[u8] = &[0xff, 1, 2, 3, 4];
    let circuit: &[u8] = &[2, 1, b'b', 1, 1, b'a', 1, 1, b'c'];
    let with = |draft: Draft| {
        let mut options = draft.options.clone();
        options.push((61, id.to_vec()));
        Draft { options, relay_information: Some(circuit.to_vec()), giaddr: ip(250), ..draft }
    };
    for draft in [discover(NODE, &[]), select(NODE, NODE_ADDRESS), reboot(NODE, ip(9))] {
        let actions = ask(&mut server(), 0, &with(draft));
        let payload = &actions.reply.as_ref().unwrap().payload;
        let (packet, _) = reply(&actions);
        assert_eq!((packet.option(61), packet.option(82)), (Some(id), Some(circuit)));
        let end = payload.iter().rposition(|byte| *byte == 255).unwrap();
        assert_eq!(&payload[end - circuit.len()..end], circuit, "byte for byte, and last");
        assert!(packet.kind != dhcproto::v4::MessageType::Nak || packet.flags.broadcast());
    }
}

#[test]
fn rfc4361_6_3_a_reservation_holds_whatever_option_61_says() {
    for id in [&[1, 0, 0, 0, 0, 0, 1][..], &[0xff, 9, 9], b"x"] {
        assert_eq!(answer(&discover(NODE, &[(61, id)])).yiaddr, NODE_ADDRESS);
    }
}

#[test]
fn pxe_firmware_boots_at_once() {
    let uuid: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    for (class, architecture, file) in [
        ("PXEClient:Arch:00000:UNDI:002001", 0u16, "undionly.kpxe"),
        ("PXEClient:Arch:00007:UNDI:003000", 7, "ipxe.efi"),
        ("PXEClient:Arch:00009:UNDI:003000", 9, "ipxe.efi"),
        ("PXEClient:Arch:00011:UNDI:003000", 11, "ipxe-arm64.efi"),
    ] {
        let ask = [(60, class.as_bytes()), (93, &architecture.to_be_bytes()), (97, uuid), ASKED];
        let offer = answer(&discover(NODE, &ask));
        assert_eq!(offer.option(60), Some(b"PXEClient".as_slice()));
        assert_eq!(offer.option(43), Some([6, 1, 8, 255].as_slice()), "never 60 alone: port 4011");
        assert_eq!(offer.option(67), Some(file.as_bytes()));
        assert_eq!(offer.option(66), Some(b"10.77.0.1".as_slice()));
        assert_eq!((offer.option(97), offer.address(150)), (Some(uuid), Some(SERVER)));
        assert_eq!((offer.siaddr, offer.option(52)), (SERVER, None), "never overloaded");
    }
}

#[test]
fn the_boot_file_is_in_the_fixed_part_too() {
    let ask = discover(NODE, &[(60, b"PXEClient:Arch:00000:UNDI:002001"), (93, &[0, 0])]);
    let actions = crate::common::ask(&mut server(), 0, &ask);
    let payload = &actions.reply.as_ref().unwrap().payload;
    let other = Message::decode(&mut Decoder::new(payload)).unwrap();
    assert_eq!(&payload[108..122], b"undionly.kpxe\0");
    assert_eq!(
        other.opts().get(OptionCode::BootfileName),
        Some(&DhcpOption::BootfileName(b"undionly.kpxe".to_vec()))
    );
    assert!(payload.len() >= 300, "RFC 1542 § 2.1");
    assert_eq!(actions.events[0].facts["file"], "undionly.kpxe");
}

#[test]
fn ipxe_gets_its_script_and_does_not_wait() {
    for class in [b"iPXE".as_slice(), b"\x04iPXE"] {
        let ask = [(60, b"PXEClient:Arch:00000:UNDI:002001".as_slice()), (93, &[0, 0]), (77, class)];
        let offer = answer(&discover(NODE, &ask));
        assert_eq!(offer.option(67), Some(b"http://10.77.0.1/boot.ipxe".as_slice()));
        assert_eq!(offer.option(175), Some([0xb0, 1, 1].as_slice()));
        assert_eq!((offer.option(60), offer.option(43)), (None, None), "or it looks for boot servers");
    }
}

/// Where U-Boot does not pass for UEFI, it says so in options 60 and 93, and wants a server and a file, nothing of PXE.
#[test]
fn u_boot_is_told_its_server_and_its_file() {
    let ask = [(60, b"U-Boot.armv8".as_slice()), (93, &[0, 0x16]), ASKED];
    let offer = answer(&discover(NODE, &ask));
    assert_eq!((offer.siaddr, offer.option(67)), (SERVER, Some(b"u-boot/ipxe-arm64.efi".as_slice())));
    assert_eq!((offer.option(60), offer.option(43)), (None, None));
}

#[test]
fn firmware_without_a_loader_gets_an_address_and_the_event_says_why_no_more() {
    let ask = [(60, b"PXEClient:Arch:00006:UNDI:003000".as_slice()), (93, &[0, 6])];
    let actions = crate::common::ask(&mut server(), 0, &discover(NODE, &ask));
    let (offer, _) = reply(&actions);
    assert_eq!((offer.option(60), offer.option(67)), (None, None));
    assert_eq!(actions.events[0].facts["no-loader"], 6);
}

#[test]
fn option_57_is_honoured() {
    let names = vec![b'x'; 400];
    let id: (u8, &[u8]) = (61, &names);
    let small = bytes(&discover(NODE, &[id, ASKED]));
    let small = server().handle(0, &small).reply.unwrap().payload;
    assert!(small.len() <= 548, "RFC 2131 § 2: 576 with its headers unless more is said");
    let large = bytes(&discover(NODE, &[id, ASKED, (57, &1500u16.to_be_bytes())]));
    let large = server().handle(0, &large).reply.unwrap().payload;
    assert!(large.len() > 548 && large.len() <= 1472);
    let packet = Packet::parse(&small).unwrap();
    assert_eq!(packet.address(1), Some(Ipv4Addr::new(255, 255, 255, 0)), "the most important ones stay");
    assert_eq!((packet.number32(51), packet.address(54)), (Some(LEASE_S), Some(SERVER)));
}
