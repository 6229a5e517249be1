//! A file fetched by TFTP: RFC 1350 with the options of RFC 2347 to 2349 and the windows of RFC 7440, as clients do it.

use std::time::Duration;

use crate::{
    content::{Content, Growing},
    firmware::Habits,
    tftp::{self, FromServer},
};

/// What a block has without an option (RFC 1350).
const PLAIN_BLOCK: u16 = 512;
/// How long a client that stays repeats its last acknowledgement.
const STAYS: Duration = Duration::from_secs(5);

/// What a server did that it must not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not a packet of a TFTP server.
    #[error("not a packet of a TFTP server: {0:?}")]
    NoPacket(Vec<u8>),
    /// It grants what was not asked for, or more than that.
    #[error("{0} {1} was granted")]
    Granted(String, u64),
    /// It grants something after blocks have come, or grants again something else.
    #[error("options granted within the transfer")]
    Late,
    /// A block is longer than agreed.
    #[error("block {0} has {1} bytes")]
    Long(u64, usize),
    /// The file is not as long as it was said to be.
    #[error("{0} bytes were announced and {1} came")]
    Size(u64, u64),
}

/// Something to do about a fetch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing.
    None,
    /// Send this to that port of the server's.
    Say(u16, Vec<u8>),
    /// Send this; all is there.
    Done(u16, Vec<u8>, Content),
    /// The server says no.
    Refused(u16),
    /// It has asked as often as it does.
    GaveUp,
    /// The server did what it must not do.
    Fault(Fault),
}

/// A fetch in progress.
#[derive(Debug)]
pub(crate) struct Fetch {
    habits: Habits,
    /// It wants the size alone.
    sizing: bool,
    /// The server's port of this transfer, once it has answered.
    server: Option<u16>,
    request: Vec<u8>,
    /// What the OACK said, word for word.
    granted: Option<Vec<u8>>,
    block: usize,
    window: u16,
    size: Option<u64>,
    /// The next block, counted from 1.
    next: u64,
    since_ack: u16,
    gap_told: bool,
    got: Growing,
    done: bool,
    tries: usize,
    deadline: Duration,
}

impl Fetch {
    /// Asks for `file`; with `sizing` for its size alone.
    pub(crate) fn start(habits: Habits, file: &str, sizing: bool, now: Duration) -> (Self, Vec<u8>) {
        let habits = Habits { window: habits.window.filter(|_| !sizing), ..habits };
        let mut options = Vec::new();
        options.extend(habits.size.then_some(("tsize", 0)));
        options.extend(habits.block.map(|block| ("blksize", u64::from(block))));
        options.extend(habits.timeout.map(|timeout| ("timeout", u64::from(timeout))));
        options.extend(habits.window.map(|window| ("windowsize", u64::from(window))));
        let request = tftp::read_request(file, &options);
        let fetch = Self {
            habits,
            sizing,
            server: None,
            request: request.clone(),
            granted: None,
            block: PLAIN_BLOCK.into(),
            window: 1,
            size: None,
            next: 1,
            since_ack: 0,
            gap_told: false,
            got: Growing::default(),
            done: false,
            tries: 0,
            deadline: now + habits.waits.first().copied().unwrap_or_default(),
        };
        (fetch, request)
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// How many blocks have come in order.
    pub(crate) fn blocks(&self) -> u64 {
        self.next - 1
    }

    /// A datagram came from this port of the server's.
    pub(crate) fn heard(&mut self, now: Duration, from: u16, packet: &[u8]) -> News {
        if self.server.is_some_and(|server| server != from) {
            // An answer to a request that was repeated, or somebody else's: RFC 1350 § 4.
            let is_error = packet.starts_with(&[0, 5]);
            let no = tftp::error(tftp::UNKNOWN_TID, "unknown transfer ID");
            return if is_error { News::None } else { News::Say(from, no) };
        }
        let Some(heard) = FromServer::read(packet) else {
            return News::Fault(Fault::NoPacket(packet.iter().take(64).copied().collect()));
        };
        match heard {
            FromServer::Error(code, _) if !self.done => News::Refused(code),
            FromServer::Error(..) => News::None,
            FromServer::Oack(granted) => self.oack(now, from, &granted, packet),
            FromServer::Data(number, data) => self.data(now, from, number, data),
        }
    }

    /// The time is up.
    pub(crate) fn due(&mut self, now: Duration) -> News {
        if now < self.deadline {
            return News::None;
        }
        self.tries += 1;
        let Some(wait) = self.habits.waits.get(self.tries) else { return News::GaveUp };
        self.deadline = now + *wait;
        self.gap_told = false;
        self.since_ack = 0;
        News::Say(self.server.unwrap_or(tftp::PORT), self.repetition())
    }

    /// What is said again: the request while nothing came, else how far it is.
    fn repetition(&self) -> Vec<u8> {
        if self.server.is_none() {
            self.request.clone()
        } else {
            tftp::acknowledgement((self.next - 1) as u16)
        }
    }

    fn oack(&mut self, now: Duration, from: u16, granted: &[(&str, u64)], packet: &[u8]) -> News {
        if self.granted.as_deref().is_some_and(|before| before != packet)
            || (self.granted.is_none() && self.next > 1)
        {
            return News::Fault(Fault::Late);
        }
        for (name, value) in granted {
            let asked = match *name {
                "blksize" => self.habits.block.map(u64::from).filter(|asked| (8..=*asked).contains(value)),
                "windowsize" => {
                    self.habits.window.map(u64::from).filter(|asked| (1..=*asked).contains(value))
                }
                "timeout" => self.habits.timeout.map(u64::from).filter(|asked| asked == value),
                "tsize" => self.habits.size.then_some(*value),
                _ => None,
            };
            if asked.is_none() {
                return News::Fault(Fault::Granted((*name).to_owned(), *value));
            }
            match *name {
                "blksize" => self.block = *value as usize,
                "windowsize" => self.window = *value as u16,
                "tsize" => self.size = Some(*value),
                _ => {}
            }
        }
        if self.sizing {
            let no = tftp::error(tftp::REFUSES_OPTIONS, "only the size was wanted");
            return News::Done(from, no, Content { length: self.size.unwrap_or_default(), sum: 0 });
        }
        if self.next > 1 {
            return News::None;
        }
        self.server = Some(from);
        if self.granted.replace(packet.to_vec()).is_none() {
            self.heard_news(now);
        }
        News::Say(from, tftp::acknowledgement(0))
    }

    fn data(&mut self, now: Duration, from: u16, number: u16, data: &[u8]) -> News {
        self.server = Some(from);
        if data.len() > self.block {
            return News::Fault(Fault::Long(self.next, data.len()));
        }
        if self.done || number != self.next as u16 {
            return self.out_of_order(from, number);
        }
        self.heard_news(now);
        self.gap_told = false;
        self.got.add(data);
        self.next += 1;
        self.since_ack += 1;
        self.done = data.len() < self.block;
        let acknowledgement = tftp::acknowledgement(number);
        if self.done {
            let content = self.got.content();
            return match self.size {
                Some(size) if size != content.length => News::Fault(Fault::Size(size, content.length)),
                _ => News::Done(from, acknowledgement, content),
            };
        }
        if self.since_ack >= self.window {
            self.since_ack = 0;
            return News::Say(from, acknowledgement);
        }
        News::None
    }

    /// RFC 7440 § 4: a gap is told once, and a repetition of the last block means that its acknowledgement was lost. Without
    /// windows every repetition of the last block is acknowledged (RFC 1350 § 2).
    fn out_of_order(&mut self, from: u16, number: u16) -> News {
        let behind = (self.next as u16).wrapping_sub(number) <= self.window.saturating_mul(2).max(2);
        let repeated = behind && self.since_ack == 0 && number == (self.next - 1) as u16;
        let gap = !behind && !std::mem::replace(&mut self.gap_told, true);
        if !repeated && !gap {
            return News::None;
        }
        self.since_ack = 0;
        News::Say(from, tftp::acknowledgement((self.next - 1) as u16))
    }

    fn heard_news(&mut self, now: Duration) {
        self.tries = 0;
        self.deadline = now + self.habits.waits.first().copied().unwrap_or_default();
    }

    /// Until when it stays to repeat its last acknowledgement, from `now` on.
    pub(crate) fn stays(&self, now: Duration) -> Option<Duration> {
        (self.habits.stays && self.done).then_some(now + STAYS)
    }
}
