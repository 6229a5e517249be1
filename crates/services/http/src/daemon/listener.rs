//! Taking connections, within bounds.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::spawn_local,
    time::{interval, sleep, timeout},
};

use crate::{connection, site::Site};

/// The most connections at a time. Each can hold half a megabyte of a file; more wait in the kernel.
const MOST_CONNECTIONS: usize = 128;
/// The most from one address, so that a machine gone wild leaves room for the others.
const MOST_FROM_ONE: usize = 32;
/// The time that answers get to leave when the server is asked to stop.
const STOP_TIME: Duration = Duration::from_secs(3);
const BACKLOG: i32 = 256;

/// The sockets handed over, or new ones bound to `addresses`.
pub(crate) fn open(given: Vec<OwnedFd>, addresses: &[SocketAddr]) -> anyhow::Result<Vec<Socket>> {
    if given.is_empty() {
        let opened = addresses.iter().filter_map(|address| bind(*address).transpose());
        return opened.collect();
    }
    for socket in &given {
        let kind =
            SockRef::from(socket).r#type().context("systemd handed over something else than a socket")?;
        ensure!(kind == Type::STREAM, "systemd handed over a socket that takes no connections");
    }
    Ok(given.into_iter().map(Socket::from).collect())
}

/// None for an IPv6 address on a machine without IPv6.
fn bind(address: SocketAddr) -> anyhow::Result<Option<Socket>> {
    let open = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // IPv4 is asked for by an address of its own.
            socket.set_only_v6(true)?;
        }
        // A restart must not wait for the connections of the one before.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    match open() {
        Err(error) if address.is_ipv6() && no_ipv6(&error) => Ok(None),
        opened => Ok(Some(opened.with_context(|| {
            format!("cannot listen on TCP {address}; another web server may be running")
        })?)),
    }
}

fn no_ipv6(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL))
}

/// Puts the sockets into the event loop.
pub(crate) fn adopt(sockets: Vec<Socket>) -> anyhow::Result<Vec<TcpListener>> {
    let adopt = |socket: Socket| {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    };
    sockets.into_iter().map(adopt).collect::<io::Result<_>>().context("cannot set up a socket")
}

/// Serves until the process is asked to stop.
pub(crate) async fn serve(listeners: Vec<TcpListener>, site: Rc<Site>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let (stop, stopped) = watch::channel(false);
    let gate = Gate { places: Arc::new(Semaphore::new(MOST_CONNECTIONS)), each: Rc::default() };
    for listener in listeners {
        spawn_local(accept(listener, Rc::clone(&site), gate.clone(), stopped.clone()));
    }
    drop(stopped);
    let mut tick = interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = tick.tick() => site.flush_drops(),
        }
    }
    let _ = stop.send(true);
    // Every task holds a receiver until it is done.
    let _ = timeout(STOP_TIME, stop.closed()).await;
    Ok(())
}

/// Who may come in.
#[derive(Clone)]
struct Gate {
    places: Arc<Semaphore>,
    each: Rc<RefCell<BTreeMap<IpAddr, usize>>>,
}

/// A connection's place, given back when dropped.
struct Place {
    address: IpAddr,
    each: Rc<RefCell<BTreeMap<IpAddr, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    fn admit(&self, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Place> {
        let mut each = self.each.borrow_mut();
        let count = each.entry(address).or_default();
        if *count >= MOST_FROM_ONE {
            return None;
        }
        *count += 1;
        Some(Place { address, each: Rc::clone(&self.each), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut each = self.each.borrow_mut();
        if let Some(count) = each.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                each.remove(&self.address);
            }
        }
    }
}

async fn accept(listener: TcpListener, site: Rc<Site>, gate: Gate, mut stop: watch::Receiver<bool>) {
    loop {
        let next = async {
            let permit = Arc::clone(&gate.places).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Ok(permit) = permit else { return };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer.ip().to_canonical(), &site, &gate, permit, &stop),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // No descriptors, no memory: they come back when a connection ends.
                site.fault(format!("cannot take a connection: {error}"));
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn admit(
    stream: TcpStream,
    address: IpAddr,
    site: &Rc<Site>,
    gate: &Gate,
    permit: OwnedSemaphorePermit,
    stop: &watch::Receiver<bool>,
) {
    let Some(place) = gate.admit(address, permit) else {
        return site.dropped("a connection beyond what one address may hold", address);
    };
    // Answers are written whole: waiting for more to send only delays the last part.
    let _ = stream.set_nodelay(true);
    let (site, stop) = (Rc::clone(site), stop.clone());
    spawn_local(async move {
        connection::serve(stream, address, site, stop).await;
        drop(place);
    });
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
