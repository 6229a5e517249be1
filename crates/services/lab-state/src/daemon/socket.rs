//! The socket that events come to, with the sender that the kernel vouches for.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
};

use anyhow::{Context as _, ensure};
use rustix::{
    fs::Mode,
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, recvmsg,
        sockopt::{set_socket_passcred, socket_type},
    },
};

/// The socket handed over, or a new one at `path` in the place of one that a former run left behind.
pub(crate) fn open(given: Vec<OwnedFd>, path: &Path) -> anyhow::Result<UnixDatagram> {
    let socket = match given.into_iter().next() {
        Some(socket) => {
            let kind = socket_type(&socket).context("systemd handed over something else than a socket")?;
            ensure!(kind == SocketType::DGRAM, "systemd handed over a socket that takes no datagrams");
            UnixDatagram::from(socket)
        }
        None => bind(path).with_context(|| format!("cannot take events at {}", path.display()))?,
    };
    socket.set_nonblocking(true).context("cannot set up the socket")?;
    set_socket_passcred(&socket, true).context("cannot ask for the senders of events")?;
    Ok(socket)
}

fn bind(path: &Path) -> io::Result<UnixDatagram> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixDatagram::bind(path)?;
    // Anyone may write to it: the sender's user decides, and the kernel vouches for that.
    rustix::fs::chmod(path, Mode::from_raw_mode(0o666))?;
    Ok(socket)
}

/// The next datagram's length and its sender's user; none when there is none.
pub(crate) fn receive(
    socket: &UnixDatagram,
    buffer: &mut [u8],
) -> anyhow::Result<Option<(usize, Option<u32>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno).context("cannot take an event"),
        }
    };
    let uid = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.uid.as_raw()),
        _ => None,
    });
    Ok(Some((received.bytes, uid)))
}
