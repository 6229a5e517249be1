//! A client that does as little as a client can: it reads a block, compares it with what it should be, and
//! acknowledges when a window is full. Other people's clients write to a file and look at the clock meanwhile.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// How long it waits before it says again what it said last.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST_TRIES: u32 = 10;

/// How a file is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) block: u16,
    pub(crate) window: u16,
    /// How long it keeps each acknowledgement back, as a wire does that takes this for a round trip.
    pub(crate) hold: Duration,
}

impl Terms {
    /// The request for `file`: RFC 1350 alone has blocks of 512 bytes and no window.
    fn request(self, file: &str) -> Vec<u8> {
        let mut request = format!("\0\x01{file}\0octet\0");
        if self.block != 512 {
            request += &format!("blksize\0{}\0", self.block);
        }
        if self.window != 1 {
            request += &format!("windowsize\0{}\0", self.window);
        }
        request.into_bytes()
    }

    fn has_options(self) -> bool {
        self.block != 512 || self.window != 1
    }
}

/// Fetches `file` from `server` and holds it against `expected`. Gives the time from the request to the last block.
pub(crate) fn fetch(server: SocketAddr, file: &str, terms: Terms, expected: &[u8]) -> Result<Duration> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("could not open a port")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let start = Instant::now();
    let mut wire = Wire { socket, buffer: vec![0; 65536], last: terms.request(file), server, tries: 0 };
    wire.say()?;
    // The first answer comes from the port of the transfer, and everything after it as well.
    let (mut length, port) = loop {
        match wire.socket.recv_from(&mut wire.buffer) {
            Ok(answer) => break answer,
            Err(fault) => wire.again(&fault)?,
        }
    };
    wire.server = port;
    wire.socket.connect(port)?;
    let window = match (&wire.buffer[..length], terms.has_options()) {
        ([0, 6, options @ ..], true) => {
            let window = granted(options, "windowsize").unwrap_or(1);
            ensure!(granted(options, "blksize").unwrap_or(512) == u64::from(terms.block), "another blksize");
            wire.last = vec![0, 4, 0, 0];
            wire.say()?;
            length = wire.hear()?;
            window
        }
        (_, false) => 1,
        (other, true) => bail!("no OACK but {:?}", &other[..other.len().min(40)]),
    };
    let (mut number, mut at, mut unanswered) = (1_u16, 0, 0);
    loop {
        let [0, 3, high, low, data @ ..] = &wire.buffer[..length] else {
            bail!("no block but {:?}", &wire.buffer[..length.min(80)]);
        };
        if u16::from_be_bytes([*high, *low]) == number {
            ensure!(expected.get(at..at + data.len()) == Some(data), "the bytes from {at} on are wrong");
            at += data.len();
            unanswered += 1;
            let last = data.len() < usize::from(terms.block);
            if last || unanswered >= window {
                // A sleep would take longer than what is wanted.
                let heard = Instant::now();
                while heard.elapsed() < terms.hold {
                    std::hint::spin_loop();
                }
                wire.last = [[0, 4], number.to_be_bytes()].concat();
                wire.say()?;
                unanswered = 0;
            }
            if last {
                break;
            }
            number = number.wrapping_add(1);
        }
        length = wire.hear()?;
    }
    let took = start.elapsed();
    ensure!(at == expected.len(), "{at} bytes came instead of {}", expected.len());
    Ok(took)
}

struct Wire {
    socket: UdpSocket,
    buffer: Vec<u8>,
    last: Vec<u8>,
    server: SocketAddr,
    tries: u32,
}

impl Wire {
    fn say(&self) -> io::Result<()> {
        match self.socket.peer_addr() {
            Ok(_) => self.socket.send(&self.last).map(drop),
            Err(_) => self.socket.send_to(&self.last, self.server).map(drop),
        }
    }

    fn hear(&mut self) -> Result<usize> {
        loop {
            match self.socket.recv(&mut self.buffer) {
                Ok(length) => {
                    self.tries = 0;
                    return Ok(length);
                }
                Err(fault) => self.again(&fault)?,
            }
        }
    }

    fn again(&mut self, fault: &io::Error) -> Result<()> {
        self.tries += 1;
        ensure!(self.tries < MOST_TRIES, "{} does not answer: {fault}", self.server);
        // A server that has only just been started may not be there yet.
        if fault.kind() == io::ErrorKind::ConnectionRefused {
            std::thread::sleep(PATIENCE / 10);
        }
        Ok(self.say()?)
    }
}

fn granted(options: &[u8], wanted: &str) -> Option<u64> {
    let texts: Vec<&str> =
        options.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok()).collect();
    let pair = texts.chunks_exact(2).find(|pair| pair[0].eq_ignore_ascii_case(wanted))?;
    pair[1].parse().ok()
}
