//! A root that comes over the network and stays in memory. No disk of the machine is looked at: the initrd brings no driver
//! for one.

use std::{
    convert::Infallible,
    fs::{self, File},
    io::{self, Read, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use pilotlight_init::{
    dhcp::{Answer, Client, Lease},
    fetch,
    netroot::{NetRoot, Provisioner, hex},
};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest as _, Sha256};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Fault,
    console::Console,
    files, inside, loops, modules,
    mounts::{self, ROOT, in_root},
    network, switch,
};

/// Where the memory is that holds the root and what is changed in it.
const MEMORY: &str = "/memory";
/// Runs Ignition in the root, before it is started, as on systems that are made for it.
const IGNITE: &str = "/usr/lib/pilotlight/ignite";
/// An interface may sit on a bus that takes its time.
const INTERFACE_PATIENCE: Duration = Duration::from_secs(60);
/// How long an answer is waited for before it is asked again.
const ANSWER_PATIENCE: Duration = Duration::from_secs(4);
/// A server that is silent for so long is asked anew.
const SILENCE: Duration = Duration::from_secs(20);
/// Between two tries, at the least and at the most.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// How often it is tried before the machine is started anew: whatever is wrong may be in its firmware or its script.
const TRIES: u32 = 40;

/// Fetches the root, verifies it and hands over to it.
pub(crate) fn start(started: Instant, root: &NetRoot, console: &Console) -> Result<Infallible, Fault> {
    for fault in modules::load(Path::new("/")) {
        console.note(&fault);
    }
    let (interface, mac) = interface(root.mac)?;
    network::switch_on(&interface)?;
    let lease = address(&interface, mac, console)?;
    network::give_address(&interface, lease.address, lease.prefix)?;
    console.say(&format!("{interface} has {}/{} by {}", lease.address, lease.prefix, lease.server));

    let memory = Path::new(MEMORY);
    mounts::memory(memory)?;
    let file = memory.join("root.squashfs");
    download(root, &file, console)?;
    let device = loops::show(&file)?;
    mounts::root_in_memory(&device, memory)?;
    if root.provisioner != Provisioner::CloudInit {
        // cloud-init's own word for it (its documentation, "Disable cloud-init").
        files::write(&in_root("/etc/cloud/cloud-init.disabled"), "")?;
    }
    if root.provisioner == Provisioner::Ignition {
        let status = inside::run(&[IGNITE], Stdio::inherit)?;
        if !status.success() {
            return Err(Fault::Network(format!("Ignition ends with {status}; what it said stands above")));
        }
    }
    network::switch_off(&interface)?;
    console.say(&format!("starting after {:.1} s", started.elapsed().as_secs_f64()));
    switch::root(Path::new(ROOT))
}

/// The interface with this hardware address, or the first of those that there are.
fn interface(wanted: Option<[u8; 6]>) -> Result<(String, [u8; 6]), Fault> {
    let end = Instant::now() + INTERFACE_PATIENCE;
    loop {
        let mut known = interfaces();
        known.sort();
        let found = known.iter().find(|(_, mac)| wanted.is_none_or(|wanted| *mac == wanted));
        if let Some((name, mac)) = found {
            return Ok((name.clone(), *mac));
        }
        if Instant::now() >= end {
            let known: Vec<_> = known.iter().map(|(name, mac)| format!("{name} ({})", hex(mac))).collect();
            let wanted = wanted.map_or_else(|| "any".to_owned(), |mac| hex(&mac));
            return Err(Fault::Network(format!(
                "there is no network interface with the address {wanted}: there are {known:?}; the initrd has no driver \
                 for it, or BOOTIF is wrong"
            )));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn interfaces() -> Vec<(String, [u8; 6])> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let text = fs::read_to_string(entry.path().join("address")).ok()?;
        let bytes: Option<Vec<u8>> =
            text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        Some((entry.file_name().into_string().ok()?, <[u8; 6]>::try_from(bytes?).ok()?))
    });
    named.filter(|(name, _)| name != "lo").collect()
}

/// Asks for an address until there is one.
fn address(interface: &str, mac: [u8; 6], console: &Console) -> Result<Lease, Fault> {
    let fault =
        |source: io::Error| Fault::Network(format!("cannot ask on {interface} for an address: {source}"));
    let socket = socket(interface).map_err(fault)?;
    for round in 0..TRIES {
        let mut number = [0; 4];
        getrandom(&mut number, GetRandomFlags::empty())
            .map_err(Fault::file("read", "the kernel's randomness"))?;
        let client = Client { mac, transaction: u32::from_ne_bytes(number) };
        let offer = ask(&socket, client, &client.discover(), |answer| matches!(answer, Answer::Offer(_)));
        if let Ok(Answer::Offer(offer)) = offer {
            let given =
                ask(&socket, client, &client.request(offer), |answer| !matches!(answer, Answer::Offer(_)));
            if let Ok(Answer::Ack(lease)) = given {
                return Ok(lease);
            }
        }
        if round % 4 == 3 {
            console.say(&format!("{interface} gets no address; asking on"));
        }
    }
    Err(Fault::Network(format!("no server gives {interface} an address")))
}

fn socket(interface: &str) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68)).into())?;
    Ok(socket.into())
}

fn ask(
    socket: &UdpSocket,
    client: Client,
    question: &[u8],
    wanted: impl Fn(&Answer) -> bool,
) -> io::Result<Answer> {
    let end = Instant::now() + ANSWER_PATIENCE;
    // The link may still be coming up.
    let _ = socket.send_to(question, (Ipv4Addr::BROADCAST, 67));
    let mut buffer = [0; 2048];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let count = socket.recv(&mut buffer)?;
        let answer = client.answer(buffer.get(..count).unwrap_or_default());
        if let Some(answer) = answer.filter(&wanted) {
            return Ok(answer);
        }
    }
}

/// Fetches the root into `path`, again and again until it is what it should be.
fn download(root: &NetRoot, path: &Path, console: &Console) -> Result<(), Fault> {
    let mut pause = PAUSES[0];
    let mut last = String::new();
    let mut part = Part::new(path)?;
    for _ in 0..TRIES {
        let tried = part.go_on(root, console).map_err(|fault| fault.chain());
        match tried.and_then(|()| part.is(root.sha256)) {
            Ok(()) => return Ok(()),
            Err(why) => {
                console.say(&format!("{}: {why}", root.url));
                last = why;
            }
        }
        if part.complete() {
            part = Part::new(path)?;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSES[1]);
    }
    Err(Fault::Network(format!("{} cannot be had: {last}", root.url)))
}

/// What there is of the root so far.
struct Part {
    file: File,
    digest: Sha256,
    length: u64,
    whole: Option<u64>,
}

impl Part {
    fn new(path: &Path) -> Result<Self, Fault> {
        let file = File::create(path).map_err(Fault::file("write", path))?;
        Ok(Self { file, digest: Sha256::new(), length: 0, whole: None })
    }

    fn complete(&self) -> bool {
        self.whole == Some(self.length)
    }

    /// Whether it has this digest, now that it is whole.
    fn is(&self, expected: [u8; 32]) -> Result<(), String> {
        let found: [u8; 32] = self.digest.clone().finalize().into();
        if found == expected {
            return Ok(());
        }
        Err(format!(
            "what came has the SHA-256 {}, where the boot script says {}: not started",
            hex(&found),
            hex(&expected)
        ))
    }

    /// Fetches what is missing.
    fn go_on(&mut self, root: &NetRoot, console: &Console) -> Result<(), Fault> {
        let fault = |what: &'static str| move |source: io::Error| Fault::Network(format!("{what}: {source}"));
        let server = SocketAddr::V4(root.url.server);
        let mut stream = TcpStream::connect_timeout(&server, SILENCE).map_err(fault("no connection"))?;
        stream.set_read_timeout(Some(SILENCE)).map_err(fault("no connection"))?;
        stream.write_all(fetch::request(&root.url, self.length).as_bytes()).map_err(fault("cannot ask"))?;

        let mut buffer = vec![0; 1 << 20];
        let mut filled = 0;
        let head = loop {
            let room = buffer.get_mut(filled..fetch::LONGEST_HEAD).unwrap_or_default();
            let count = stream.read(room).map_err(fault("no answer"))?;
            filled += count;
            let so_far = buffer.get(..filled).unwrap_or_default();
            match fetch::head(so_far).map_err(|error| Fault::Network(error.to_string()))? {
                Some(head) => break head,
                None if count == 0 => return Err(Fault::Network("no answer".to_owned())),
                None => {}
            }
        };
        if head.from != self.length {
            return Err(Fault::Network(format!("the server sends byte {} for {}", head.from, self.length)));
        }
        self.whole = Some(head.whole);
        let mut shown = self.tenths();
        let mut piece = head.length..filled;
        loop {
            let bytes = buffer.get(piece).unwrap_or_default();
            self.file.write_all(bytes).map_err(Fault::file("keep the root in", "memory"))?;
            self.digest.update(bytes);
            self.length += bytes.len() as u64;
            if self.tenths() > shown {
                shown = self.tenths();
                console.say(&format!("{}0 % of {} MB", shown, head.whole / 1_000_000));
            }
            if self.length >= head.whole {
                return Ok(());
            }
            match stream.read(&mut buffer).map_err(fault("the rest does not come"))? {
                0 => return Err(Fault::Network(format!("broke off after {} bytes", self.length))),
                count => piece = 0..count,
            }
        }
    }

    fn tenths(&self) -> u64 {
        self.whole.filter(|whole| *whole > 0).map_or(0, |whole| self.length.saturating_mul(10) / whole)
    }
}
