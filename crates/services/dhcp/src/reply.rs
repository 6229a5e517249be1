//! What an answer says: which options, in which order of importance.

use std::net::Ipv4Addr;

use dhcproto::v4::{MessageType, Opcode};
use pilotlight_boot::BootFile;
use pilotlight_lab::{Lab, Node};

use crate::packet::{Draft, Packet};

/// The class identifier (option 60) of PXE firmware, which goes on with its architecture.
pub(crate) const PXE_CLASS: &[u8] = b"PXEClient";
/// The same for UEFI HTTP boot.
pub(crate) const HTTP_CLASS: &[u8] = b"HTTPClient";

/// PXE 2.1 table 2-1, tag 6 (discovery control) = 8: take the boot file as it stands, ask nobody else. A
/// client that is told 60 without it demands an answer from UDP port 4011.
const PXE_BOOT_NOW: &[u8] = &[6, 1, 8, 255];
/// iPXE's encapsulated option 0xb0 (`no-pxedhcp`): do not wait two seconds for other boot servers.
const IPXE_NO_PROXY: &[u8] = &[0xb0, 1, 1];

/// Everything an answer is made of.
pub(crate) struct Terms<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) kind: MessageType,
    /// The address that is given; none in the answer to an INFORM.
    pub(crate) address: Option<Ipv4Addr>,
    /// Seconds; none in the answer to an INFORM.
    pub(crate) lease_s: Option<u32>,
    pub(crate) node: Option<&'a Node>,
    pub(crate) boot: Option<&'a BootFile>,
    pub(crate) firmware: Firmware,
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
}

impl Firmware {
    pub(crate) fn of(request: &Packet) -> Self {
        let class = request.option(60).unwrap_or_default();
        if request.option(77).is_some_and(is_ipxe_user_class) {
            Self::Ipxe
        } else if class.starts_with(HTTP_CLASS) {
            Self::Http
        } else if class.starts_with(PXE_CLASS) {
            Self::Pxe
        } else {
            Self::None
        }
    }
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
    lease_options(&mut draft, terms);
    boot_options(&mut draft, request, terms);
    network_options(&mut draft, request, terms);
    draft
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
    let mut options = vec![(53, vec![u8::from(kind)]), (54, server.octets().to_vec())];
    // RFC 6842: in every answer, NAK included.
    options.extend(request.option(61).map(|id| (61, id.to_vec())));
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
        draft.options.push((51, lease_s.to_be_bytes().to_vec()));
    }
    draft.options.push((1, terms.lab.network.mask().octets().to_vec()));
    if let Some(lease_s) = terms.lease_s {
        // RFC 2131 § 4.4.5's own defaults, said aloud: half of the lease and seven eighths of it.
        draft.options.push((58, (lease_s / 2).to_be_bytes().to_vec()));
        draft.options.push((59, (lease_s - lease_s / 8).to_be_bytes().to_vec()));
    }
}

fn boot_options(draft: &mut Draft, request: &Packet, terms: &Terms<'_>) {
    // PXE 2.1 § 2.2.3: whoever sends it wants it back.
    draft.options.extend(request.option(97).map(|id| (97, id.to_vec())));
    let Some(boot) = terms.boot else { return };
    match terms.firmware {
        Firmware::None => return,
        Firmware::Pxe => {
            draft.options.push((60, PXE_CLASS.to_vec()));
            draft.options.push((43, PXE_BOOT_NOW.to_vec()));
        }
        Firmware::Http => draft.options.push((60, HTTP_CLASS.to_vec())),
        Firmware::Ipxe => draft.options.push((175, IPXE_NO_PROXY.to_vec())),
    }
    draft.siaddr = boot.server;
    draft.file.clone_from(&boot.file);
    draft.options.push((67, boot.file.clone().into_bytes()));
    draft.options.push((66, boot.server.to_string().into_bytes()));
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
    option(28, network.broadcast().octets().to_vec());
    // The Pi, which says itself whether it is to be believed (RFC 2132 § 8.3; option 4 is an older protocol's).
    option(42, network.address.octets().to_vec());
}

#[cfg(test)]
mod tests {
    use super::is_ipxe_user_class;

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
