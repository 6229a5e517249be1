//! The operators' socket. Who connects is told which other DHCP servers are on the wire: a line for each, and the end.

use std::{
    io::{self, Write as _},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
};

use anyhow::Context as _;
use pilotlight_dhcp::survey::Found;

/// How many may wait at a time. Whoever else connects finds the connection closed.
const MOST: usize = 8;

/// The socket, and who waits for an answer.
#[derive(Debug)]
pub(crate) struct Control {
    listener: Option<UnixListener>,
    waiting: Vec<UnixStream>,
}

impl Control {
    /// The socket that systemd handed over, or a new one at `path`; without either nobody can ask.
    pub(crate) fn open(given: Vec<OwnedFd>, path: Option<&Path>) -> anyhow::Result<Self> {
        let listener = match (given.into_iter().next(), path) {
            (Some(socket), _) => Some(UnixListener::from(socket)),
            (None, Some(path)) => Some(
                UnixListener::bind(path).with_context(|| format!("make the socket {}", path.display()))?,
            ),
            (None, None) => None,
        };
        if let Some(listener) = &listener {
            listener.set_nonblocking(true).context("set up the operators' socket")?;
        }
        Ok(Self { listener, waiting: Vec::new() })
    }

    /// Readable when somebody connects.
    pub(crate) fn listener(&self) -> Option<&UnixListener> {
        self.listener.as_ref()
    }

    /// Takes in who connected.
    pub(crate) fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        while let Ok((stream, _)) = listener.accept() {
            if self.waiting.len() < MOST && stream.set_nonblocking(true).is_ok() {
                self.waiting.push(stream);
            }
        }
    }

    /// Whether somebody waits for an answer.
    pub(crate) fn is_asked(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tells all who wait who else is on the wire of `interface`.
    pub(crate) fn answer(&mut self, interface: &str, found: &[Found]) {
        let lines: String = found.iter().map(|found| format!("{found}\n")).collect();
        let none = format!("no other DHCP server answers on {interface}\n");
        self.say(if lines.is_empty() { &none } else { &lines });
    }

    /// Tells all who wait why they are told nothing.
    pub(crate) fn refuse(&mut self, reason: &str) {
        self.say(&format!("refused: {reason}\n"));
    }

    fn say(&mut self, text: &str) {
        for mut stream in self.waiting.drain(..) {
            // Who went away meanwhile is no fault.
            let _: io::Result<()> = stream.write_all(text.as_bytes());
        }
    }
}
