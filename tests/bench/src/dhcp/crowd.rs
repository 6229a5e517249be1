//! Many machines at the clients' end of the cable, played by one socket: each takes an address by DISCOVER, OFFER, REQUEST
//! and ACK, and is never heard of again.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::namespace::CLIENT;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
    took: Duration,
    /// From DISCOVER to ACK, sorted.
    waited: Vec<Duration>,
}

impl Outcome {
    /// Exchanges in a second.
    pub(crate) fn rate(&self) -> f64 {
        f64::from(self.completed) / self.took.as_secs_f64()
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
    socket: UdpSocket,
}

impl Crowd {
    pub(crate) fn gather() -> Result<Self> {
        let open = || {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_nonblocking(true)?;
            socket.set_reuse_address(true)?;
            socket.set_broadcast(true)?;
            socket.set_recv_buffer_size(ROOM)?;
            socket.bind_device(Some(CLIENT.as_bytes()))?;
            socket.bind(&SocketAddr::from(([0, 0, 0, 0], 68)).into())?;
            Ok::<UdpSocket, std::io::Error>(socket.into())
        };
        Ok(Self { socket: open().context("could not open the clients' port")? })
    }

    /// Has one machine ask until it is offered an address: then the server is up.
    pub(crate) fn wait_for_a_server(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let mut buffer = [0; 2048];
        // What came late for those who went before.
        while self.socket.recv(&mut buffer).is_ok() {}
        let probe = u32::MAX;
        while Instant::now() < end {
            // A server that is not there yet is no fault.
            let _ = self.say(probe, DISCOVER, None);
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
        loop {
            let now = Instant::now();
            if now >= start + time || completed == most {
                break;
            }
            let wanted = match load {
                Load::Saturating { machines: at_a_time } => completed.saturating_add(*at_a_time).min(most),
                Load::Offered { each_second } => ((now - start).as_secs_f64() * each_second) as u32,
            };
            // A few at a time, so that answers are heard in between.
            let mut heard_any = false;
            for _ in 0..32 {
                let next = u32::try_from(machines.len()).context("too many machines")?;
                if next >= wanted {
                    break;
                }
                machines.push(Machine { came: now, spoke: now, offer: None, done: false });
                let _ = self.say(next, DISCOVER, None);
            }
            for _ in 0..64 {
                let Ok(length) = self.socket.recv(&mut buffer) else { break };
                heard_any = true;
                let Some(answer) = heard(&buffer[..length]) else { continue };
                let Some(machine) = machines.get_mut(answer.machine as usize) else { continue };
                match answer.kind {
                    OFFER if machine.offer.is_none() => {
                        machine.offer = Some((answer.address, answer.server));
                        machine.spoke = Instant::now();
                        let _ = self.say(answer.machine, REQUEST, machine.offer);
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
                        let _ = self.say(at as u32, kind, machine.offer);
                    }
                }
            }
            let next = u32::try_from(machines.len()).context("too many machines")?;
            if !heard_any && next >= wanted {
                self.wait(now + Duration::from_millis(1))?;
            }
        }
        waited.sort_unstable();
        Ok(Outcome { completed, took: start.elapsed(), waited })
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

    fn say(&self, machine: u32, kind: u8, offer: Option<(Ipv4Addr, Ipv4Addr)>) -> std::io::Result<usize> {
        let mut message = [0; 300];
        message[..4].copy_from_slice(&[1, 1, 6, 0]);
        message[4..8].copy_from_slice(&machine.to_be_bytes());
        // Answers by broadcast: one socket hears them all.
        message[10] = 0x80;
        message[28..30].copy_from_slice(&[0x52, 0x54]);
        message[30..34].copy_from_slice(&machine.to_be_bytes());
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
        self.socket.send_to(&message, SocketAddr::from(([255, 255, 255, 255], 67)))
    }
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
