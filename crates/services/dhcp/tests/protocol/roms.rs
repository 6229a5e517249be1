//! Firmware with habits of its own.

use pilotlight_lab::MacAddr;

use crate::common::*;

const PI_3: MacAddr = MacAddr([0xb8, 0x27, 0xeb, 1, 2, 3]);
const PI_4: MacAddr = MacAddr([0xdc, 0xa6, 0x32, 1, 2, 3]);

/// What both ask with: they say that they are PCs with a BIOS.
const ROM: [(u8, &[u8]); 3] = [
    (60, b"PXEClient:Arch:00000:UNDI:002001"),
    (93, &[0, 0]),
    (97, &[0, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68]),
];

#[test]
fn a_raspberry_pi_is_told_who_has_its_files() {
    for (name, mac, options, delay) in [
        ("a Pi 3, whose ROM hangs on an early answer", PI_3, &ROM[..], 2_000),
        ("a Pi 4", PI_4, &ROM[..], 0),
        ("by its number", GUEST, &[(60, ROM[0].1), (93, &[0, 41])], 0),
    ] {
        let mut server = server();
        let offered = ask(&mut server, 0, &discover(mac, options));
        let (offer, _) = reply(&offered);
        assert_eq!(offer.option(43), Some(b"Raspberry Pi Boot   ".as_slice()), "{name}");
        assert_eq!((offer.option(66), offer.siaddr), (Some(b"10.77.0.1".as_slice()), SERVER), "{name}");
        assert_eq!(offer.option(67), None, "{name}: it knows its files' names");
        assert_eq!(offered.reply.unwrap().delay, delay, "{name}");
        assert_eq!(offered.events[0].facts["raspberry-pi"], true, "{name}");
        let mut selecting = select(mac, offer.yiaddr);
        selecting.options.extend(options.iter().map(|(code, value)| (*code, value.to_vec())));
        assert_eq!(ask(&mut server, 0, &selecting).reply.unwrap().delay, 0, "{name}: only the OFFER waits");
    }
}

#[test]
fn other_firmware_on_a_raspberry_pi_is_what_it_says() {
    for (name, options, file) in [
        ("iPXE", &[ROM[0], ROM[1], (77, &b"iPXE"[..])][..], Some(&b"http://10.77.0.1/boot.ipxe"[..])),
        ("a running system", &[(60, &b"udhcp 1.37"[..])], None),
    ] {
        let answered = ask(&mut server(), 0, &discover(PI_3, options));
        assert_eq!(answered.reply.as_ref().unwrap().delay, 0, "{name}");
        assert_eq!(reply(&answered).0.option(67), file, "{name}");
    }
}
