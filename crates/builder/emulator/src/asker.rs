//! A machine on the wire that does nothing but ask for an address, as firmware does, only more often: so the first
//! OFFER is seen as soon as a server can give one.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

/// The asker's hardware address, of those that nobody was given.
pub const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0xa5, 0x4e, 0x01];
/// How often it asks. A boot's instructions between two questions are what the answer may come too late by.
const PAUSE: Duration = Duration::from_millis(10);
const TRANSACTION: [u8; 4] = *b"ask!";
const BROADCAST: [u8; 6] = [0xff; 6];

/// Asks on the hub's socket until an OFFER comes. Gives how long that took.
///
/// # Errors
/// The wire is gone, or nothing came within `patience`.
pub fn first_offer(hub: &Path, patience: Duration) -> io::Result<Duration> {
    let mut wire = UnixStream::connect(hub)?;
    let mut output = wire.try_clone()?;
    wire.set_read_timeout(Some(PAUSE))?;
    let question = discover();
    let mut packed = (question.len() as u32).to_be_bytes().to_vec();
    packed.extend(&question);
    let start = Instant::now();
    let mut asked: Option<Instant> = None;
    let mut frames = Frames::default();
    let mut buffer = [0; 64 * 1024];
    while start.elapsed() < patience {
        if asked.is_none_or(|asked| asked.elapsed() >= PAUSE) {
            output.write_all(&packed)?;
            asked = Some(Instant::now());
        }
        match wire.read(&mut buffer) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the wire was taken away")),
            Ok(count) => {
                if frames.take(&buffer[..count]).iter().any(|frame| is_offer(frame)) {
                    return Ok(start.elapsed());
                }
            }
            Err(fault) if matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(fault) => return Err(fault),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no OFFER within {} s", patience.as_secs())))
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

/// A DISCOVER as a PC's firmware sends it (RFC 2131 § 4.1, PXE 2.1 § 2.2.1), in its frame.
fn discover() -> Vec<u8> {
    let mut message = vec![0; 236];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[4..8].copy_from_slice(&TRANSACTION);
    // The answer is to be broadcast.
    message[10] = 0x80;
    message[28..34].copy_from_slice(&MAC);
    message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 55, 7, 1, 3, 6, 43, 54, 66, 67, 93, 2, 0, 0, 60, 20]);
    message.extend(b"PXEClient:Arch:00000");
    message.push(0xff);
    message.resize(300, 0);

    let mut datagram = [68_u16, 67, 8 + 300, 0].map(u16::to_be_bytes).concat();
    datagram.extend(message);
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    let length = (packet.len() + datagram.len()) as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    [&BROADCAST[..], &MAC, &[0x08, 0x00], &packet, &datagram].concat()
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// Whether a frame is an OFFER for this asker.
fn is_offer(frame: &[u8]) -> bool {
    let at = |start: usize, length: usize| frame.get(start..start + length).unwrap_or_default();
    if at(12, 2) != [0x08, 0x00] || at(23, 1) != [17] {
        return false;
    }
    let header = usize::from(frame[14] & 0x0f) * 4;
    let message = 14 + header + 8;
    if at(message, 1) != [2] || at(message + 4, 4) != TRANSACTION || at(message + 28, 6) != MAC {
        return false;
    }
    let mut options = frame.get(message + 240..).unwrap_or_default();
    while let [code, length, rest @ ..] = options {
        match code {
            0 => options = &options[1..],
            53 => return rest.first() == Some(&2),
            _ => options = rest.get(usize::from(*length)..).unwrap_or_default(),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Hub;

    /// What a server makes of the question: the same frame with an answer's marks.
    fn answer(kind: u8) -> Vec<u8> {
        let mut frame = discover();
        frame[42] = 2;
        let at = frame.windows(3).position(|part| part == [53, 1, 1]).unwrap();
        frame[at + 2] = kind;
        frame
    }

    #[test]
    fn only_an_offer_to_the_asker_is_one() {
        assert!(is_offer(&answer(2)));
        assert!(!is_offer(&answer(5)), "an ACK");
        assert!(!is_offer(&discover()), "the question");
        let mut other = answer(2);
        other[42 + 28] ^= 1;
        assert!(!is_offer(&other), "for another machine");
        for length in 0..answer(2).len() - 60 {
            is_offer(&answer(2)[..length]);
        }
    }

    #[test]
    fn the_question_has_a_header_that_adds_up() {
        let frame = discover();
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
                if frames.take(&buffer[..count]).contains(&discover()) {
                    break;
                }
            }
            for kind in [5, 2] {
                let frame = answer(kind);
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
