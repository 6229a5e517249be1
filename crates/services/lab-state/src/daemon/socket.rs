//! The socket that events come to, with the sender that the kernel vouches for, and the one that operators come to.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener},
    },
    path::Path,
};

use anyhow::{Context as _, bail};
use rustix::{
    fs::Mode,
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, recvmsg,
        sockopt::{set_socket_passcred, socket_type},
    },
};

/// The sockets handed over, or new ones in the place of those that a former run left behind: for events at `path`, for
/// operators at `desk`, if anywhere.
pub(crate) fn open(
    given: Vec<OwnedFd>,
    path: &Path,
    desk: Option<&Path>,
) -> anyhow::Result<(UnixDatagram, Option<UnixListener>)> {
    let (mut events, mut operators) = (None, None);
    for socket in given {
        match socket_type(&socket).context("systemd handed over something else than a socket")? {
            SocketType::DGRAM => events = Some(UnixDatagram::from(socket)),
            SocketType::STREAM => operators = Some(UnixListener::from(socket)),
            _ => bail!("systemd handed over a socket that takes neither datagrams nor connections"),
        }
    }
    let events = match events {
        Some(events) => events,
        None => bind(path).with_context(|| format!("cannot take events at {}", path.display()))?,
    };
    let listen = |path: &Path| {
        let listener = remove(path).and_then(|()| UnixListener::bind(path));
        listener.with_context(|| format!("cannot listen for operators at {}", path.display()))
    };
    let operators = operators.map(Ok).or_else(|| desk.map(listen)).transpose()?;
    events.set_nonblocking(true).context("cannot set up the socket")?;
    set_socket_passcred(&events, true).context("cannot ask for the senders of events")?;
    Ok((events, operators))
}

fn bind(path: &Path) -> io::Result<UnixDatagram> {
    remove(path)?;
    let socket = UnixDatagram::bind(path)?;
    // Anyone may write to it: the sender's user decides, and the kernel vouches for that.
    rustix::fs::chmod(path, Mode::from_raw_mode(0o666))?;
    Ok(socket)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
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
