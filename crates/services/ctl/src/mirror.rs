//! `pilotctl mirror`: asked of the service that fetches, which says what came of it when it is done; or what a desk has for it.

use std::{path::Path, time::Duration};

use pilotlight_lab::paths::MIRROR_SOCKET;

use crate::{ask::ask, relay::relay};

/// Gigabytes may come, over any line.
const PATIENCE: Duration = Duration::from_secs(12 * 3600);

pub(crate) fn run(take: bool) -> anyhow::Result<()> {
    let (who, socket) =
        ("what keeps the releases, and listens to operators alone,", Path::new(MIRROR_SOCKET));
    if take {
        return relay(who, socket);
    }
    let silence = "what came of it is not known: it ended without a word (`pilotctl events`)";
    ask(who, socket, Some("look"), PATIENCE, silence)
}
