//! A switching Ethernet hub for any number of guests: what one sends to everybody or to a stranger, all others get,
//! and what it sends to somebody who has been heard, that one alone (IEEE 802.1D § 7.8).
//!
//! Guests connect with `-netdev stream,server=off,addr.type=unix,addr.path=…`, which sends each frame behind its
//! length as four big-endian bytes. A guest that does not read loses frames, as on a real wire; it never holds up the
//! others. (It began as a plain hub. QEMU's own DHCP server takes every frame for its own, and resets other people's
//! connections.)

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use crate::{
    fault::{Fate, Faults, Verdict},
    pcap::Recorder,
};

/// The longest frame QEMU sends (its `NET_BUFSIZE`). A longer one means that the other end is no QEMU.
const LONGEST_FRAME: usize = 4096 + 65536;
/// Two addresses and a type.
const SHORTEST_FRAME: usize = 14;
/// Hardware addresses that are remembered: far more than a scene has.
const MOST_ADDRESSES: usize = 1024;
/// Frames that wait for a guest before it begins to lose some: a TFTP window or two of TCP segments.
const QUEUE_FRAMES: usize = 4096;

/// A running hub. Dropping it closes every port and removes the socket.
#[derive(Debug)]
pub struct Hub {
    path: PathBuf,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What has passed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Guests that are connected.
    pub ports: u64,
    /// Frames that came in.
    pub frames: u64,
    /// Their bytes, without the length in front.
    pub bytes: u64,
    /// Frames that a guest missed because it did not read fast enough.
    pub overrun: u64,
    /// Frames that the [`Faults`] lost, doubled or held back.
    pub faults: u64,
    /// Connections closed because what came was no frame.
    pub hostile: u64,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    ports: Mutex<BTreeMap<u64, Port>>,
    wire: Mutex<Wire>,
    frames: AtomicU64,
    bytes: AtomicU64,
    overrun: AtomicU64,
    faults: AtomicU64,
    hostile: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A frame as it goes out: length in front.
type Packed = Arc<[u8]>;

struct Port {
    stream: UnixStream,
    queue: SyncSender<Packed>,
}

#[derive(Default)]
struct Wire {
    recorder: Option<Recorder>,
    fate: Option<Fate>,
    /// The port on which each hardware address was last heard.
    heard: BTreeMap<[u8; 6], u64>,
    /// Late frames, each with its sender, its port and the number of frames that have yet to overtake it.
    late: VecDeque<(u64, Option<u64>, Packed, usize)>,
}

impl Hub {
    /// Opens a hub on the Unix socket `path` (at most 107 bytes long, as the kernel has it) and records what
    /// passes to `recording`.
    pub fn start(path: &Path, recording: Option<&Path>) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let shared = Arc::new(Shared::default());
        lock(&shared.wire).recorder = recording.map(Recorder::create).transpose()?;
        let acceptor = {
            let shared = shared.clone();
            thread::Builder::new().name("hub".to_owned()).spawn(move || accept(&listener, &shared))?
        };
        Ok(Self { path: path.to_owned(), shared, acceptor: Some(acceptor) })
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the wire a bad one from here on, or a good one again.
    pub fn set_faults(&self, faults: Option<Faults>) {
        lock(&self.shared.wire).fate = faults.map(Fate::new);
    }

    /// What has passed so far.
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        Counters {
            ports: lock(&shared.ports).len() as u64,
            frames: read(&shared.frames),
            bytes: read(&shared.bytes),
            overrun: read(&shared.overrun),
            faults: read(&shared.faults),
            hostile: read(&shared.hostile),
        }
    }

    /// Writes out what the recording still holds in memory.
    pub fn flush(&self) -> io::Result<()> {
        lock(&self.shared.wire).recorder.as_mut().map_or(Ok(()), Recorder::flush)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it is time to go.
        let woken = UnixStream::connect(&self.path);
        for port in std::mem::take(&mut *lock(&self.shared.ports)).into_values() {
            let _ = port.stream.shutdown(Shutdown::Both);
        }
        if let (Ok(_), Some(acceptor)) = (woken, self.acceptor.take()) {
            let _ = acceptor.join();
        }
        let _ = self.flush();
        let _ = fs::remove_file(&self.path);
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for number in 0.. {
        let stream = listener.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        // One that hung up at once, or no descriptors left for it: the others go on.
        let Ok((stream, _)) = stream else { continue };
        if let Err(fault) = plug_in(number, stream, shared) {
            eprintln!("hub: could not take a guest in: {fault}");
        }
    }
}

fn plug_in(number: u64, stream: UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    let (queue, waiting) = sync_channel(QUEUE_FRAMES);
    let (input, output) = (stream.try_clone()?, stream.try_clone()?);
    {
        let mut ports = lock(&shared.ports);
        // Checked under the lock, or a guest that comes while the hub closes would never be cut off.
        if shared.stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
        ports.insert(number, Port { stream, queue });
    }
    thread::Builder::new().name(format!("hub-out-{number}")).spawn(move || write_frames(output, &waiting))?;
    let shared = shared.clone();
    thread::Builder::new().name(format!("hub-in-{number}")).spawn(move || {
        read_frames(number, input, &shared);
        if let Some(port) = lock(&shared.ports).remove(&number) {
            let _ = port.stream.shutdown(Shutdown::Both);
        }
    })?;
    Ok(())
}

fn write_frames(mut output: UnixStream, waiting: &Receiver<Packed>) {
    while let Ok(frame) = waiting.recv() {
        if output.write_all(&frame).is_err() {
            return;
        }
    }
}

fn read_frames(number: u64, mut input: UnixStream, shared: &Shared) {
    let mut length = [0; 4];
    while input.read_exact(&mut length).is_ok() {
        let size = u32::from_be_bytes(length) as usize;
        if size == 0 || size > LONGEST_FRAME {
            shared.hostile.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut packed = vec![0; 4 + size];
        let (head, frame) = packed.split_at_mut(4);
        head.copy_from_slice(&length);
        if input.read_exact(frame).is_err() {
            return;
        }
        // Too short to have an address: no Ethernet device would pass it on.
        if size >= SHORTEST_FRAME {
            shared.carry(number, packed.into());
        }
    }
}

impl Wire {
    /// Remembers where `frame` came from, and says where it belongs; none is everybody.
    fn learn(&mut self, sender: u64, frame: &[u8]) -> Option<u64> {
        let (to, rest) = frame.split_first_chunk::<6>()?;
        let from = rest.first_chunk::<6>()?;
        let is_group = |address: &[u8; 6]| address[0] & 1 != 0;
        if !is_group(from) && (self.heard.len() < MOST_ADDRESSES || self.heard.contains_key(from)) {
            self.heard.insert(*from, sender);
        }
        self.heard.get(to).filter(|_| !is_group(to)).copied()
    }
}

impl Shared {
    /// Takes one frame from port `sender` over the wire.
    fn carry(&self, sender: u64, packed: Packed) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(packed.len() as u64 - 4, Ordering::Relaxed);
        let mut wire = lock(&self.wire);
        if let Some(recorder) = &mut wire.recorder
            && recorder.frame(&packed[4..]).is_err()
        {
            // A full disk ends the recording, not the traffic.
            wire.recorder = None;
        }
        let to = wire.learn(sender, &packed[4..]);
        let verdict = wire.fate.as_mut().map_or(Verdict::Pass, Fate::decide);
        if verdict != Verdict::Pass {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        match verdict {
            Verdict::Pass => self.deliver(sender, to, &packed),
            Verdict::Lose => {}
            Verdict::Double => {
                self.deliver(sender, to, &packed);
                self.deliver(sender, to, &packed);
            }
            Verdict::Late => {
                wire.late.push_back((sender, to, packed, Faults::LATE_BY));
                return;
            }
        }
        for (.., overtaking) in &mut wire.late {
            *overtaking = overtaking.saturating_sub(1);
        }
        while let Some((late_sender, to, late, 0)) = wire.late.front() {
            self.deliver(*late_sender, *to, late);
            wire.late.pop_front();
        }
    }

    /// To the port `to`, or without one, or when nobody is there any more, to all but the sender's.
    fn deliver(&self, sender: u64, to: Option<u64>, packed: &Packed) {
        let ports = lock(&self.ports);
        let to = to.filter(|to| ports.contains_key(to));
        for (number, port) in &*ports {
            if *number == sender || to.is_some_and(|to| to != *number) {
                continue;
            }
            if let Err(TrySendError::Full(_)) = port.queue.try_send(packed.clone()) {
                self.overrun.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Locks, and goes on with what a panicked thread left: a frame more or less is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
