//! Machines that the lab knows by their UUID and by no hardware address yet.

use dhcproto::v4::MessageType;
use pilotlight_kit::Event;
use pilotlight_lab::{Marks, Recognised, Uuid};

use super::Server;
use crate::{Millis, packet::Packet};

/// How long the questions of a machine are left unanswered once it was recognised, in milliseconds: longer than a card takes
/// to write down whose hardware address it is, and shorter than a PXE firmware takes to ask again (4 s, PXE 2.1 § 2.2.3).
const MEETING: Millis = 3_000;

impl Server {
    /// What there is to tell of a machine that the lab knows by its UUID, and whether its question is better left for it to
    /// ask again: by then its hardware address is known, and it gets the node's address at once.
    pub(super) fn recognise(&mut self, now: Millis, packet: &Packet) -> Option<(Event, bool)> {
        if packet.kind != MessageType::Discover || !self.lab.recognises() {
            return None;
        }
        let marks = Marks { uuid: Some(uuid(packet)?), serial: None };
        let recognised = self.lab.recognise(packet.mac, &marks)?;
        let event = Event::met("dhcp", recognised, packet.mac);
        let Recognised::AsNew(node) = recognised else { return Some((event, false)) };
        let since = *self.meetings.entry(node.name.clone()).or_insert(now);
        Some((event, now.saturating_sub(since) < MEETING))
    }
}

/// Option 97: a zero byte, then the machine's UUID (RFC 4578 § 2.3).
fn uuid(packet: &Packet) -> Option<Uuid> {
    let (kind, uuid) = packet.option(97)?.split_first()?;
    (*kind == 0).then_some(())?;
    uuid.try_into().ok().map(Uuid::new)
}
