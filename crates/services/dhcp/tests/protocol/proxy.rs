//! Beside another DHCP server, and on the port of boot servers.

use std::net::{Ipv4Addr, SocketAddrV4};

use pilotlight_dhcp::{
    packet::{Draft, Packet},
    server::{Actions, Destination, Port, Server},
};
use pilotlight_lab::Mode;
use proptest::prelude::*;

use crate::common::*;

const BIOS: [(u8, &[u8]); 2] = [(60, b"PXEClient:Arch:00000:UNDI:002001"), (93, &[0, 0])];
const UEFI: [(u8, &[u8]); 2] = [(60, b"PXEClient:Arch:00007:UNDI:003000"), (93, &[0, 7])];
const HTTP: [(u8, &[u8]); 2] = [(60, b"HTTPClient:Arch:00016:UNDI:003001"), (93, &[0, 16])];
const U_BOOT: [(u8, &[u8]); 2] = [(60, b"U-Boot.armv8"), (93, &[0, 0x16])];
const IPXE: [(u8, &[u8]); 3] = [UEFI[0], UEFI[1], (77, b"iPXE")];

fn proxy() -> Server {
    let mut lab = lab();
    lab.network.mode = Mode::Proxy;
    lab.network.pool = None;
    Server::new(lab)
}

fn codes(packet: &Packet) -> Vec<u8> {
    packet.options.keys().copied().collect()
}

/// A question on port 4011 from the machine that has the address 10.77.0.60.
fn at_the_boot_port(server: &mut Server, draft: &Draft) -> Actions {
    server.handle_boot(&bytes(&Draft { ciaddr: ip(60), ..draft.clone() }), SocketAddrV4::new(ip(60), 68))
}

#[test]
fn firmware_is_offered_a_file_and_no_address() {
    for (name, options, vendor, file) in [
        ("BIOS", &BIOS[..], Some(&[6u8, 1, 8, 255][..]), &b"undionly.kpxe"[..]),
        ("UEFI, which drops an offer with option 43", &UEFI, None, b"ipxe.efi"),
        ("UEFI over HTTP", &HTTP, None, b"http://10.77.0.1/assets/ipxe.efi"),
        ("iPXE", &IPXE, None, b"http://10.77.0.1/boot.ipxe"),
    ] {
        let offered = ask(&mut proxy(), 0, &discover(NODE, options));
        let (offer, to) = reply(&offered);
        assert_eq!((offer.yiaddr, offer.siaddr, to), (NONE, SERVER, Destination::Broadcast), "{name}");
        assert_eq!((offer.option(43), offer.option(67)), (vendor, Some(file)), "{name}");
        let class = if name.ends_with("HTTP") { &b"HTTPClient"[..] } else { b"PXEClient" };
        assert_eq!(offer.option(60), Some(class), "{name}: by it firmware knows a proxy");
        for of_the_other_server in [1, 3, 6, 12, 15, 28, 42, 51, 58, 59, 175] {
            assert_eq!(offer.option(of_the_other_server), None, "{name}: option {of_the_other_server}");
        }
        assert!(offered.persist.is_none());
        assert_eq!(
            (offered.events[0].stage.as_str(), &offered.events[0].facts["proxy"]),
            ("offer", &true.into())
        );
    }
}

#[test]
fn what_is_between_a_machine_and_its_server_is_left_alone() {
    for (name, draft) in [
        ("a running system asks for an address", discover(NODE, &[])),
        ("it takes one", select(NODE, NODE_ADDRESS)),
        (
            "firmware takes one",
            message(NODE, 3, &[BIOS[0], BIOS[1], (54, &ip(9).octets()), (50, &ip(60).octets())]),
        ),
        ("it renews", renew(NODE, NODE_ADDRESS)),
        ("it comes back", reboot(NODE, Ipv4Addr::new(192, 168, 1, 1))),
        ("it releases", release(NODE, NODE_ADDRESS)),
        ("it declines", decline(NODE, NODE_ADDRESS)),
        ("it wants options", Draft { ciaddr: ip(60), ..message(NODE, 8, &[]) }),
        ("U-Boot, which would take the offer for one of an address", discover(NODE, &U_BOOT)),
    ] {
        let actions = ask(&mut proxy(), 0, &draft);
        assert!(actions.reply.is_none() && actions.persist.is_none() && actions.events.is_empty(), "{name}");
    }
    let informed = ask(&mut proxy(), 0, &Draft { ciaddr: ip(60), ..message(NODE, 8, &BIOS) });
    assert_eq!(
        reply(&informed).0.option(67),
        Some(b"undionly.kpxe".as_slice()),
        "but firmware may ask so too"
    );
}

#[test]
fn the_boot_port_answers_whoever_has_an_address() {
    for server in [&mut proxy(), &mut server()] {
        let answered = at_the_boot_port(server, &message(NODE, 3, &UEFI));
        let sent = answered.reply.clone().unwrap();
        assert_eq!((sent.from, sent.to), (Port::Boot, Destination::Unicast(SocketAddrV4::new(ip(60), 68))));
        let (ack, _) = reply(&answered);
        assert_eq!((u8::from(ack.kind), ack.ciaddr, ack.yiaddr), (5, ip(60), NONE));
        assert_eq!(codes(&ack), [53, 54, 60, 66, 67]);
        assert_eq!(answered.events[0].stage, "boot");
        // PXE 2.1 table 2-1, tag 71: the item that was chosen comes back.
        let item: (u8, &[u8]) = (43, &[71, 4, 0, 0, 0, 0, 255]);
        let answered = at_the_boot_port(server, &message(NODE, 3, &[UEFI[0], UEFI[1], item]));
        assert_eq!(reply(&answered).0.option(43), Some(item.1));
    }
}

#[test]
fn the_boot_port_is_no_other_servers_mirror() {
    let mut server = proxy();
    let foreign = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 68);
    for (name, actions, expect) in [
        ("no firmware", at_the_boot_port(&mut server, &message(NODE, 3, &[])), "drop no-firmware"),
        ("a DISCOVER", at_the_boot_port(&mut server, &discover(NODE, &UEFI)), "drop message-type"),
        (
            "an address of elsewhere",
            server.handle_boot(&bytes(&message(NODE, 3, &UEFI)), foreign),
            "drop foreign-address",
        ),
        ("nothing", server.handle_boot(&[], foreign), "drop truncated"),
    ] {
        assert_eq!(verdict(&actions), expect, "{name}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_either_panic_or_give_out_an_address(bytes in proptest::collection::vec(any::<u8>(), 0..700), good in any::<bool>()) {
        let mut server = proxy();
        let from = SocketAddrV4::new(ip(60), 68);
        let bytes = if good { crate::common::bytes(&message(NODE, 3, &[(43, &bytes), UEFI[0], UEFI[1]])) } else { bytes };
        for actions in [server.handle(0, &bytes), server.handle_boot(&bytes, from)] {
            prop_assert!(actions.persist.is_none());
            prop_assert!(actions.reply.is_none_or(|reply| Packet::parse(&reply.payload).unwrap().yiaddr == NONE));
        }
    }
}
