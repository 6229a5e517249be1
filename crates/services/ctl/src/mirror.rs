//! `pilotctl mirror`: asked of the service that fetches, which says what came of it when it is done.

use std::{path::Path, time::Duration};

use pilotlight_lab::paths::MIRROR_SOCKET;

use crate::ask::ask;

/// Gigabytes may come, over any line.
const PATIENCE: Duration = Duration::from_secs(12 * 3600);

pub(crate) fn run() -> anyhow::Result<()> {
    let silence = "what came of it is not known: it ended without a word (`pilotctl events`)";
    ask(
        "what looks for releases, and listens to operators alone,",
        Path::new(MIRROR_SOCKET),
        None,
        PATIENCE,
        silence,
    )
}
