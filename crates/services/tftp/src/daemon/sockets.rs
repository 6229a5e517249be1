//! The sockets that requests come to, and those that transfers leave from.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::OwnedFd,
};

use anyhow::{Context as _, ensure};
use pilotlight_kit::pktinfo;
use socket2::{Domain, Protocol, Socket, Type};

/// What of a transfer waits for the wire at most, in bytes as `SO_SNDBUF` has them: the kernel takes twice as many, counts some 2,300 for
/// a frame, and looks at it once a block. The 46 frames of the longest block then make no more than the 100 that the queue lets one
/// transfer have (`fq`, `flow_limit`); what is beyond that it throws away, where a full socket says so.
const SENDS: usize = 60 * 1024;

/// Where a transfer's packets leave from.
#[derive(Debug)]
pub(crate) enum Line {
    /// A port of its own, as RFC 1350 has it.
    Own(UdpSocket),
    /// The port for requests, the listener of this number, from the address that was asked.
    Shared(usize, IpAddr),
}

impl Line {
    /// Sends one packet.
    pub(crate) fn send(&self, listeners: &[UdpSocket], packet: &[u8], peer: SocketAddr) -> io::Result<()> {
        match self {
            Self::Own(socket) => socket.send_to(packet, peer).map(drop),
            Self::Shared(listener, local) => {
                pktinfo::send(shared(listeners, *listener)?, packet, peer, Some(*local))
            }
        }
    }

    /// Sends packets of `size` bytes by one call, of which the last one may be shorter.
    pub(crate) fn send_together(
        &self,
        listeners: &[UdpSocket],
        packets: &[u8],
        size: u16,
        peer: SocketAddr,
    ) -> io::Result<()> {
        match self {
            Self::Own(socket) => pktinfo::send_segments(socket, packets, size, peer, None),
            Self::Shared(listener, local) => {
                let socket = shared(listeners, *listener)?;
                pktinfo::send_segments(socket, packets, size, peer, Some(*local))
            }
        }
    }
}

fn shared(listeners: &[UdpSocket], number: usize) -> io::Result<&UdpSocket> {
    listeners.get(number).ok_or_else(|| io::ErrorKind::NotFound.into())
}

pub(crate) fn listeners(given: Vec<OwnedFd>, addresses: &[SocketAddr]) -> anyhow::Result<Vec<UdpSocket>> {
    let sockets = if given.is_empty() {
        addresses.iter().map(|address| listen(*address)).collect::<anyhow::Result<Vec<_>>>()?
    } else {
        given.into_iter().map(UdpSocket::from).collect()
    };
    for socket in &sockets {
        let kind = socket2::SockRef::from(socket)
            .r#type()
            .context("systemd handed over something else than a socket")?;
        ensure!(kind == Type::DGRAM, "systemd handed over a socket that takes no datagrams");
        socket.set_nonblocking(true).context("cannot set up a socket")?;
        pktinfo::enable(socket).context("cannot ask for the address that a request was sent to")?;
    }
    Ok(sockets)
}

fn listen(address: SocketAddr) -> anyhow::Result<UdpSocket> {
    let context = || format!("cannot listen on UDP {address}; another TFTP server may be running");
    let open = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // IPv4 is asked for by an address of its own.
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    };
    Ok(open().with_context(context)?.into())
}

/// A socket for one transfer, or one refusal: a new port on the address that the request was sent to.
pub(crate) fn answer_from(local: IpAddr, peer: SocketAddr) -> io::Result<UdpSocket> {
    let address = match (local, peer) {
        (IpAddr::V6(local), SocketAddr::V6(peer)) => SocketAddrV6::new(local, 0, 0, peer.scope_id()).into(),
        (local, _) => SocketAddr::from((local, 0)),
    };
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    socket2::SockRef::from(&socket).set_send_buffer_size(SENDS)?;
    Ok(socket)
}
