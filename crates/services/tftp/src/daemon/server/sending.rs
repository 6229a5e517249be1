//! What a transfer sends when it is its turn.

use std::io;

use pilotlight_tftp::{
    Code,
    packet::{self, DATA_HEADER},
    turns::TURN,
};

use super::{LISTENERS, Server, room};
use crate::sockets::Line;

impl Server {
    /// Sends of what is pending as much as a turn allows and the socket takes.
    pub(super) fn pump(&mut self, place: usize) {
        let Some(active) = self.table.get(place) else { return };
        let size = active.terms.block_size;
        let packet = DATA_HEADER + usize::from(size);
        let turn = self.buffer.len().min(TURN.max(packet));
        let packets = match active.blocks.packets(active.pending.clone(), size, &mut self.buffer[..turn]) {
            Ok(packets) => packets,
            Err(error) => {
                let told = packet::error(Code::Undefined, "the file cannot be read");
                let _ = active.line.send(&self.listeners, &told, active.peer);
                return self.fail(place, &format!("reading the file failed: {error}"));
            }
        };
        let bytes = &self.buffer[..packets.bytes];
        let mut sent = 0;
        if packets.blocks > 1 && active.together {
            match active.line.send_together(&self.listeners, bytes, packet as u16, active.peer) {
                Ok(()) => sent = packets.blocks,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.wait_for_room(place),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.turns.wait(place),
                // Blocks that do not fit a packet of this route, or a kernel that cannot: one by one from now on.
                Err(_) => active.together = false,
            }
        }
        if sent == 0 {
            for packet in bytes.chunks(packet) {
                match active.line.send(&self.listeners, packet, active.peer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                    // As good as lost: it will be sent again, or the client counts as gone.
                    Err(_) | Ok(_) => sent += 1,
                }
            }
        }
        active.pending.start += sent;
        if sent < packets.blocks {
            return self.wait_for_room(place);
        }
        if packets.last {
            active.transfer.ends_with(active.pending.start - 1);
            active.pending = 0..0;
        }
        if !active.pending.is_empty() {
            self.turns.wait(place);
        }
    }

    /// The transfer's socket takes no more for now.
    fn wait_for_room(&mut self, place: usize) {
        let Some(active) = self.table.get(place) else { return };
        match &active.line {
            Line::Own(socket) => room(&self.poll, socket, place as u64, true),
            Line::Shared(number, _) => {
                if let (Some(listener), Some(blocked)) =
                    (self.listeners.get(*number), self.blocked.get_mut(*number))
                {
                    blocked.push(place);
                    room(&self.poll, listener, LISTENERS + *number as u64, true);
                }
            }
        }
    }
}
