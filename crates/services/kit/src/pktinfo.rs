//! Datagrams with the address that they were sent to, and answers that leave from that same address
//! (`IP_PKTINFO`, ip(7)). A socket bound to every address would otherwise answer from whichever the route
//! prefers, and a boot ROM ignores an answer from a stranger.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd as _},
};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockaddrLike as _, SockaddrStorage,
    getsockname, recvmsg, sendmsg, setsockopt, sockopt,
};

/// A datagram's length and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How many bytes were put into the buffer.
    pub length: usize,
    /// Whether the buffer was too short for it.
    pub truncated: bool,
    /// Who sent it. An IPv4 address is given as one even on an IPv6 socket.
    pub from: SocketAddr,
    /// The address it was sent to, where the kernel told and the address is one of this machine's own: none
    /// for a broadcast or a multicast.
    pub to: Option<IpAddr>,
}

/// Asks the kernel to tell the destination of each datagram on `socket`, which is IPv4 or IPv6.
///
/// # Errors
/// When the descriptor is no such socket.
pub fn enable(socket: &impl AsFd) -> io::Result<()> {
    let local: SockaddrStorage = getsockname(socket.as_fd().as_raw_fd())?;
    if local.family() == Some(AddressFamily::Inet6) {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    Ok(())
}

/// Takes the next datagram from `socket`.
///
/// # Errors
/// As `recvmsg(2)`: [`io::ErrorKind::WouldBlock`] when there is none on a non-blocking socket.
pub fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo, nix::libc::in_pktinfo);
    let message = recvmsg::<SockaddrStorage>(
        socket.as_fd().as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let from = message.address.as_ref().and_then(ip).ok_or(io::ErrorKind::InvalidData)?;
    // The control buffer holds both messages, so that a fault here means the kernel gave none.
    let to = message.cmsgs().into_iter().flatten().find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let [sent_to, local] = [info.ipi_addr, info.ipi_spec_dst]
                .map(|address| Ipv4Addr::from_bits(u32::from_be(address.s_addr)));
            // They differ for a broadcast: `ipi_spec_dst` is the address that would answer.
            (sent_to == local).then_some(IpAddr::V4(sent_to))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let address = IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical();
            let single = match address {
                IpAddr::V4(address) => !address.is_broadcast() && !address.is_multicast(),
                IpAddr::V6(address) => !address.is_multicast(),
            };
            single.then_some(address)
        }
        _ => None,
    });
    let truncated = message.flags.contains(MsgFlags::MSG_TRUNC);
    Ok(Received { length: message.bytes, truncated, from, to })
}

/// Sends a datagram on `socket` to `to`, from the address `from` of this machine, or without one from whichever the route
/// prefers.
///
/// # Errors
/// As `sendmsg(2)`: [`io::ErrorKind::WouldBlock`] when there is no room on a non-blocking socket.
pub fn send(socket: &impl AsFd, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
    sending(socket, bytes, None, to, from)
}

/// Sends several datagrams by one call (`UDP_SEGMENT`, udp(7)): `bytes` is cut into pieces of `size` bytes, of which only
/// the last one may be shorter.
///
/// # Errors
/// As [`send`]; also where a piece does not fit a packet of the route whole, or the kernel does not know how.
pub fn send_segments(
    socket: &impl AsFd,
    bytes: &[u8],
    size: u16,
    to: SocketAddr,
    from: Option<IpAddr>,
) -> io::Result<()> {
    sending(socket, bytes, Some(size), to, from)
}

fn sending(
    socket: &impl AsFd,
    bytes: &[u8],
    size: Option<u16>,
    to: SocketAddr,
    from: Option<IpAddr>,
) -> io::Result<()> {
    let slices = [IoSlice::new(bytes)];
    let to = SockaddrStorage::from(to);
    let (v4, v6);
    let source = match from {
        Some(IpAddr::V4(from)) => {
            let address = nix::libc::in_addr { s_addr: from.to_bits().to_be() };
            let none = nix::libc::in_addr { s_addr: 0 };
            v4 = nix::libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: none };
            Some(ControlMessage::Ipv4PacketInfo(&v4))
        }
        Some(IpAddr::V6(from)) => {
            let address = nix::libc::in6_addr { s6_addr: from.octets() };
            v6 = nix::libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 };
            Some(ControlMessage::Ipv6PacketInfo(&v6))
        }
        None => None,
    };
    let size = size.as_ref().map(ControlMessage::UdpGsoSegments);
    let fd = socket.as_fd().as_raw_fd();
    // Two messages are the most, and most datagrams have none.
    match (source, size) {
        (None, None) => sendmsg(fd, &slices, &[], MsgFlags::empty(), Some(&to))?,
        (Some(one), None) | (None, Some(one)) => sendmsg(fd, &slices, &[one], MsgFlags::empty(), Some(&to))?,
        (Some(source), Some(size)) => sendmsg(fd, &slices, &[source, size], MsgFlags::empty(), Some(&to))?,
    };
    Ok(())
}

fn ip(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(address) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*address).into()));
    }
    let address = std::net::SocketAddrV6::from(*address.as_sockaddr_in6()?);
    // The scope of a link-local address is part of it; a mapped IPv4 address has none.
    Some(match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => SocketAddr::V6(address),
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_address_that_was_asked_is_told() {
        for (listen, target) in [("0.0.0.0:0", "127.0.0.7"), ("127.0.0.1:0", "127.0.0.1")] {
            let server = UdpSocket::bind(listen).unwrap();
            enable(&server).unwrap();
            let port = server.local_addr().unwrap().port();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"hello", (target, port)).unwrap();
            let mut buffer = [0; 3];
            let received = receive(&server, &mut buffer).unwrap();
            let expect = Received {
                length: 3,
                truncated: true,
                from: client.local_addr().unwrap(),
                to: Some(target.parse().unwrap()),
            };
            assert_eq!(received, expect);
        }
    }

    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        for (listen, client, asked) in [
            ("0.0.0.0:0", "127.0.0.1:0", Some("127.0.0.7")),
            ("[::]:0", "[::1]:0", Some("::1")),
            ("127.0.0.1:0", "127.0.0.1:0", None),
        ] {
            let server = UdpSocket::bind(listen).unwrap();
            let port = server.local_addr().unwrap().port();
            let client = UdpSocket::bind(client).unwrap();
            let from = asked.map(|address| address.parse().unwrap());
            send(&server, b"answer", client.local_addr().unwrap(), from).unwrap();
            let mut buffer = [0; 16];
            let (length, sender) = client.recv_from(&mut buffer).unwrap();
            let expect = SocketAddr::new(asked.unwrap_or("127.0.0.1").parse().unwrap(), port);
            assert_eq!((&buffer[..length], sender), (&b"answer"[..], expect));
        }
    }

    #[test]
    fn one_call_sends_several() {
        let server = UdpSocket::bind("0.0.0.0:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        for from in [None, Some("127.0.0.7".parse().unwrap())] {
            send_segments(&server, b"one, two, end", 5, client.local_addr().unwrap(), from).unwrap();
            for expect in ["one, ", "two, ", "end"] {
                let mut buffer = [0; 16];
                let length = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], expect.as_bytes());
            }
        }
    }

    #[test]
    fn without_a_datagram_it_says_so() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let error = receive(&server, &mut [0; 3]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
