//! `pilotctl dhcp-servers`: asked of the DHCP server, which may send from the ports that it takes.

use std::{path::Path, time::Duration};

use crate::ask::ask;

/// It listens for three seconds before it answers.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn servers(socket: &Path) -> anyhow::Result<()> {
    let silence = "the DHCP server said nothing: too many ask at the same time";
    ask("the DHCP server", socket, None, PATIENCE, silence)
}
