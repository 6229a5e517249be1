//! `pilotctl dhcp-servers`: asked of the DHCP server, which may send from the ports that it takes.

use std::{io::Read as _, os::unix::net::UnixStream, path::Path, time::Duration};

use anyhow::{Context as _, bail};

/// It listens for three seconds before it answers.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn servers(socket: &Path) -> anyhow::Result<()> {
    let ask = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = ask().with_context(|| format!("the DHCP server does not answer at {}", socket.display()))?;
    match answer.trim_end() {
        "" => bail!("the DHCP server said nothing: too many ask at the same time"),
        refused if refused.starts_with("refused: ") => bail!("{refused}"),
        good => println!("{good}"),
    }
    Ok(())
}
