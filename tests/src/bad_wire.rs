//! A cable that loses, doubles and delays: two TAP devices, and in between a relay that does so with whole frames. Kernels
//! built without `netem` have nothing of the kind.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use pilotlight_emulator::fault::Random;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    ioctl::{Setter, ioctl, opcode},
};

/// How bad it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Frames that are lost, in thousandths.
    pub lost: u64,
    /// Frames that come twice, in thousandths.
    pub doubled: u64,
    /// What a frame takes longer at most; each draws its own.
    pub jitter: Duration,
    /// Whether frames overtake each other. Where they do not, as on any single wire, the slow hold up the quick.
    pub overtake: bool,
    /// Where the draws begin.
    pub seed: u64,
}

/// The longest frame, in bytes: nothing here is larger than an Ethernet's.
const LONGEST: usize = 2048;
/// How many frames are on their way at most; more are lost, as in any queue.
const MOST: usize = 20_000;

/// `struct ifreq` (netdevice(7)).
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// linux/if_tun.h.
const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);
const IFF_TAP: u16 = 2;
const IFF_NO_PI: u16 = 0x1000;

/// Makes the TAP device `name` in this network namespace. It is there for as long as the file is open.
pub(crate) fn tap(name: &str) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open("/dev/net/tun", flags, Mode::empty())
        .context("could not open /dev/net/tun: a cable that loses frames is made of TAP devices")?;
    let mut request = Request { name: [0; 16], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
    for (to, from) in request.name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: TUNSETIFF reads a `struct ifreq`, whose layout and size `Request` has.
    unsafe { ioctl(&file, Setter::<TUNSETIFF, Request>::new(request)) }
        .with_context(|| format!("could not make the TAP device {name}"))?;
    Ok(file.into())
}

/// Joins the two until the process ends.
pub(crate) fn join(one: File, other: File, weather: Weather) {
    let (one, other) = (Arc::new(one), Arc::new(other));
    for (turn, (from, to)) in [(one.clone(), other.clone()), (other, one)].into_iter().enumerate() {
        let way = Way {
            dice: Random::new(weather.seed ^ (turn as u64 + 1) << 32),
            weather,
            late: BinaryHeap::new(),
            count: 0,
            last: Instant::now(),
        };
        thread::spawn(move || way.carry(&from, &to));
    }
}

/// One direction.
struct Way {
    weather: Weather,
    dice: Random,
    late: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    count: u64,
    /// When the last one arrives.
    last: Instant,
}

impl Way {
    fn carry(mut self, from: &File, to: &File) {
        let mut buffer = [0; LONGEST];
        loop {
            let now = Instant::now();
            while self.late.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
                if let Some(Reverse((_, _, frame))) = self.late.pop() {
                    // What the other end does not take is lost, as on any wire.
                    let _ = (&*to).write(&frame);
                }
            }
            let wait = self.late.peek().map(|Reverse((at, ..))| at.saturating_duration_since(now));
            let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
            let _ = poll(&mut [PollFd::new(from, PollFlags::IN)], wait.as_ref());
            // So many in one go that what is late is not much later.
            for _ in 0..64 {
                match (&*from).read(&mut buffer) {
                    Ok(length) => self.take(&buffer[..length], to),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // The device is gone, and with it the scene.
                    Err(_) => return,
                }
            }
        }
    }

    fn take(&mut self, frame: &[u8], to: &File) {
        let copies = 1 + u64::from(self.dice.below(1000) < self.weather.doubled);
        for _ in 0..copies {
            if self.dice.below(1000) < self.weather.lost || self.late.len() >= MOST {
                continue;
            }
            let jitter = Duration::from_micros(self.dice.below(self.weather.jitter.as_micros() as u64));
            if jitter.is_zero() {
                let _ = (&*to).write(frame);
                continue;
            }
            let at = Instant::now() + jitter;
            self.last = self.last.max(at);
            self.count += 1;
            let at = if self.weather.overtake { at } else { self.last };
            self.late.push(Reverse((at, self.count, frame.to_vec())));
        }
    }
}
