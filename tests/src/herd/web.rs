//! One page over HTTP, as a loader gets it: a connection of its own, a request, and the body counted and summed up.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};

use mio::net::TcpStream;
use pilotlight_machines::{Content, Growing};
use socket2::{Domain, Protocol, Socket, Type};

const PORT: u16 = 80;
const HEAD_END: &[u8] = b"\r\n\r\n";
/// A head that is longer is none.
const LONGEST_HEAD: usize = 8192;

/// A page on its way.
#[derive(Debug)]
pub(super) struct Web {
    pub(super) stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    head: Vec<u8>,
    /// The length of the body, once the head is there.
    length: Option<u64>,
    body: Growing,
}

impl Web {
    /// Begins to ask `server` for `target`, from `address`.
    pub(super) fn open(address: Ipv4Addr, server: Ipv4Addr, target: &str) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddrV4::new(address, 0).into())?;
        match socket.connect(&SocketAddr::from((server, PORT)).into()) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            other => other?,
        }
        let request = format!(
            "GET {target} HTTP/1.1\r\nConnection: keep-alive\r\nUser-Agent: iPXE/1.21.1\r\nHost: {server}\r\n\r\n"
        );
        Ok(Self {
            stream: TcpStream::from_std(socket.into()),
            request: request.into_bytes(),
            sent: 0,
            head: Vec::new(),
            length: None,
            body: Growing::default(),
        })
    }

    /// Goes on as far as the socket allows; gives the page when it is whole.
    ///
    /// # Errors
    /// The connection ended, or the answer is not 200.
    pub(super) fn go_on(&mut self, buffer: &mut [u8]) -> io::Result<Option<Content>> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if waits(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.take(&buffer[..length])?,
                Err(error) if waits(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
            if self.length == Some(self.body.length()) {
                return Ok(Some(self.body.content()));
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length.is_some() {
            self.body.add(bytes);
            return Ok(());
        }
        let bad = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        self.head.extend(bytes);
        let Some(end) = self.head.windows(HEAD_END.len()).position(|window| window == HEAD_END) else {
            let fits = self.head.len() < LONGEST_HEAD;
            return if fits { Ok(()) } else { Err(bad("the head of the answer has no end".to_owned())) };
        };
        let body = self.head.split_off(end + HEAD_END.len());
        let head = String::from_utf8_lossy(&self.head);
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        if !head.starts_with("HTTP/1.1 200 ") || length.is_none() {
            return Err(bad(head.lines().next().unwrap_or_default().to_owned()));
        }
        self.length = length;
        self.body.add(&body);
        Ok(())
    }
}

fn waits(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, NotConnected, WouldBlock};
    matches!(error.kind(), Interrupted | NotConnected | WouldBlock)
}
