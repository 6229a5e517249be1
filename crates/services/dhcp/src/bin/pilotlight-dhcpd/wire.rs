//! The interface and its sockets.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use nix::{
    ifaddrs::getifaddrs,
    libc::{
        self, BPF_ABS, BPF_B, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_LEN, BPF_RET, BPF_W, IFF_RUNNING,
        RTM_NEWLINK, RTMGRP_IPV4_IFADDR, RTMGRP_LINK,
    },
    net::if_::InterfaceFlags,
    sys::socket::{AddressFamily, LinkAddr, NetlinkAddr, SockFlag, SockProtocol, SockType},
};
use pilotlight_dhcp::{
    drops::Counters,
    frame::{ARP, End, frame, has, who_has},
    packet::{BOOT_PORT, CLIENT_PORT, SERVER_PORT},
    server::{Destination, Outgoing, Port},
};
use pilotlight_lab::MacAddr;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

/// rtnetlink(7): interfaces come, go and find a cable; IPv4 addresses come and go.
const CHANGES: u32 = (RTMGRP_LINK | RTMGRP_IPV4_IFADDR) as u32;

/// Who takes a broadcast.
const EVERYBODY: End = End { mac: MacAddr([0xff; 6]), address: Ipv4Addr::BROADCAST };

/// What each socket may hold, in bytes: a thousand machines whose power comes back together all ask within a moment, and
/// what is dropped here is asked again only after seconds (PXE 2.1 § 2.2.6: four).
const RECEIVES: usize = 1 << 20;

/// A datagram that waits takes at least so much memory of the kernel, in bytes: what describes it is larger.
const LEAST: u32 = 512;

/// Which of [`Wire::servers`] take broadcasts.
pub(crate) const BROADCASTS: [usize; 2] = [0, 3];

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

    /// Its number.
    pub(crate) fn index(&self) -> u32 {
        self.at.ifindex() as u32
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
    /// Takes broadcasts, but for those of `newcomers`.
    everyone: UdpSocket,
    /// Takes the DISCOVERs among them: a flood of these must not push out what those say who have been made an offer.
    newcomers: UdpSocket,
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
        let broadcasts = |discovers| {
            let socket = udp(interface, Ipv4Addr::UNSPECIFIED, SERVER_PORT)?;
            SockRef::from(&socket).attach_filter(&only(discovers))?;
            Ok::<UdpSocket, io::Error>(socket)
        };
        Ok(Self {
            link,
            interface: interface.to_owned(),
            address,
            everyone: broadcasts(false)?,
            newcomers: broadcasts(true)?,
            own: udp(interface, address, SERVER_PORT)?,
            boot: udp(interface, address, BOOT_PORT)?,
            frames,
            probe: None,
        })
    }

    /// The sockets that requests come in on, and their ports. The last one's can wait longest.
    pub(crate) fn servers(&self) -> [(&UdpSocket, Port); 4] {
        [
            (&self.everyone, Port::Dhcp),
            (&self.own, Port::Dhcp),
            (&self.boot, Port::Boot),
            (&self.newcomers, Port::Dhcp),
        ]
    }

    /// What the kernel refused and dropped so far.
    pub(crate) fn counters(&self) -> io::Result<Counters> {
        let [everyone, newcomers, own, boot] =
            [&self.everyone, &self.newcomers, &self.own, &self.boot].map(meminfo);
        let (everyone, newcomers) = (everyone?, newcomers?);
        Ok(Counters {
            broadcasts: [everyone.dropped, newcomers.dropped],
            others: [own?.dropped, boot?.dropped],
            waiting: (everyone.held / LEAST).saturating_add(newcomers.held / LEAST),
        })
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
            // A broadcast by way of the kernel's routing comes back to this machine as well, which costs as much again.
            Destination::Broadcast => return self.frame(EVERYBODY, payload),
            Destination::Hardware { mac, address } => return self.frame(End { mac, address }, payload),
        };
        let socket = match outgoing.from {
            Port::Dhcp => &self.own,
            Port::Boot => &self.boot,
        };
        whole(socket.send_to(payload, to)?, payload)
    }

    fn frame(&self, to: End, payload: &[u8]) -> io::Result<()> {
        let from = End { mac: self.link.mac, address: self.address };
        let frame = frame(from, to, payload).ok_or(io::ErrorKind::InvalidInput)?;
        whole((&self.frames).write(&frame)?, &frame)
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

/// What the kernel says of a socket.
struct Meminfo {
    /// How much memory holds what waits in it, in bytes.
    held: u32,
    /// What was not put into it: there was no room, or its filter did not want it.
    dropped: u32,
}

fn meminfo(socket: &UdpSocket) -> io::Result<Meminfo> {
    // `SK_MEMINFO_VARS` of linux/sock_diag.h.
    let mut numbers = [0u32; 9];
    let mut length = size_of_val(&numbers) as libc::socklen_t;
    let (fd, into) = (socket.as_raw_fd(), numbers.as_mut_ptr().cast());
    // SAFETY: the kernel writes no more than `length` bytes, which `numbers` has.
    let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, into, &raw mut length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let [held, .., dropped] = numbers;
    Ok(Meminfo { held, dropped })
}

/// Takes DISCOVERs alone, or all else: by the first option, which is where clients say what it is. A DISCOVER that says it
/// later is among all else, and no worse off. The program is one of the kernel's for sockets (BPF), which shows it
/// the UDP header too.
fn only(discovers: bool) -> [SockFilter; 8] {
    const FIRST_OPTION: u32 = 8 + 240;
    const DISCOVER: u32 = 1;
    let [length, byte] = [BPF_LD | BPF_W | BPF_LEN, BPF_LD | BPF_B | BPF_ABS];
    let step = |code: u32, no: u8, value: u32| SockFilter::new(code as u16, 0, no, value);
    let answer = |take: bool| step(BPF_RET | BPF_K, 0, if take { u32::MAX } else { 0 });
    [
        step(length, 0, 0),
        // Where it does not hold, so many steps are skipped: the last one's answer is that for all else.
        step(BPF_JMP | BPF_JGE | BPF_K, 5, FIRST_OPTION + 3),
        step(byte, 0, FIRST_OPTION),
        step(BPF_JMP | BPF_JEQ | BPF_K, 3, 53),
        step(byte, 0, FIRST_OPTION + 2),
        step(BPF_JMP | BPF_JEQ | BPF_K, 1, DISCOVER),
        answer(discovers),
        answer(!discovers),
    ]
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

    /// Takes what was told so far, and says whether the interface with the number `index` may have been without a cable
    /// meanwhile: one that comes back at once would not show otherwise. Lost messages may have said anything.
    pub(crate) fn drain(&self, index: Option<u32>) -> bool {
        let mut was_down = false;
        let mut buffer = [0; 8192];
        loop {
            match rustix::io::read(&self.0, &mut buffer) {
                Ok(length) => was_down |= buffer.get(..length).is_some_and(|told| says_down(told, index)),
                Err(rustix::io::Errno::NOBUFS) => was_down = true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return was_down,
            }
        }
    }
}

/// Whether one of these messages (netlink(7), rtnetlink(7)) is about a link with this number that has no carrier.
fn says_down(mut messages: &[u8], index: Option<u32>) -> bool {
    const HEADER: usize = 16;
    let number = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_ne_bytes)
    };
    while let Some(length) = number(messages, 0).map(|length| length as usize) {
        let Some(message) = messages.get(..length).filter(|message| message.len() >= HEADER) else { break };
        let kind =
            number(message, 4).map(|word| u16::from_ne_bytes([word.to_ne_bytes()[0], word.to_ne_bytes()[1]]));
        // What follows the header is a `struct ifinfomsg`.
        let (link, flags) = (number(message, HEADER + 4), number(message, HEADER + 8));
        let running = flags.is_some_and(|flags| flags & (IFF_RUNNING as u32) != 0);
        if kind == Some(RTM_NEWLINK) && link == index && !running {
            return true;
        }
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(link: u32, flags: u32) -> Vec<u8> {
        let mut message = vec![0; 32];
        message[..4].copy_from_slice(&32u32.to_ne_bytes());
        message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        message[20..24].copy_from_slice(&link.to_ne_bytes());
        message[24..28].copy_from_slice(&flags.to_ne_bytes());
        message
    }

    #[test]
    fn a_cable_that_was_pulled_shows_although_it_is_back() {
        let (up, down) = (IFF_RUNNING as u32 | 1, 1);
        for (name, messages, expect) in [
            ("pulled and plugged in", [about(2, down), about(2, up)].concat(), true),
            ("there all the time", [about(2, up), about(2, up)].concat(), false),
            ("another one", about(3, down), false),
            ("cut short", about(2, down)[..20].to_vec(), false),
            ("nothing", vec![], false),
            ("of no length", vec![0; 64], false),
        ] {
            assert_eq!(says_down(&messages, Some(2)), expect, "{name}");
        }
    }
}
