//! Between the desk and the update service: bytes both ways, until one of them has enough.

use std::{
    io::{self, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    thread,
};

use anyhow::Context as _;
use pilotlight_lab::paths;

pub(crate) fn relay() -> anyhow::Result<()> {
    let service = UnixStream::connect(paths::UPDATE_SOCKET)
        .with_context(|| format!("cannot reach the update service at {}", paths::UPDATE_SOCKET))?;
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
        match io::Read::read(&mut from_service, &mut buffer).context("the update service went away")? {
            0 => return Ok(()),
            count => {
                out.write_all(&buffer[..count]).and_then(|()| out.flush()).context("the desk went away")?;
            }
        }
    }
}
