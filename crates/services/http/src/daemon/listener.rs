//! The sockets that connections come in by.

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use anyhow::{Context as _, ensure};
use mio::net::TcpListener;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// The most sockets.
pub(crate) const MOST: usize = 16;
/// Connections that wait in the kernel until they are taken: a rack that boots comes all at once.
const BACKLOG: i32 = 1024;

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

/// Makes the sockets ones for an event loop.
pub(crate) fn adopt(sockets: Vec<Socket>) -> anyhow::Result<Vec<TcpListener>> {
    ensure!(sockets.len() <= MOST, "there are more than {MOST} sockets to listen on");
    let adopt = |socket: Socket| {
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from_std(socket.into()))
    };
    sockets.into_iter().map(adopt).collect::<io::Result<_>>().context("cannot set up a socket")
}
