//! A line to a service over its Unix socket, and its answer.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// Sends `line`, or nothing where the service speaks by itself, and returns all that comes until the service closes, `longest`
/// bytes at the most. It waits `patience` for each part.
///
/// # Errors
/// Nobody answers there, or not in time.
pub fn exchange(socket: &Path, line: Option<&[u8]>, patience: Duration, longest: u64) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    if let Some(line) = line {
        stream.write_all(&[line, b"\n"].concat())?;
    }
    let mut answer = Vec::new();
    stream.take(longest).read_to_end(&mut answer)?;
    Ok(answer)
}
