//! The interface and its sockets.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use nix::{
    ifaddrs::getifaddrs,
    net::if_::InterfaceFlags,
    sys::socket::{AddressFamily, LinkAddr, NetlinkAddr, SockFlag, SockProtocol, SockType},
};
use pilotlight_dhcp::{
    frame::{ARP, End, frame, has, who_has},
    packet::{BOOT_PORT, CLIENT_PORT, SERVER_PORT},
    server::{Destination, Outgoing, Port},
};
use pilotlight_lab::MacAddr;
use socket2::{Domain, Protocol, Socket, Type};

/// rtnetlink(7): interfaces come, go and find a cable; IPv4 addresses come and go.
const CHANGES: u32 = (nix::libc::RTMGRP_LINK | nix::libc::RTMGRP_IPV4_IFADDR) as u32;

/// What each socket may hold, in bytes: a thousand machines whose power comes back together all ask within a moment, and
/// what is dropped here is asked again only after seconds (PXE 2.1 § 2.2.6: four).
const RECEIVES: usize = 1 << 20;

/// The interface as it is now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Link {
    at: LinkAddr,
    pub(crate) mac: MacAddr,
    /// Up, with a cable that leads somewhere.
    pub(crate) running: bool,
    /// Whether it has the lab's address.
    pub(crate) addressed: bool,
}

impl Link {
    /// Looks for the interface; none while there is no such, or none with a hardware address.
    pub(crate) fn find(interface: &str, address: Ipv4Addr) -> io::Result<Option<Self>> {
        let (mut link, mut addressed) = (None, false);
        for entry in getifaddrs()?.filter(|entry| entry.interface_name == interface) {
            let Some(storage) = entry.address else { continue };
            if let Some(at) = storage.as_link_addr()
                && let Some(mac) = at.addr()
            {
                let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
                let running = entry.flags.contains(wanted);
                link = Some(Self { at: *at, mac: MacAddr(mac), running, addressed: false });
            }
            addressed |= storage.as_sockaddr_in().is_some_and(|found| found.ip() == address);
        }
        Ok(link.map(|link| Self { addressed, ..link }))
    }

    /// Whether sockets that were opened on `other` still work here.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.at.ifindex(), self.mac) == (other.at.ifindex(), other.mac)
    }
}

/// The sockets of a server on one interface.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) link: Link,
    interface: String,
    address: Ipv4Addr,
    /// Takes broadcasts.
    everyone: UdpSocket,
    /// Takes what is sent to the server's own address, and sends.
    own: UdpSocket,
    /// The port of boot servers.
    boot: UdpSocket,
    /// Sends frames of any kind, and takes those of ARP.
    frames: Socket,
    /// The client's port, while the guard listens.
    probe: Option<UdpSocket>,
}

impl Wire {
    /// Opens the sockets.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrNotAvailable`] while the interface does not have the address.
    pub(crate) fn open(interface: &str, address: Ipv4Addr, link: Link) -> io::Result<Self> {
        let frames = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ARP.to_be()))))?;
        frames.set_nonblocking(true)?;
        nix::sys::socket::bind(frames.as_raw_fd(), &link.at)?;
        Ok(Self {
            link,
            interface: interface.to_owned(),
            address,
            everyone: udp(interface, Ipv4Addr::UNSPECIFIED, SERVER_PORT)?,
            own: udp(interface, address, SERVER_PORT)?,
            boot: udp(interface, address, BOOT_PORT)?,
            frames,
            probe: None,
        })
    }

    /// The sockets that requests come in on, and their ports.
    pub(crate) fn servers(&self) -> [(&UdpSocket, Port); 3] {
        [(&self.everyone, Port::Dhcp), (&self.own, Port::Dhcp), (&self.boot, Port::Boot)]
    }

    /// The socket on which others are heard to have addresses.
    pub(crate) fn frames(&self) -> &Socket {
        &self.frames
    }

    /// The next of them; none when no more was heard.
    pub(crate) fn heard(&self, buffer: &mut [u8]) -> Option<Option<End>> {
        let length = (&self.frames).read(buffer).ok()?;
        Some(buffer.get(..length).and_then(has))
    }

    /// Asks everybody who has `address`.
    pub(crate) fn who_has(&self, address: Ipv4Addr) -> io::Result<()> {
        let frame = who_has(End { mac: self.link.mac, address: self.address }, address);
        whole((&self.frames).write(&frame)?, &frame)
    }

    /// The socket that the guard listens on.
    pub(crate) fn probe(&self) -> Option<&UdpSocket> {
        self.probe.as_ref()
    }

    /// Opens or closes the client's port, which is held no longer than needed.
    pub(crate) fn listen(&mut self, on: bool) -> io::Result<()> {
        if !on {
            self.probe = None;
        } else if self.probe.is_none() {
            self.probe = Some(udp(&self.interface, Ipv4Addr::UNSPECIFIED, CLIENT_PORT)?);
        }
        Ok(())
    }

    /// Broadcasts the guard's question.
    pub(crate) fn ask(&self, payload: &[u8]) -> io::Result<()> {
        let probe = self.probe.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        whole(probe.send_to(payload, SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT))?, payload)
    }

    /// Sends an answer.
    pub(crate) fn send(&self, outgoing: &Outgoing) -> io::Result<()> {
        let payload = &outgoing.payload;
        let to = match outgoing.to {
            Destination::Relay(relay) => SocketAddrV4::new(relay, SERVER_PORT),
            Destination::Unicast(client) => client,
            Destination::Broadcast => SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
            Destination::Hardware { mac, address } => {
                let from = End { mac: self.link.mac, address: self.address };
                let frame = frame(from, End { mac, address }, payload).ok_or(io::ErrorKind::InvalidInput)?;
                return whole((&self.frames).write(&frame)?, &frame);
            }
        };
        let socket = match outgoing.from {
            Port::Dhcp => &self.own,
            Port::Boot => &self.boot,
        };
        whole(socket.send_to(payload, to)?, payload)
    }
}

fn whole(sent: usize, bytes: &[u8]) -> io::Result<()> {
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

fn udp(interface: &str, address: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Two sockets share the port, and other DHCP programs on other interfaces may, too.
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    // The kernel takes it for a wish, and gives as much as `net.core.rmem_max` allows.
    socket.set_recv_buffer_size(RECEIVES)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&SocketAddrV4::new(address, port).into())?;
    Ok(socket.into())
}

/// The next datagram and its sender; none when there is no more. An error that the network left on the socket is
/// none of the next datagram's.
pub(crate) fn receive<'a>(socket: &UdpSocket, buffer: &'a mut [u8]) -> Option<(&'a [u8], SocketAddrV4)> {
    for _ in 0..4 {
        match socket.recv_from(buffer) {
            Ok((length, SocketAddr::V4(from))) => return Some((buffer.get(..length)?, from)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) => {}
        }
    }
    None
}

/// Tells that interfaces or addresses changed, not how.
#[derive(Debug)]
pub(crate) struct Changes(OwnedFd);

impl Changes {
    pub(crate) fn watch() -> io::Result<Self> {
        let socket = nix::sys::socket::socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )?;
        nix::sys::socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, CHANGES))?;
        Ok(Self(socket))
    }

    /// Forgets what was told so far. Lost messages are as good as received ones: both mean a change.
    pub(crate) fn drain(&self) {
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&self.0, &mut buffer) {
                Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
