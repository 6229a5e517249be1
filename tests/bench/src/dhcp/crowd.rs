//! Many machines at the clients' end of the cable: each takes an address by DISCOVER, OFFER, REQUEST and ACK, and is never
//! heard of again. One socket hears for all. They speak in frames of their own, many handed to the kernel at a time: one
//! core must be able to ask for several times what another one can give.

use std::{
    io::IoSlice,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::ifaddrs::getifaddrs;
use pilotlight_lab::MacAddr;
use pilotlight_machines::frame;
use pilotlight_tests::namespace::CLIENT;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg},
};
use socket2::{Domain, Protocol, Socket, Type};

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
/// The fixed part of a message with the cookie, in bytes.
const FIXED: usize = 240;
/// Who waits longer for an answer says the same again, where the number of those who ask is kept up.
const AGAIN: Duration = Duration::from_secs(1);
/// How much may wait in the socket, in bytes: the crowd must not be what loses answers.
const ROOM: usize = 4 << 20;

/// How the machines come.
pub(crate) enum Load {
    /// So many at a time: when one has its address the next one comes.
    Saturating { machines: u32 },
    /// So many in each second, whatever becomes of them.
    Offered { each_second: f64 },
}

/// What became of them.
pub(crate) struct Outcome {
    /// How many have an address.
    pub(crate) completed: u32,
    /// How many came.
    came: u32,
    took: Duration,
    /// From DISCOVER to ACK, sorted.
    waited: Vec<Duration>,
}

impl Outcome {
    /// Exchanges in a second.
    pub(crate) fn rate(&self) -> f64 {
        f64::from(self.completed) / self.took.as_secs_f64()
    }

    /// How many machines came in a second.
    pub(crate) fn offered(&self) -> f64 {
        f64::from(self.came) / self.took.as_secs_f64()
    }

    /// How long an exchange took, in milliseconds: of all, `part` took no longer.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let at = (self.waited.len().saturating_sub(1) as f64 * part) as usize;
        self.waited.get(at).map_or(f64::NAN, |waited| waited.as_secs_f64() * 1e3)
    }
}

/// How far a machine has come.
#[derive(Clone, Copy)]
struct Machine {
    came: Instant,
    /// When it last spoke.
    spoke: Instant,
    /// What it was offered, and by whom.
    offer: Option<(Ipv4Addr, Ipv4Addr)>,
    done: bool,
}

/// The clients' end.
pub(crate) struct Crowd {
    /// Hears.
    socket: UdpSocket,
    /// Speaks.
    frames: Socket,
}

impl Crowd {
    pub(crate) fn gather() -> Result<Self> {
        let open = || {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_nonblocking(true)?;
            socket.set_reuse_address(true)?;
            socket.set_recv_buffer_size(ROOM)?;
            socket.bind_device(Some(CLIENT.as_bytes()))?;
            socket.bind(&SocketAddr::from(([0, 0, 0, 0], 68)).into())?;
            Ok::<UdpSocket, std::io::Error>(socket.into())
        };
        let socket = open().context("could not open the clients' port")?;
        let link = getifaddrs().context("could not list the interfaces")?.find_map(|entry| {
            let link = entry.address.as_ref().and_then(|address| address.as_link_addr()).copied();
            link.filter(|_| entry.interface_name == CLIENT)
        });
        let link = link.with_context(|| format!("there is no interface {CLIENT}"))?;
        // Of no protocol: it takes nothing in.
        let frames =
            Socket::new(Domain::PACKET, Type::RAW, None).context("could not open a socket for frames")?;
        nix::sys::socket::bind(frames.as_raw_fd(), &link).context("could not bind the socket for frames")?;
        Ok(Self { socket, frames })
    }

    /// Has one machine ask until it is offered an address: then the server is up.
    pub(crate) fn wait_for_a_server(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let mut buffer = [0; 2048];
        // What came late for those who went before.
        while self.socket.recv(&mut buffer).is_ok() {}
        let probe = u32::MAX;
        while Instant::now() < end {
            self.say(&[said(probe, DISCOVER, None)])?;
            let until = Instant::now() + Duration::from_millis(50);
            while Instant::now() < until {
                self.wait(until)?;
                if let Ok(length) = self.socket.recv(&mut buffer)
                    && heard(&buffer[..length]).is_some_and(|answer| answer.machine == probe)
                {
                    return Ok(());
                }
            }
        }
        anyhow::bail!("the server offers nothing within {} s", limit.as_secs())
    }

    /// Has machines come for `time`, at most `most`, and says what became of them by then.
    pub(crate) fn run(&self, load: &Load, time: Duration, most: u32) -> Result<Outcome> {
        let start = Instant::now();
        let (mut machines, mut completed, mut waited) = (Vec::<Machine>::new(), 0, Vec::new());
        // The first that may still have to speak again.
        let mut oldest = 0;
        let mut buffer = [0; 2048];
        let mut looked = start;
        let mut words: Vec<Vec<u8>> = Vec::new();
        loop {
            let now = Instant::now();
            if now >= start + time || completed == most {
                break;
            }
            let wanted = match load {
                Load::Saturating { machines: at_a_time } => completed.saturating_add(*at_a_time).min(most),
                Load::Offered { each_second } => ((now - start).as_secs_f64() * each_second) as u32,
            };
            // Not all at a time, so that answers are heard in between; and several for each answer that is.
            let mut heard_any = false;
            for _ in 0..384 {
                let next = u32::try_from(machines.len()).context("too many machines")?;
                if next >= wanted {
                    break;
                }
                machines.push(Machine { came: now, spoke: now, offer: None, done: false });
                words.push(said(next, DISCOVER, None));
            }
            for _ in 0..4096 {
                let Ok(length) = self.socket.recv(&mut buffer) else { break };
                heard_any = true;
                let Some(answer) = heard(&buffer[..length]) else { continue };
                let Some(machine) = machines.get_mut(answer.machine as usize) else { continue };
                match answer.kind {
                    OFFER if machine.offer.is_none() => {
                        machine.offer = Some((answer.address, answer.server));
                        machine.spoke = Instant::now();
                        words.push(said(answer.machine, REQUEST, machine.offer));
                    }
                    ACK if !machine.done => {
                        ensure!(
                            machine.offer.is_some_and(|(address, _)| address == answer.address),
                            "{} was acknowledged and not offered",
                            answer.address
                        );
                        machine.done = true;
                        completed += 1;
                        waited.push(machine.came.elapsed());
                    }
                    _ => {}
                }
            }
            if matches!(load, Load::Saturating { .. }) && now - looked > AGAIN / 4 {
                looked = now;
                while machines.get(oldest).is_some_and(|machine| machine.done) {
                    oldest += 1;
                }
                for (at, machine) in machines.iter_mut().enumerate().skip(oldest) {
                    if !machine.done && now - machine.spoke > AGAIN {
                        machine.spoke = now;
                        let kind = if machine.offer.is_some() { REQUEST } else { DISCOVER };
                        words.push(said(at as u32, kind, machine.offer));
                    }
                }
            }
            self.say(&words)?;
            words.clear();
            let next = u32::try_from(machines.len()).context("too many machines")?;
            if !heard_any && next >= wanted {
                self.wait(now + Duration::from_millis(1))?;
            }
        }
        waited.sort_unstable();
        let came = u32::try_from(machines.len()).context("too many machines")?;
        Ok(Outcome { completed, came, took: start.elapsed(), waited })
    }

    fn wait(&self, until: Instant) -> Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(fault) => Err(fault).context("could not wait for answers"),
        }
    }

    /// Puts these frames on the wire.
    fn say(&self, frames: &[Vec<u8>]) -> Result<()> {
        for frames in frames.chunks(128) {
            let frames: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
            let mut nothing: Vec<_> = frames.iter().map(|_| SendAncillaryBuffer::default()).collect();
            let messages = frames.iter().zip(&mut nothing).map(|(frame, with)| MMsgHdr::new(frame, with));
            let mut messages: Vec<MMsgHdr<'_>> = messages.collect();
            let mut left = &mut messages[..];
            while !left.is_empty() {
                let sent =
                    sendmmsg(&self.frames, left, SendFlags::empty()).context("could not send frames")?;
                left = &mut left[sent..];
            }
        }
        Ok(())
    }
}

/// The frame in which a machine says this.
fn said(machine: u32, kind: u8, offer: Option<(Ipv4Addr, Ipv4Addr)>) -> Vec<u8> {
    let [a, b, c, d] = machine.to_be_bytes();
    let mac = MacAddr([0x52, 0x54, a, b, c, d]);
    let mut message = [0; 300];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[4..8].copy_from_slice(&machine.to_be_bytes());
    // Answers by broadcast: one socket hears them all.
    message[10] = 0x80;
    message[28..34].copy_from_slice(&mac.0);
    message[236..FIXED].copy_from_slice(&[99, 130, 83, 99]);
    let mut at = FIXED;
    let mut option = |bytes: &[u8]| {
        message[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    option(&[53, 1, kind]);
    option(&[55, 7, 1, 3, 6, 12, 15, 28, 42]);
    if let Some((address, server)) = offer {
        let ([a, b, c, d], [e, f, g, h]) = (address.octets(), server.octets());
        option(&[50, 4, a, b, c, d, 54, 4, e, f, g, h]);
    }
    option(&[255]);
    frame::question(mac, &message)
}

/// An answer.
struct Answer {
    machine: u32,
    kind: u8,
    address: Ipv4Addr,
    server: Ipv4Addr,
}

fn heard(bytes: &[u8]) -> Option<Answer> {
    let fixed = bytes.first_chunk::<FIXED>()?;
    let four = |at: usize| <[u8; 4]>::try_from(&fixed[at..at + 4]).ok();
    let (mut kind, mut server, mut rest) = (None, None, bytes.get(FIXED..)?);
    while let [code, after @ ..] = rest {
        if *code == 0 {
            rest = after;
            continue;
        }
        let Some((length, after)) = after.split_first() else { break };
        let Some((value, after)) = after.split_at_checked(usize::from(*length)) else { break };
        match code {
            53 => kind = value.first().copied(),
            54 => server = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from),
            _ => {}
        }
        rest = after;
    }
    // Only to machines of the crowd, each of which has its number in its address as well.
    (fixed[0] == 2 && fixed[28..30] == [0x52, 0x54] && fixed[30..34] == fixed[4..8]).then_some(())?;
    Some(Answer {
        machine: u32::from_be_bytes(four(4)?),
        kind: kind?,
        address: Ipv4Addr::from(four(16)?),
        server: server?,
    })
}
