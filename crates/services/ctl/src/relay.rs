//! Between the desk and a service that takes what it sends: bytes both ways, until one of them has enough.

use std::{
    io::{self, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    thread,
};

use anyhow::Context as _;

/// Relays to `who`, which listens at `socket`.
pub(crate) fn relay(who: &str, socket: &Path) -> anyhow::Result<()> {
    let service =
        UnixStream::connect(socket).with_context(|| format!("cannot reach {who} at {}", socket.display()))?;
    let mut to_service = service.try_clone().context("cannot use the connection twice")?;
    // Ends with the process, when the service has said its last word.
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut to_service);
        let _ = to_service.shutdown(Shutdown::Write);
    });
    let mut out = io::stdout().lock();
    // Not io::copy into the buffered standard output: an answer is awaited at the other end.
    let mut from_service = service;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut from_service, &mut buffer).with_context(|| format!("{who} went away"))? {
            0 => return Ok(()),
            count => {
                out.write_all(&buffer[..count]).and_then(|()| out.flush()).context("the desk went away")?;
            }
        }
    }
}
