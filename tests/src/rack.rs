//! A rack and the Pi that boots it: the machines, what they fetch, and the services, killed and started again as systemd
//! would do it.

use std::{
    cell::Cell,
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_emulator::fault::Random;
use pilotlight_lab::MacAddr;
use pilotlight_machines::{Chain, Content, Plan, Trouble};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    daemon::Daemon,
    herd::{self, Fared, Member},
    namespace::Cable,
};

/// The loaders' sizes: those of Debian's `ipxe` and `pxelinux`, near enough.
const LOADERS: &[(&str, usize)] =
    &[("undionly.kpxe", 70_000), ("lpxelinux.0", 92_000), ("ipxe.efi", 1_000_000)];
/// What the machines get over HTTP.
const SYSTEM: &str = "/assets/system";
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// `RestartSec=` of the units.
const RESTARTS_AFTER: Duration = Duration::from_millis(200);

/// The services that a machine boots from: the daemons, and the ports that systemd holds for them (`*.socket`).
const SERVICES: [(&str, &[&str], Option<Port>); 3] = [
    ("pilotlight-dhcpd", &["--state", "leases"], None),
    ("pilotlight-tftpd", &["--root", "tftp"], Some(Port::Tftp)),
    ("pilotlight-httpd", &["--root", "http"], Some(Port::Http)),
];

#[derive(Debug, Clone, Copy)]
enum Port {
    Tftp,
    Http,
}

impl Port {
    fn open(self) -> Result<OwnedFd> {
        let (kind, protocol, port) = match self {
            Self::Tftp => (Type::DGRAM, Protocol::UDP, 69),
            Self::Http => (Type::STREAM, Protocol::TCP, 80),
        };
        let socket = Socket::new(Domain::IPV4, kind, Some(protocol))?;
        socket.set_reuse_address(true)?;
        let address = SocketAddrV4::new(SERVER, port);
        socket.bind(&address.into()).with_context(|| format!("could not bind to {address}"))?;
        if let Self::Http = self {
            // `Backlog=` of the unit.
            socket.listen(1024)?;
        }
        Ok(socket.into())
    }
}

/// The services, and what they serve.
#[derive(Debug)]
pub struct Services {
    daemons: Vec<Daemon>,
    sockets: Vec<Option<OwnedFd>>,
    folder: tempfile::TempDir,
    system: Content,
    /// How many daemons were started: each has logs of its own.
    starts: Cell<u32>,
}

/// A service that was killed.
#[derive(Debug)]
pub struct Killed {
    /// Its daemon.
    pub name: &'static str,
    /// How long it took until it was ready again.
    pub back_after: Duration,
}

impl Services {
    /// Starts them at the services' end of `cable` for these machines, with `bytes` for each to get over HTTP.
    ///
    /// # Errors
    /// One does not start.
    pub fn start(cable: &Cable, members: &[Member], bytes: usize, seed: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rack-").tempdir().context("could not make a folder")?;
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(&path, bytes).with_context(|| format!("could not write {}", path.display()))
        };
        let mut random = Random::new(seed);
        write("lab.toml", lab(members).as_bytes())?;
        for (name, length) in LOADERS {
            write(&format!("tftp/{name}"), &random.bytes(*length))?;
        }
        let system = random.bytes(bytes);
        write("http/system", &system)?;
        fs::create_dir_all(folder.path().join("leases"))?;
        let sockets = cable.at_server(|| {
            SERVICES.iter().map(|(_, _, port)| port.map(Port::open).transpose()).collect::<Result<Vec<_>>>()
        })?;
        let system = Content::of(&system);
        let mut services = Self { daemons: Vec::new(), sockets, folder, system, starts: Cell::new(0) };
        for which in 0..SERVICES.len() {
            let daemon = services.daemon(cable, which)?;
            services.daemons.push(daemon);
        }
        Ok(services)
    }

    fn daemon(&self, cable: &Cable, which: usize) -> Result<Daemon> {
        let (name, arguments, _) = SERVICES[which];
        let folder = self.folder.path();
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let mut words =
            vec!["--lab".to_owned(), path("lab.toml"), "--events".to_owned(), path("events.sock")];
        for word in arguments {
            let is_folder = Path::new(&path(word)).is_dir();
            words.push(if is_folder { path(word) } else { (*word).to_owned() });
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let label = format!("{name}-{}", self.starts.get());
        self.starts.set(self.starts.get() + 1);
        let socket = self.sockets[which].iter().map(|socket| Ok(("socket".to_owned(), socket.try_clone()?)));
        let socket = socket.collect::<std::io::Result<Vec<_>>>().context("could not pass a socket on")?;
        Daemon::start_handed(cable, (name, &label), &words, &socket, folder)
    }

    /// Kills the services one after the other, `each` apart and `times` altogether, and starts each again as systemd would.
    /// Comes back when `stop` says so or is gone.
    ///
    /// The thread that calls it must stay: the daemons that it has started end with it.
    ///
    /// # Errors
    /// One does not come back.
    pub fn kill_in_turn(
        &mut self,
        cable: &Cable,
        each: Duration,
        times: usize,
        stop: &Receiver<()>,
    ) -> Result<Vec<Killed>> {
        let mut killed = Vec::new();
        for which in (0..SERVICES.len()).cycle().take(times) {
            match stop.recv_timeout(each) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return Ok(killed),
            }
            let (name, ..) = SERVICES[which];
            let start = Instant::now();
            self.daemons[which].kill()?;
            thread::sleep(RESTARTS_AFTER);
            self.daemons[which] = self.daemon(cable, which).with_context(|| format!("{name}, killed"))?;
            killed.push(Killed { name, back_after: start.elapsed() });
        }
        // Those that it has started end with this thread. A sender that is gone says as much as one that speaks.
        let _ = stop.recv();
        Ok(killed)
    }

    /// All daemons are still running.
    ///
    /// # Errors
    /// One is not.
    pub fn must_be_alive(&mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::must_be_alive)
    }

    /// Ends them; nothing is to be shown of what they said.
    ///
    /// # Errors
    /// One cannot be ended.
    pub fn end(mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::kill)
    }

    /// Every machine that means well has everything, to the byte, and an address that no other one has.
    ///
    /// # Errors
    /// One has not.
    pub fn judge(&self, fared: &[Fared]) -> Result<()> {
        let mut addresses = std::collections::BTreeMap::new();
        for machine in fared.iter().map(|one| &one.machine) {
            if let Some((address, _)) = machine.address()
                && let Some(other) = addresses.insert(address, machine.mac())
            {
                anyhow::bail!("{address} belongs to {other} and to {}", machine.mac());
            }
            if machine.plan().trouble != Trouble::None {
                continue;
            }
            let setbacks = machine.setbacks();
            ensure!(
                machine.standing() == pilotlight_machines::Standing::Running,
                "{} did not boot: {setbacks:?}",
                machine.mac()
            );
            for (name, content) in machine.received() {
                let expected = if name == SYSTEM { Some(self.system) } else { self.file(name)? };
                let is_right = expected.is_none_or(|expected| expected == *content);
                ensure!(is_right, "{} got {content:?} as {name}", machine.mac());
            }
            ensure!(
                machine.received().iter().any(|(name, _)| name == SYSTEM),
                "{} runs without a system",
                machine.mac()
            );
        }
        Ok(())
    }

    /// What a loader is; none for what is made for the machine.
    fn file(&self, name: &str) -> Result<Option<Content>> {
        let path = self.folder.path().join("tftp").join(name);
        let is_loader = LOADERS.iter().any(|(loader, _)| *loader == name);
        is_loader.then(|| fs::read(&path).map(|bytes| Content::of(&bytes))).transpose().context("the loaders")
    }
}

/// Everybody has an address of the pool, but those that are given PXELINUX, which wants a name.
fn lab(members: &[Member]) -> String {
    let (first, last) = herd::POOL;
    let mut text = format!(
        "[network]\naddress = \"{}\"\nprobe-first = false\n[network.pool]\nfirst = \"{first}\"\nlast = \"{last}\"\n",
        herd::NETWORK
    );
    let named = members.iter().enumerate().filter(|(_, member)| member.plan.chain == Chain::Pxelinux);
    for (number, member) in named {
        text += &format!(
            "[[nodes]]\nname = \"node{number}\"\nmac = \"{}\"\naddress = \"10.77.{}.{}\"\nloader = \"pxelinux\"\n",
            member.mac,
            12 + number / 250,
            1 + number % 250,
        );
    }
    text
}

/// A rack as it comes: two fifths BIOS, two fifths UEFI, a fifth with PXELINUX. All are switched on at once.
pub fn machines(count: u32) -> Vec<Member> {
    (0..count)
        .map(|number| {
            let chain = match number % 5 {
                0 | 1 => Chain::Bios,
                2 | 3 => Chain::Uefi,
                _ => Chain::Pxelinux,
            };
            member(number, chain, Trouble::None)
        })
        .collect()
}

/// Machines with trouble of their own, with numbers from `first` on.
pub fn villains(first: u32, flood: Duration) -> Vec<Member> {
    let troubles = [Trouble::Vanishes, Trouble::NeverAcknowledges, Trouble::Floods(flood)];
    (first..).zip(troubles).map(|(number, trouble)| member(number, Chain::Bios, trouble)).collect()
}

fn member(number: u32, chain: Chain, trouble: Trouble) -> Member {
    let [_, _, high, low] = number.to_be_bytes();
    let plan = Plan { chain, loader: None, system: vec![SYSTEM.to_owned()], trouble, starts: 6 };
    Member { mac: MacAddr([0x52, 0x54, 0, 0x57, high, low]), plan, on: Duration::ZERO }
}
