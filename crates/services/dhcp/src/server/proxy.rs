//! Firmware that has its address from another server, or asks on the port of boot servers: it is told where to boot from,
//! and nothing else.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::MessageType;
use pilotlight_kit::Event;

use super::{Actions, Destination, Port, Server, Silence, loader, send};
use crate::{
    packet::Packet,
    reply::{self, Firmware, Role},
};

impl Server {
    /// What another server's clients are told: where to boot from, when it is firmware that asks. All else is between
    /// them and that server.
    pub(super) fn beside(&self, packet: &Packet) -> Result<Actions, Silence> {
        let (stage, to) = match packet.kind {
            _ if matches!(Firmware::of(packet), Firmware::None | Firmware::UBoot) => {
                return Ok(Actions::default());
            }
            MessageType::Discover => ("offer", self.destination(packet, Some(Ipv4Addr::UNSPECIFIED))),
            MessageType::Inform if self.lab.network.contains(packet.ciaddr) => {
                ("inform", self.destination(packet, None))
            }
            _ => return Ok(Actions::default()),
        };
        let kind = if stage == "offer" { MessageType::Offer } else { MessageType::Ack };
        self.boot_only(packet, kind, Role::Proxy, stage, Port::Dhcp, to)
    }

    /// PXE 2.1 § 2.2.1: a client that has its address asks a boot server for its file.
    pub(super) fn boot_server(&self, packet: &Packet, from: SocketAddrV4) -> Result<Actions, Silence> {
        if !matches!(packet.kind, MessageType::Request | MessageType::Inform) {
            let kind = u8::from(packet.kind);
            return Err(("message-type", format!("message type {kind} is not one for a boot server")));
        }
        if Firmware::of(packet) == Firmware::None {
            return Err(("no-firmware", "asks a boot server, and is no firmware that boots".into()));
        }
        if !self.lab.network.contains(*from.ip()) {
            return Err(("foreign-address", format!("asks from {from}, which is not of this network")));
        }
        let to = Destination::Unicast(from);
        self.boot_only(packet, MessageType::Ack, Role::BootServer, "boot", Port::Boot, to)
    }

    fn boot_only(
        &self,
        packet: &Packet,
        kind: MessageType,
        role: Role,
        stage: &str,
        from: Port,
        to: Destination,
    ) -> Result<Actions, Silence> {
        let boot = self.boot(packet)?;
        let terms = self.terms(packet, kind, role, None, boot.as_ref());
        let event = self.told(packet, Event::ok("dhcp", stage)).fact("proxy", true);
        let event = loader(packet, &terms, event);
        let draft = reply::answer(packet, &terms);
        send(packet, &draft, (from, to, reply::delay(packet, &terms)), event)
    }
}
