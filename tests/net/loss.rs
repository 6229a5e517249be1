//! A UDP relay that loses packets: TFTP through it goes on a bad wire, decided from a seed.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result};
use pilotlight_emulator::fault::{Fate, Faults, Verdict};

/// A relay; its threads end with the scene's process.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    lost: Arc<AtomicU64>,
}

/// One client's transfer: the relay's socket towards the server, and the server's port for the transfer.
struct Leg {
    upstream: UdpSocket,
    server: Arc<Mutex<SocketAddr>>,
}

struct Wire {
    fate: Mutex<Fate>,
    single_port: bool,
    lost: Arc<AtomicU64>,
}

impl Wire {
    fn passes(&self) -> bool {
        let verdict = self.fate.lock().unwrap_or_else(PoisonError::into_inner).decide();
        if verdict == Verdict::Lose {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        verdict != Verdict::Lose
    }
}

impl Relay {
    /// Relays what comes to a port of its own to the TFTP server `server`, and loses as `faults` says in both
    /// directions.
    pub(crate) fn start(server: SocketAddr, faults: Faults) -> Result<Self> {
        Self::open(server, faults, false)
    }

    /// The same, for a wire on which nothing comes back but from the port that requests went to, as a firewall has it.
    pub(crate) fn start_single_port(server: SocketAddr, faults: Faults) -> Result<Self> {
        Self::open(server, faults, true)
    }

    fn open(server: SocketAddr, faults: Faults, single_port: bool) -> Result<Self> {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("could not open the relay")?;
        let address = front.local_addr()?;
        let lost = Arc::new(AtomicU64::new(0));
        let wire = Arc::new(Wire { fate: Mutex::new(Fate::new(faults)), single_port, lost: lost.clone() });
        thread::spawn(move || serve(&front, server, &wire));
        Ok(Self { address, lost })
    }

    /// How many packets it has lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

fn serve(front: &UdpSocket, server: SocketAddr, wire: &Arc<Wire>) -> io::Result<()> {
    let mut legs: BTreeMap<SocketAddr, Leg> = BTreeMap::new();
    let mut buffer = [0; 65536];
    loop {
        let (length, client) = front.recv_from(&mut buffer)?;
        let packet = &buffer[..length];
        // A request (opcodes 1 and 2) begins a transfer; the rest belongs to one.
        if matches!(packet, [0, 1 | 2, ..]) || !legs.contains_key(&client) {
            legs.insert(client, Leg::open(front, client, server, wire)?);
        }
        if let Some(leg) = legs.get(&client)
            && wire.passes()
        {
            let to = *leg.server.lock().unwrap_or_else(PoisonError::into_inner);
            leg.upstream.send_to(packet, to)?;
        }
    }
}

impl Leg {
    fn open(front: &UdpSocket, client: SocketAddr, server: SocketAddr, wire: &Arc<Wire>) -> io::Result<Self> {
        let upstream = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        if wire.single_port {
            // From now on the kernel takes packets from there alone.
            upstream.connect(server)?;
        }
        let leg = Self { upstream: upstream.try_clone()?, server: Arc::new(Mutex::new(server)) };
        let (front, port, wire) = (front.try_clone()?, leg.server.clone(), wire.clone());
        thread::spawn(move || -> io::Result<()> {
            let mut buffer = [0; 65536];
            loop {
                let (length, from) = upstream.recv_from(&mut buffer)?;
                *port.lock().unwrap_or_else(PoisonError::into_inner) = from;
                if wire.passes() {
                    front.send_to(&buffer[..length], client)?;
                }
            }
        });
        Ok(leg)
    }
}
