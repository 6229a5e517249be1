//! What an answer says: which options, in which order of importance.

use std::net::Ipv4Addr;

use dhcproto::v4::{MessageType, Opcode};
use pilotlight_boot::{Architecture, BootFile};
use pilotlight_lab::{Lab, Node};

use crate::{
    Millis,
    packet::{Draft, FIXED, Packet},
};

/// The class identifier (option 60) of PXE firmware, which goes on with its architecture.
pub(crate) const PXE_CLASS: &[u8] = b"PXEClient";
/// The same for UEFI HTTP boot.
pub(crate) const HTTP_CLASS: &[u8] = b"HTTPClient";
/// The same for U-Boot where it does not pass for PXE firmware; it goes on with a dot and its processor.
const U_BOOT_CLASS: &[u8] = b"U-Boot";

/// PXE 2.1 table 2-1, tag 6 (discovery control) = 8: take the boot file as it stands, ask nobody else. A
/// client that is told 60 without it demands an answer from UDP port 4011.
const PXE_BOOT_NOW: &[u8] = &[6, 1, 8, 255];
/// What the boot ROM of a Raspberry Pi looks for in option 43, its three blanks included (raspberrypi/firmware#941).
const RASPBERRY_PI_BOOT: &[u8] = b"Raspberry Pi Boot   ";
/// The first half of the hardware addresses that Raspberry Pi has from the IEEE.
const RASPBERRY_PI: [[u8; 3]; 6] = [
    RASPBERRY_PI_3,
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
    [0x28, 0xcd, 0xc1],
    [0xd8, 0x3a, 0xdd],
    [0x2c, 0xcf, 0x67],
];
/// Those of the Pi 3 and before.
const RASPBERRY_PI_3: [u8; 3] = [0xb8, 0x27, 0xeb];
/// How long an OFFER to a Pi 3's boot ROM is held back: one that comes at once finds it not yet listening, and hangs it
/// (raspberrypi/firmware#862, #934).
const RASPBERRY_PI_3_WAITS: Millis = 2_000;
/// PXE 2.1 table 2-1, tag 71: the boot server's type and layer that a client chose, which it wants back.
const PXE_BOOT_ITEM: u8 = 71;
/// RFC 5071 § 3.
const PXELINUX_MAGIC: [u8; 4] = [0xf1, 0x00, 0x74, 0x7e];
/// How long PXELINUX waits after it found no configuration, before it has the machine start over (RFC 5071 § 6).
const PXELINUX_REBOOTS_AFTER_S: u32 = 30;
/// iPXE's encapsulated option 0xb0 (`no-pxedhcp`): do not wait two seconds for other boot servers.
const IPXE_NO_PROXY: &[u8] = &[0xb0, 1, 1];

/// Everything an answer is made of.
pub(crate) struct Terms<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) kind: MessageType,
    pub(crate) role: Role,
    /// The address that is given; none in the answer to an INFORM.
    pub(crate) address: Option<Ipv4Addr>,
    /// Seconds; none in the answer to an INFORM.
    pub(crate) lease_s: Option<u32>,
    pub(crate) node: Option<&'a Node>,
    pub(crate) boot: Option<&'a BootFile>,
    pub(crate) firmware: Firmware,
}

/// As what an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// As the server that the machine has its address from.
    Server,
    /// Beside that server, with where to boot from and nothing else.
    Proxy,
    /// On the port of boot servers, to a machine that has its address.
    BootServer,
}

/// Who asks for a boot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Firmware {
    /// A running system: it is told no boot file.
    None,
    /// PXE firmware, BIOS or UEFI.
    Pxe,
    /// UEFI HTTP boot.
    Http,
    /// iPXE, from wherever it came.
    Ipxe,
    /// U-Boot by its own name. It takes the first offer that comes, and knows nothing of proxies.
    UBoot,
    /// The boot ROM or EEPROM of a Raspberry Pi: it knows the names of its files itself.
    RaspberryPi,
}

impl Firmware {
    pub(crate) fn of(request: &Packet) -> Self {
        let class = request.option(60).unwrap_or_default();
        if request.option(77).is_some_and(is_ipxe_user_class) {
            Self::Ipxe
        } else if class.starts_with(HTTP_CLASS) {
            Self::Http
        } else if class.starts_with(PXE_CLASS) {
            let ours = request.mac.0.first_chunk().is_some_and(|vendor| RASPBERRY_PI.contains(vendor));
            match request.number16(93) {
                Some(41) => Self::RaspberryPi,
                None | Some(0) if ours => Self::RaspberryPi,
                _ => Self::Pxe,
            }
        } else if class.starts_with(U_BOOT_CLASS) {
            Self::UBoot
        } else {
            Self::None
        }
    }
}

/// How long this answer is held back, in milliseconds.
pub(crate) fn delay(request: &Packet, terms: &Terms<'_>) -> Millis {
    let hasty = terms.firmware == Firmware::RaspberryPi && request.mac.0.starts_with(&RASPBERRY_PI_3);
    if hasty && terms.kind == MessageType::Offer { RASPBERRY_PI_3_WAITS } else { 0 }
}

/// iPXE sends its four letters bare; RFC 3004 § 4 wants each class behind its length.
fn is_ipxe_user_class(value: &[u8]) -> bool {
    if value == b"iPXE" {
        return true;
    }
    let mut rest = value;
    while let [length, after @ ..] = rest {
        let Some((class, after)) = after.split_at_checked(usize::from(*length)) else { return false };
        if class == b"iPXE" {
            return true;
        }
        rest = after;
    }
    false
}

/// An OFFER or an ACK.
pub(crate) fn answer(request: &Packet, terms: &Terms<'_>) -> Draft {
    let mut draft = blank(request, terms.kind, terms.lab.network.address);
    draft.yiaddr = terms.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    if terms.kind == MessageType::Ack {
        draft.ciaddr = request.ciaddr;
    }
    if terms.role == Role::Server {
        lease_options(&mut draft, terms);
    }
    boot_options(&mut draft, request, terms);
    if terms.role == Role::Server {
        network_options(&mut draft, request, terms);
    }
    draft
}

/// Has an answer that is written promise `lease_s` seconds instead of what it does.
pub(crate) fn shorten(payload: &mut [u8], lease_s: u32) {
    let mut rest = payload.get_mut(FIXED..).unwrap_or_default();
    while let [code, after @ ..] = rest {
        let code = *code;
        if code == 0 {
            rest = after;
            continue;
        }
        let Some((length, after)) = after.split_first_mut() else { return };
        let Some((value, after)) = after.split_at_mut_checked(usize::from(*length)) else { return };
        let said = times(lease_s).into_iter().find(|(known, _)| *known == code);
        if let (Some((_, seconds)), Ok(value)) = (said, <&mut [u8; 4]>::try_from(value)) {
            *value = seconds.to_be_bytes();
        }
        rest = after;
    }
}

/// A lease's options, and their values in seconds: RFC 2131 § 4.4.5's own defaults, said aloud: half of the lease and
/// seven eighths of it.
fn times(lease_s: u32) -> [(u8, u32); 3] {
    [(51, lease_s), (58, lease_s / 2), (59, lease_s - lease_s / 8)]
}

/// A NAK, with a reason for people.
pub(crate) fn refusal(request: &Packet, server: Ipv4Addr, reason: &str) -> Draft {
    let mut draft = blank(request, MessageType::Nak, server);
    // RFC 2131 § 4.3.2: the relay must broadcast it, the client has no address to be reached at.
    if request.giaddr != Ipv4Addr::UNSPECIFIED {
        draft.flags = draft.flags.set_broadcast();
    }
    draft.options.push((56, reason.as_bytes().to_vec()));
    draft
}

fn blank(request: &Packet, kind: MessageType, server: Ipv4Addr) -> Draft {
    let server = request.server_override().unwrap_or(server);
    let mut options = vec![(53, vec![u8::from(kind)]), (54, server.octets().to_vec())];
    // RFC 6842: in every answer, NAK included. RFC 3011: whoever sends it wants it back.
    options.extend([61, 118].into_iter().filter_map(|code| Some((code, request.option(code)?.to_vec()))));
    Draft {
        op: Opcode::BootReply,
        xid: request.xid,
        flags: request.flags,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        siaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: request.giaddr,
        mac: request.mac,
        file: String::new(),
        options,
        relay_information: request.option(82).map(<[u8]>::to_vec),
    }
}

fn lease_options(draft: &mut Draft, terms: &Terms<'_>) {
    if let Some(lease_s) = terms.lease_s {
        let times = times(lease_s).map(|(code, seconds)| (code, seconds.to_be_bytes().to_vec()));
        draft.options.extend(times);
    }
    let mask = terms.lab.network.mask().octets().to_vec();
    draft.options.push((1, mask));
}

fn boot_options(draft: &mut Draft, request: &Packet, terms: &Terms<'_>) {
    // PXE 2.1 § 2.2.3: whoever sends it wants it back.
    draft.options.extend(request.option(97).map(|id| (97, id.to_vec())));
    if terms.firmware == Firmware::RaspberryPi {
        draft.siaddr = terms.lab.network.address;
        draft.options.push((60, PXE_CLASS.to_vec()));
        draft.options.push((43, RASPBERRY_PI_BOOT.to_vec()));
        draft.options.push((66, draft.siaddr.to_string().into_bytes()));
        return;
    }
    let Some(boot) = terms.boot else { return };
    vendor_options(draft, request, terms);
    draft.siaddr = boot.server;
    draft.file.clone_from(&boot.file);
    draft.options.push((67, boot.file.clone().into_bytes()));
    draft.options.push((66, boot.server.to_string().into_bytes()));
    // RFC 5859: as an address, for those that ask for it so.
    if asks_for(request, 150) {
        draft.options.push((150, boot.server.octets().to_vec()));
    }
    if boot.file.ends_with("pxelinux.0") {
        pxelinux_options(draft, request, terms);
    }
}

/// RFC 5071, for those that ask for it: PXELINUX finds its configuration without these as well, after a few more questions.
fn pxelinux_options(draft: &mut Draft, request: &Packet, terms: &Terms<'_>) {
    let configuration = terms.node.map(|node| format!("pxelinux.cfg/01-{}", node.mac.hyphenated()));
    let options = [
        (208, PXELINUX_MAGIC.to_vec()),
        (209, configuration.unwrap_or_default().into_bytes()),
        (211, PXELINUX_REBOOTS_AFTER_S.to_be_bytes().to_vec()),
    ];
    draft.options.extend(options.into_iter().filter(|(code, _)| asks_for(request, *code)));
}

/// Whether a client names this option: some are for nobody else.
fn asks_for(request: &Packet, code: u8) -> bool {
    request.option(55).is_some_and(|wanted| wanted.contains(&code))
}

/// What tells the firmware that the boot file is meant for it, and not to look for another.
fn vendor_options(draft: &mut Draft, request: &Packet, terms: &Terms<'_>) {
    match (terms.firmware, terms.role) {
        (Firmware::None | Firmware::RaspberryPi | Firmware::UBoot, _) => {}
        (Firmware::Http, _) => draft.options.push((60, HTTP_CLASS.to_vec())),
        (Firmware::Ipxe, Role::Server) => draft.options.push((175, IPXE_NO_PROXY.to_vec())),
        // By the class iPXE knows a proxy; told not to look for one it would not take this.
        (Firmware::Ipxe, _) => draft.options.push((60, PXE_CLASS.to_vec())),
        (Firmware::Pxe, role) => {
            draft.options.push((60, PXE_CLASS.to_vec()));
            let bios = Architecture::from_option_93(request.number16(93).unwrap_or(0)) == Architecture::Bios;
            match role {
                Role::Server => draft.options.push((43, PXE_BOOT_NOW.to_vec())),
                Role::Proxy if bios => draft.options.push((43, PXE_BOOT_NOW.to_vec())),
                // EDK II drops a proxy's offer with option 43 in it; without, it asks again on the boot servers' port.
                Role::Proxy => {}
                Role::BootServer => draft.options.extend(boot_item(request).map(|item| (43, item))),
            }
        }
    }
}

/// Option 43 of an answer on the boot servers' port, where the request chose an item.
fn boot_item(request: &Packet) -> Option<Vec<u8>> {
    let mut rest = request.option(43)?;
    while let [code, length, after @ ..] = rest {
        let (value, after) = after.split_at_checked(usize::from(*length))?;
        if *code == PXE_BOOT_ITEM && value.len() == 4 {
            return Some([&[PXE_BOOT_ITEM, 4], value, &[255]].concat());
        }
        rest = after;
    }
    None
}

fn network_options(draft: &mut Draft, request: &Packet, terms: &Terms<'_>) {
    let network = &terms.lab.network;
    let mut option = |code: u8, value: Vec<u8>| {
        // An option of no length is none: the writer leaves it out.
        if request.wants(code) {
            draft.options.push((code, value));
        }
    };
    option(3, network.router.iter().flat_map(Ipv4Addr::octets).collect());
    option(6, network.dns.iter().flat_map(Ipv4Addr::octets).collect());
    option(12, terms.node.map(|node| node.name.clone().into_bytes()).unwrap_or_default());
    option(15, network.domain.clone().into_bytes());
    option(119, search_list(&network.domain));
    // RFC 3442: who asks for routes takes no notice of option 3, so the one that there is must be among them.
    if asks_for(request, 121) {
        option(121, network.router.iter().flat_map(|router| [&[0][..], &router.octets()].concat()).collect());
    }
    option(28, network.broadcast().octets().to_vec());
    // The Pi, which says itself whether it is to be believed (RFC 2132 § 8.3; option 4 is an older protocol's).
    option(42, network.address.octets().to_vec());
}

/// One domain as a search list (RFC 3397): its labels behind their lengths, and a zero.
fn search_list(domain: &str) -> Vec<u8> {
    let labels = domain.split('.').flat_map(|label| {
        // A checked lab has none of more than 63 bytes.
        [&[label.len() as u8], label.as_bytes()].concat()
    });
    labels.chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use super::{is_ipxe_user_class, search_list};

    #[test]
    fn rfc3397_a_search_list_is_written_as_names_of_the_dns() {
        assert_eq!(search_list("lab.arpa"), b"\x03lab\x04arpa\0");
    }

    #[test]
    fn ipxe_is_known_bare_and_in_rfc3004_form() {
        for (value, expect) in [
            (b"iPXE".as_slice(), true),
            (b"\x04iPXE", true),
            (b"\x03abc\x04iPXE", true),
            (b"\x04gPXE", false),
            (b"\x05iPXE", false),
            (b"\xff", false),
            (b"", false),
            (b"\x00\x00", false),
        ] {
            assert_eq!(is_ipxe_user_class(value), expect, "{value:?}");
        }
    }
}
