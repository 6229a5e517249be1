//! `pilotlight-ntpd`: the sockets and the clock around [`pilotlight_ntp`].
//!
//! It is the one program on the card that may set the clock: when an operator asks for it over its own socket, and by the time
//! servers that the lab names; machines on the wire have no way to. It also leaves the time on the data partition now and
//! then: `init` starts from there.

mod follow;
mod keeper;
mod kernel;

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, SocketAddr, UdpSocket as StdUdp},
    os::{fd::OwnedFd, unix::net::UnixListener as StdUnix},
    path::PathBuf,
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Parser;
use pilotlight_kit::{
    Event, Events,
    drops::Drops,
    lab,
    limit::{self, Limits},
    pktinfo, systemd,
};
use pilotlight_lab::paths;
use pilotlight_ntp::{Clock, LENGTH, Request, clock::Set, read_request, reply};
use socket2::{Domain, SockRef};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest},
    net::{UdpSocket, UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    task::{LocalSet, spawn_local},
    time::{sleep, timeout},
};

use crate::keeper::unix;

const SERVICE: &str = "ntp";
/// Questions of one source at once, by the second, and how many sources are remembered. A client asks for a few in a burst
/// when it starts, and then once a minute; an answer is as long as its question, but a forged one hits somebody.
const BURST: u32 = 64;
const RATE: u32 = 8;
const SOURCES: usize = 4096;
/// How long an operator's connection may take, and how long its line may be.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_LINE: u64 = 128;

/// Tells machines the time, once somebody has vouched for it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen, when systemd hands over no socket; may be given more than once.
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:123")]
    listen: Vec<SocketAddr>,
    /// The socket on which operators set the clock, when systemd hands over none.
    #[arg(long, value_name = "SOCKET")]
    control: Option<PathBuf>,
    /// The lab in force, which names the time servers to follow.
    #[arg(long, value_name = "FILE", default_value = paths::LAB)]
    lab: PathBuf,
    /// The clock chip, as the kernel shows it.
    #[arg(long, value_name = "FOLDER", default_value = "/sys/class/rtc/rtc0")]
    chip: PathBuf,
    /// The folder in which the time is left.
    #[arg(long, value_name = "FOLDER", default_value = paths::NTP_STATE)]
    state: PathBuf,
    /// The file that says, until the Pi is started again, that the clock was set.
    #[arg(long, value_name = "FILE", default_value = paths::CLOCK_SET)]
    set: PathBuf,
    /// The socket that takes events.
    #[arg(long, value_name = "SOCKET", default_value = paths::EVENTS_SOCKET)]
    events: PathBuf,
}

struct Server {
    clock: Cell<Clock>,
    arguments: Arguments,
    events: Events,
    drops: RefCell<Drops>,
    limits: RefCell<Limits<IpAddr>>,
    started: Instant,
    /// The name of the time server that is followed, if one is.
    followed: RefCell<String>,
    /// Why none is, or no longer.
    trouble: RefCell<Option<String>>,
    /// Whether the clock chip was found to go with the clock since the daemon was started, or there is none.
    noted: Cell<bool>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilotlight-ntpd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot set up the event loop")?;
    // It outlives this daemon, and not the Pi's next start.
    let set: Option<Set> = std::fs::read_to_string(&arguments.set).ok().and_then(|text| text.parse().ok());
    // A clock that is set by hand does as well.
    let names = lab::load(&arguments.lab).map(|lab| lab.network.upstream_time).unwrap_or_else(|fault| {
        eprintln!("pilotlight-ntpd: no time server is followed: {fault}");
        Vec::new()
    });
    let server = Rc::new(Server {
        clock: Cell::new(Clock { set, follows: None }),
        followed: RefCell::default(),
        trouble: RefCell::default(),
        noted: Cell::new(!arguments.chip.exists()),
        events: Events::new(&arguments.events),
        drops: RefCell::default(),
        limits: RefCell::new(Limits::new(BURST, RATE, SOURCES)),
        started: Instant::now(),
        arguments,
    });
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let mut stop = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        for socket in sockets(&server.arguments)? {
            match socket {
                Listening::Wire(socket) => drop(spawn_local(Rc::clone(&server).wire(socket))),
                Listening::Control(socket) => drop(spawn_local(Rc::clone(&server).control(socket))),
            }
        }
        server.take_from_chip();
        spawn_local(Rc::clone(&server).save());
        if !names.is_empty() {
            spawn_local(Rc::clone(&server).follow(names));
        }
        spawn_local(Rc::clone(&server).tell());
        systemd::ready(&server.status());
        stop.recv().await;
        server.leave_time();
        Ok(())
    })
}

enum Listening {
    Wire(UdpSocket),
    Control(UnixListener),
}

fn sockets(arguments: &Arguments) -> anyhow::Result<Vec<Listening>> {
    let mut given = systemd::listen_fds();
    if given.is_empty() {
        for address in &arguments.listen {
            let socket = StdUdp::bind(address).with_context(|| {
                format!("cannot listen on UDP {address}; another time server may be running")
            })?;
            given.push(socket.into());
        }
        if let Some(path) = &arguments.control {
            let socket = StdUnix::bind(path).with_context(|| format!("cannot make {}", path.display()))?;
            given.push(socket.into());
        }
    }
    given.into_iter().map(listening).collect()
}

fn listening(socket: OwnedFd) -> anyhow::Result<Listening> {
    let domain =
        SockRef::from(&socket).domain().context("systemd handed over something else than a socket")?;
    SockRef::from(&socket).set_nonblocking(true).context("cannot set up a socket")?;
    match domain {
        Domain::UNIX => Ok(Listening::Control(UnixListener::from_std(StdUnix::from(socket))?)),
        Domain::IPV4 | Domain::IPV6 => {
            pktinfo::enable(&socket).context("cannot ask for the address that a question was sent to")?;
            Ok(Listening::Wire(UdpSocket::from_std(StdUdp::from(socket))?))
        }
        other => bail!("systemd handed over a socket of the kind {other:?}"),
    }
}

impl Server {
    async fn wire(self: Rc<Self>, socket: UdpSocket) {
        // More than a question has is not read: nothing in it is answered.
        let mut buffer = [0; LENGTH];
        loop {
            let received =
                socket.async_io(Interest::READABLE, || pktinfo::receive(&socket, &mut buffer)).await;
            let at = unix();
            let Ok(received) = received else {
                tokio::task::yield_now().await;
                continue;
            };
            if !self.limits.borrow_mut().take(limit::source(received.from.ip()), self.started.elapsed()) {
                self.dropped("questions beyond what one source may ask");
                continue;
            }
            match reply(&buffer[..received.length], self.clock.get(), at, unix()) {
                Err(ignored) => self.dropped(ignored.word()),
                Ok(answer) => {
                    let send = || pktinfo::send(&socket, &answer, received.from, received.to);
                    if socket.try_io(Interest::WRITABLE, send).is_err() {
                        self.dropped("an answer that could not be sent");
                    }
                }
            }
        }
    }

    async fn control(self: Rc<Self>, listener: UnixListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            let server = Rc::clone(&self);
            spawn_local(async move {
                // Who goes away is no fault.
                let _ = timeout(PATIENCE, server.operator(stream)).await;
            });
        }
    }

    async fn operator(&self, mut stream: UnixStream) -> io::Result<()> {
        let mut line = String::new();
        BufReader::new(&mut stream).take(LONGEST_LINE).read_line(&mut line).await?;
        let answer = match read_request(line.trim_end()) {
            Err(refused) => format!("refused: {refused}"),
            Ok(Request::Status) => self.status(),
            Ok(Request::Set(time)) => match self.set(time) {
                Ok(()) => self.status(),
                Err(fault) => format!("refused: the clock could not be set: {fault}"),
            },
        };
        stream.write_all(format!("{answer}\n").as_bytes()).await
    }

    /// Tells the end of each flood.
    async fn tell(self: Rc<Self>) {
        loop {
            sleep(Duration::from_secs(1)).await;
            for (reason, count) in self.drops.borrow_mut().overdue(self.started.elapsed()) {
                self.events.hold(Event::dropped(SERVICE, "drop", reason).fact("count", count));
            }
            self.events.flush();
        }
    }

    fn dropped(&self, reason: &'static str) {
        if let Some(count) = self.drops.borrow_mut().count(reason, self.started.elapsed()) {
            self.events.emit(Event::dropped(SERVICE, "drop", reason).fact("count", count));
        }
    }
}
