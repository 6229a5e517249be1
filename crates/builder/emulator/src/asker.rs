//! A machine on the wire that does nothing but ask for an address, as firmware does, only more often: so the first
//! OFFER is seen as soon as a server can give one.

use std::{
    io::{self, Read as _, Write as _},
    net::Ipv4Addr,
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

/// The asker's hardware address, of those that nobody was given.
pub const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0xa5, 0x4e, 0x01];
/// How often it asks. A boot's instructions between two questions are what the answer may come too late by.
const PAUSE: Duration = Duration::from_millis(10);
const TRANSACTION: [u8; 4] = *b"ask!";
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const BROADCAST: [u8; 6] = [0xff; 6];

/// Asks on the hub's socket until an OFFER comes. Gives how long that took.
///
/// # Errors
/// The wire is gone, or nothing came within `patience`.
pub fn first_offer(hub: &Path, patience: Duration) -> io::Result<Duration> {
    let start = Instant::now();
    Asker::at(hub, MAC)?.ask(OFFER, &message(MAC, DISCOVER, &[]), patience)?;
    Ok(start.elapsed())
}

/// Asks for an address for the machine `mac` and takes the one that is offered, as firmware does. Gives the address, which
/// is acknowledged.
///
/// # Errors
/// The wire is gone, or nothing came within `patience`.
pub fn lease(hub: &Path, mac: [u8; 6], patience: Duration) -> io::Result<Ipv4Addr> {
    let mut asker = Asker::at(hub, mac)?;
    let offer = asker.ask(OFFER, &message(mac, DISCOVER, &[]), patience)?;
    // RFC 2131 § 4.3.2, SELECTING: which server, and which address.
    let mut choice = vec![54, 4];
    choice.extend(offer.server.octets());
    choice.extend([50, 4]);
    choice.extend(offer.address.octets());
    Ok(asker.ask(ACK, &message(mac, REQUEST, &choice), patience)?.address)
}

/// A machine that asks.
struct Asker {
    wire: UnixStream,
    mac: [u8; 6],
    frames: Frames,
}

/// What a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    kind: u8,
    address: Ipv4Addr,
    server: Ipv4Addr,
}

impl Asker {
    fn at(hub: &Path, mac: [u8; 6]) -> io::Result<Self> {
        let wire = UnixStream::connect(hub)?;
        wire.set_read_timeout(Some(PAUSE))?;
        Ok(Self { wire, mac, frames: Frames::default() })
    }

    /// Sends `question` again and again until an answer of this kind comes.
    fn ask(&mut self, kind: u8, question: &[u8], patience: Duration) -> io::Result<Answer> {
        let mut packed = (question.len() as u32).to_be_bytes().to_vec();
        packed.extend(question);
        let start = Instant::now();
        let mut asked: Option<Instant> = None;
        let mut buffer = [0; 64 * 1024];
        while start.elapsed() < patience {
            if asked.is_none_or(|asked| asked.elapsed() >= PAUSE) {
                self.wire.write_all(&packed)?;
                asked = Some(Instant::now());
            }
            match self.wire.read(&mut buffer) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the wire was taken away")),
                Ok(count) => {
                    let frames = self.frames.take(&buffer[..count]);
                    let mut answers = frames.iter().filter_map(|frame| answer(frame, self.mac));
                    if let Some(answer) = answers.find(|answer| answer.kind == kind) {
                        return Ok(answer);
                    }
                }
                Err(fault)
                    if matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(fault) => return Err(fault),
            }
        }
        let what = if kind == OFFER { "OFFER" } else { "ACK" };
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no {what} within {} s", patience.as_secs())))
    }
}

/// Frames out of a stream that has each behind its length.
#[derive(Default)]
struct Frames(Vec<u8>);

impl Frames {
    fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.0.extend(bytes);
        let mut frames = Vec::new();
        while let Some((length, rest)) = self.0.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some(frame) = rest.get(..length) else { break };
            frames.push(frame.to_vec());
            self.0.drain(..4 + length);
        }
        frames
    }
}

/// A DISCOVER or REQUEST as a PC's firmware sends it (RFC 2131 § 4.1, PXE 2.1 § 2.2.1), in its frame, with `more` options.
fn message(mac: [u8; 6], kind: u8, more: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[4..8].copy_from_slice(&TRANSACTION);
    // The answer is to be broadcast.
    message[10] = 0x80;
    message[28..34].copy_from_slice(&mac);
    message
        .extend([0x63, 0x82, 0x53, 0x63, 53, 1, kind, 55, 7, 1, 3, 6, 43, 54, 66, 67, 93, 2, 0, 0, 60, 20]);
    message.extend(b"PXEClient:Arch:00000");
    message.extend(more);
    message.push(0xff);
    message.resize(300, 0);

    let mut datagram = [68_u16, 67, 8 + 300, 0].map(u16::to_be_bytes).concat();
    datagram.extend(message);
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    let length = (packet.len() + datagram.len()) as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    [&BROADCAST[..], &mac, &[0x08, 0x00], &packet, &datagram].concat()
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// What a frame answers to the asker `mac`; none when it does not.
fn answer(frame: &[u8], mac: [u8; 6]) -> Option<Answer> {
    let at = |start: usize, length: usize| frame.get(start..start + length).unwrap_or_default();
    if at(12, 2) != [0x08, 0x00] || at(23, 1) != [17] {
        return None;
    }
    let header = usize::from(frame[14] & 0x0f) * 4;
    let message = 14 + header + 8;
    if at(message, 1) != [2] || at(message + 4, 4) != TRANSACTION || at(message + 28, 6) != mac {
        return None;
    }
    let address = |bytes: &[u8]| bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
    let (mut kind, mut server) = (None, Ipv4Addr::UNSPECIFIED);
    let mut options = frame.get(message + 240..).unwrap_or_default();
    while let [code, length, rest @ ..] = options {
        match code {
            0 => {
                options = &options[1..];
                continue;
            }
            53 => kind = rest.first().copied(),
            54 => server = address(rest).unwrap_or(server),
            _ => {}
        }
        options = rest.get(usize::from(*length)..).unwrap_or_default();
    }
    Some(Answer { kind: kind?, address: address(at(message + 16, 4))?, server })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Hub;

    fn is_offer(frame: &[u8]) -> bool {
        answer(frame, MAC).is_some_and(|answer| answer.kind == OFFER)
    }

    /// What a server makes of the question: the same frame with an answer's marks.
    fn answered(kind: u8) -> Vec<u8> {
        let mut frame = message(MAC, DISCOVER, &[]);
        frame[42] = 2;
        let at = frame.windows(3).position(|part| part == [53, 1, 1]).unwrap();
        frame[at + 2] = kind;
        frame
    }

    #[test]
    fn only_an_offer_to_the_asker_is_one() {
        assert!(is_offer(&answered(2)));
        assert!(!is_offer(&answered(5)), "an ACK");
        assert!(!is_offer(&message(MAC, DISCOVER, &[])), "the question");
        let mut other = answered(2);
        other[42 + 28] ^= 1;
        assert!(!is_offer(&other), "for another machine");
        for length in 0..answered(2).len() - 60 {
            is_offer(&answered(2)[..length]);
        }
    }

    #[test]
    fn the_question_has_a_header_that_adds_up() {
        let frame = message(MAC, DISCOVER, &[]);
        assert_eq!(checksum(&frame[14..34]), 0);
        assert_eq!(frame.len(), 14 + 20 + 8 + 300);
    }

    #[test]
    fn frames_come_in_pieces() {
        let mut frames = Frames::default();
        assert!(frames.take(&[0, 0, 0, 2, 7]).is_empty());
        assert_eq!(frames.take(&[8, 0, 0, 0, 1, 9, 0]), [vec![7, 8], vec![9]]);
    }

    #[test]
    fn the_first_offer_on_a_wire_ends_the_asking() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::start(&folder.path().join("hub"), None).unwrap();
        let path = hub.path().to_owned();
        let server = std::thread::spawn(move || {
            let mut wire = UnixStream::connect(path).unwrap();
            let mut buffer = [0; 4096];
            let mut frames = Frames::default();
            loop {
                let count = wire.read(&mut buffer).unwrap();
                if frames.take(&buffer[..count]).contains(&message(MAC, DISCOVER, &[])) {
                    break;
                }
            }
            for kind in [5, 2] {
                let frame = answered(kind);
                wire.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
                wire.write_all(&frame).unwrap();
            }
            // Stays on the wire until the answer was read.
            let _ = wire.read(&mut buffer);
        });
        first_offer(hub.path(), Duration::from_secs(60)).unwrap();
        drop(hub);
        server.join().unwrap();
    }

    #[test]
    fn silence_ends_too() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::start(&folder.path().join("hub"), None).unwrap();
        let fault = first_offer(hub.path(), Duration::from_millis(30)).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
    }
}
