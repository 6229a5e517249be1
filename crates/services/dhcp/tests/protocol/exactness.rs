//! What firmware is exact about, point by point: a test for each that no other file here has.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::Flags;
use pilotlight_dhcp::{
    packet::{Draft, Packet},
    server::{Destination, Server},
};
use pilotlight_lab::MacAddr;

use crate::common::*;

const PXE: &[u8] = b"PXEClient:Arch:00000:UNDI:002001";

fn answer(draft: &Draft) -> Packet {
    reply(&ask(&mut server(), 0, draft)).0
}

/// The lab, with PXELINUX for its node.
fn with_pxelinux() -> Server {
    let text = LAB.replace("name = \"node1\"", "name = \"node1\"\n    loader = \"pxelinux\"");
    Server::new(pilotlight_lab::parse(&text).unwrap())
}

#[test]
fn rfc2131_4_1_an_answer_goes_to_the_relay_else_to_ciaddr_else_to_everybody_else_to_the_hardware() {
    let (relay, node) = (ip(250), Destination::Hardware { mac: NODE, address: NODE_ADDRESS });
    let itself = Destination::Unicast(SocketAddrV4::new(NODE_ADDRESS, 68));
    let broadcast = Flags::default().set_broadcast();
    for (giaddr, ciaddr, flags, expect) in [
        (relay, NODE_ADDRESS, broadcast, Destination::Relay(relay)),
        (NONE, NODE_ADDRESS, broadcast, itself),
        (NONE, NONE, broadcast, Destination::Broadcast),
        (NONE, NONE, Flags::default(), node),
    ] {
        let draft = Draft { giaddr, ciaddr, flags, ..select(NODE, NODE_ADDRESS) };
        let (ack, to) = reply(&ask(&mut server(), 0, &draft));
        assert_eq!((ack.yiaddr, to), (NODE_ADDRESS, expect), "{giaddr} {ciaddr}");
    }
}

#[test]
fn rfc2131_4_3_2_init_reboot_without_record_is_met_with_silence_and_on_the_wrong_network_with_a_nak() {
    let stranger = MacAddr([2; 6]);
    assert_eq!(verdict(&ask(&mut server(), 0, &reboot(stranger, ip(105)))), "drop no-record");
    let elsewhere = reboot(stranger, Ipv4Addr::new(192, 168, 1, 5));
    assert_eq!(verdict(&ask(&mut server(), 0, &elsewhere)), "nak 0.0.0.0 to Broadcast");
}

#[test]
fn rfc1542_an_answer_has_300_bytes_at_least() {
    for draft in [discover(NODE, &[(55, &[1])]), select(NODE, NODE_ADDRESS), reboot(NODE, ip(9))] {
        assert!(ask(&mut server(), 0, &draft).reply.unwrap().payload.len() >= 300);
    }
    let short = ask(&mut server(), 0, &reboot(NODE, ip(9))).reply.unwrap().payload;
    assert_eq!(short.len(), 300, "a short one is filled up");
}

#[test]
fn rfc3396_a_long_option_is_read_in_pieces_and_written_in_pieces() {
    let id: Vec<u8> = (0..=255).chain(0..44).collect();
    let draft = discover(NODE, &[(57, &1500u16.to_be_bytes()), (61, &id)]);
    let sent = ask(&mut server(), 0, &draft).reply.unwrap().payload;
    let pieces = sent.windows(2).filter(|two| *two == [61, 255] || *two == [61, 45]).count();
    assert_eq!(pieces, 2, "255 bytes and the rest");
    assert_eq!(Packet::parse(&sent).unwrap().option(61), Some(id.as_slice()));
}

#[test]
fn option_52_the_file_field_of_a_boot_client_holds_a_file() {
    // So many options are asked for and echoed that they do not fit.
    let id = [7; 255];
    let draft = discover(NODE, &[(60, PXE), (93, &[0, 0]), (61, &id), (97, &[0; 17])]);
    let sent = ask(&mut server(), 0, &draft).reply.unwrap().payload;
    assert_eq!(&sent[108..122], b"undionly.kpxe\0");
    assert!(Packet::parse(&sent).unwrap().option(52).is_none());
}

#[test]
fn rfc3442_the_default_route_is_among_the_routes_for_who_asks_for_routes() {
    let offer = answer(&discover(NODE, &[(55, &[1, 3, 121])]));
    assert_eq!(offer.option(121), Some([0, 10, 77, 0, 254].as_slice()));
    assert_eq!(answer(&discover(NODE, &[(55, &[1, 3])])).option(121), None);
    assert_eq!(answer(&discover(NODE, &[])).option(121), None, "it must be asked for by name");
}

#[test]
fn rfc5071_pxelinux_is_told_where_its_configuration_is_when_it_asks() {
    let wanted: (u8, &[u8]) = (55, &[1, 3, 208, 209, 210, 211]);
    let ask_with = |options: &[(u8, &[u8])]| reply(&ask(&mut with_pxelinux(), 0, &discover(NODE, options))).0;
    let offer = ask_with(&[(60, PXE), (93, &[0, 0]), wanted]);
    assert_eq!(offer.option(208), Some([0xf1, 0, 0x74, 0x7e].as_slice()));
    assert_eq!(offer.option(209), Some(b"pxelinux.cfg/01-52-54-00-00-00-11".as_slice()));
    assert_eq!((offer.number32(211), offer.option(210)), (Some(30), None));
    let unasked = ask_with(&[(60, PXE), (93, &[0, 0])]);
    assert!((208..=211).all(|code| unasked.option(code).is_none()));
    let other = answer(&discover(NODE, &[(60, PXE), (93, &[0, 0]), wanted]));
    assert!((208..=211).all(|code| other.option(code).is_none()), "undionly.kpxe does not read them");
}

#[test]
fn rfc5859_the_tftp_server_is_an_address_for_who_asks_for_it_so() {
    let asked = answer(&discover(NODE, &[(60, PXE), (93, &[0, 0]), (55, &[67, 150])]));
    assert_eq!(asked.address(150), Some(SERVER));
    assert_eq!(answer(&discover(NODE, &[(60, PXE), (93, &[0, 0])])).option(150), None);
}

#[test]
fn option_93_each_number_is_the_processor_that_sends_it() {
    for (number, class, file) in [
        (0u16, "PXEClient", Some("undionly.kpxe")),
        (6, "PXEClient", None),
        (7, "PXEClient", Some("ipxe.efi")),
        (9, "PXEClient", Some("ipxe.efi")),
        (10, "PXEClient", None),
        (11, "PXEClient", Some("ipxe-arm64.efi")),
        (16, "HTTPClient", Some("http://10.77.0.1/assets/ipxe.efi")),
        (19, "HTTPClient", Some("http://10.77.0.1/assets/ipxe-arm64.efi")),
    ] {
        let class = format!("{class}:Arch:{number:05}:UNDI:003016");
        let offer = answer(&discover(NODE, &[(60, class.as_bytes()), (93, &number.to_be_bytes())]));
        let found = offer.option(67).map(|file| String::from_utf8_lossy(file).into_owned());
        assert_eq!(found.as_deref(), file, "{number}");
    }
    for number in [15u16, 18] {
        let draft = discover(NODE, &[(60, b"HTTPClient"), (93, &number.to_be_bytes())]);
        assert_eq!(verdict(&ask(&mut server(), 0, &draft)), "drop http-boot", "{number}: there is no loader");
    }
    let pi = answer(&discover(GUEST, &[(60, b"PXEClient:Arch:00041"), (93, &[0, 41])]));
    assert_eq!(pi.option(43), Some(b"Raspberry Pi Boot   ".as_slice()));
}

#[test]
fn option_97_comes_back_as_it_was_or_not_at_all() {
    let uuid = [&[0][..], &[9; 16]].concat();
    for (sent, expect) in [(Some(&uuid[..]), Some(&uuid[..])), (None, None), (Some(&[7][..]), Some(&[7]))] {
        let mut options: Vec<(u8, &[u8])> = vec![(60, PXE), (93, &[0, 0])];
        options.extend(sent.map(|uuid| (97, uuid)));
        assert_eq!(answer(&discover(NODE, &options)).option(97), expect);
    }
}

#[test]
fn option_60_is_never_sent_without_what_keeps_the_client_off_port_4011() {
    for number in (0..20u16).chain([41]) {
        let draft = discover(NODE, &[(60, PXE), (93, &number.to_be_bytes())]);
        let offer = answer(&draft);
        assert_eq!(offer.option(60).is_some(), offer.option(43).is_some(), "{number}");
    }
}

#[test]
fn uefi_http_boot_is_told_its_class_and_a_url_with_an_address_in_it() {
    let offer = answer(&discover(NODE, &[(60, b"HTTPClient:Arch:00016:UNDI:003001"), (93, &[0, 16])]));
    assert_eq!(offer.option(60), Some(b"HTTPClient".as_slice()));
    assert_eq!(offer.option(67), Some(b"http://10.77.0.1/assets/ipxe.efi".as_slice()));
    assert_eq!(offer.option(43), None);
}

#[test]
fn edk_ii_asks_after_4_8_16_and_32_seconds_and_is_offered_the_same_each_time() {
    let mut server = server();
    let uefi = discover(GUEST, &[(60, b"PXEClient:Arch:00007:UNDI:003000"), (93, &[0, 7])]);
    let mut at = 0;
    let first = reply(&ask(&mut server, at, &uefi)).0.yiaddr;
    for pause_s in [4, 8, 16, 32] {
        at += pause_s * 1000;
        assert_eq!(reply(&ask(&mut server, at, &uefi)).0.yiaddr, first, "after {pause_s} s");
    }
    assert_eq!(reply(&ask(&mut server, at + 4000, &select(GUEST, first))).0.yiaddr, first);
}

/// Windows 10 and 11, as Microsoft's [MS-DHCPE] and captures say: the class `MSFT 5.0`, its own list of wishes, and after the
/// ACK an INFORM for what was not in it (252 is a proxy for browsers).
#[test]
fn windows_gets_an_address_and_what_it_asks_for_and_nothing_of_booting() {
    const WISHES: &[u8] = &[1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252];
    let class: (u8, &[u8]) = (60, b"MSFT 5.0");
    let name: (u8, &[u8]) = (12, b"DESKTOP-1");
    let id = [&[1][..], &GUEST.0].concat();
    let fqdn = [&[0, 0, 0][..], b"DESKTOP-1"].concat();
    let common: Vec<(u8, &[u8])> = vec![(61, &id), name, class, (55, WISHES)];
    let mut server = server();
    let (offer, _) = reply(&ask(&mut server, 0, &discover(GUEST, &common)));
    let mut request = select(GUEST, offer.yiaddr);
    request
        .options
        .extend(common.iter().chain(&[(81, &fqdn[..])]).map(|(code, value)| (*code, value.to_vec())));
    let acknowledged = ask(&mut server, 10, &request);
    let (ack, to) = reply(&acknowledged);
    assert_eq!((u8::from(ack.kind), ack.yiaddr), (5, offer.yiaddr));
    assert_eq!(to, Destination::Hardware { mac: GUEST, address: offer.yiaddr }, "it wants no broadcast");
    assert!(acknowledged.persist.is_some());
    let codes: Vec<u8> = ack.options.keys().copied().collect();
    assert_eq!(codes, [1, 3, 6, 15, 51, 53, 54, 58, 59, 61, 119, 121]);
    let inform = Draft { ciaddr: ack.yiaddr, ..message(GUEST, 8, &common) };
    let (informed, to) = reply(&ask(&mut server, 20, &inform));
    assert_eq!((u8::from(informed.kind), informed.yiaddr, informed.number32(51)), (5, NONE, None));
    assert_eq!(to, Destination::Unicast(SocketAddrV4::new(ack.yiaddr, 68)));
    let codes: Vec<u8> = informed.options.keys().copied().collect();
    assert_eq!(codes, [1, 3, 6, 15, 53, 54, 61, 119, 121]);
}

/// What is left of a lease when its renewal cannot be written.
#[test]
fn a_full_card_a_renewal_promises_what_is_left_and_no_more() {
    let mut server = server();
    let address = lease(&mut server, 0, GUEST);
    let first = ask(&mut server, 0, &select(GUEST, address));
    server.written(&first.persist.unwrap());
    let renewed = ask(&mut server, 1_800_000, &renew(GUEST, address));
    let mut sent = renewed.reply.unwrap();
    assert_eq!(server.not_written(1_800_000, &renewed.persist.unwrap(), Some(&mut sent)), Some(1800));
    let packet = Packet::parse(&sent.payload).unwrap();
    assert_eq!([51, 58, 59].map(|code| packet.number32(code)), [Some(1800), Some(900), Some(1575)]);
    // Until then it is nobody else's, and then it is free.
    let stranger = |n: u8| discover(MacAddr([2, 0, 0, 0, 9, n]), &[(50, &address.octets())]);
    assert_ne!(reply(&ask(&mut server, 3_599_000, &stranger(1))).0.yiaddr, address);
    let last = ask(&mut server, 3_590_000, &renew(GUEST, address));
    let mut sent = last.reply.unwrap();
    assert_eq!(
        server.not_written(3_590_000, &last.persist.unwrap(), Some(&mut sent)),
        None,
        "too little is left"
    );
    assert_eq!(reply(&ask(&mut server, 3_600_001, &stranger(2))).0.yiaddr, address);
}
