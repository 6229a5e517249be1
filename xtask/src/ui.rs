//! How verbs speak to a person.

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use pilotlight_card::BadLab;

/// Tells an error and what caused it, once, each on its own line; of a lab, every mistake with its place.
pub(crate) fn tell(error: &anyhow::Error) {
    if let Some(bad) = error.downcast_ref::<BadLab>() {
        eprint!("{}", bad.problems.render(&bad.name, &bad.text, colour()));
        return;
    }
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    if error.chain().any(is_full_disk) {
        eprintln!("  hint: free some space, then run the same command again; what was fetched is kept");
    }
}

fn is_full_disk(cause: &(dyn std::error::Error + 'static)) -> bool {
    let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
    kind.is_some_and(|kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

/// Whether to colour what goes to standard error.
pub(crate) fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// The workspace that this program was built in, as cargo says it.
pub(crate) fn workspace() -> anyhow::Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    // The manifest of whatever cargo runs for; the workspace is the folder above that holds boards/.
    let found = manifest.ancestors().find(|folder| folder.join("boards").is_dir());
    found.map(Path::to_owned).with_context(|| {
        format!("no folder above {} holds boards/: is this Pilotlight's workspace?", manifest.display())
    })
}

/// Bytes for a person.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..10_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

/// Seconds for a person.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// A bar for so many bytes that are sent to a Pi.
pub(crate) fn sending(bytes: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg:<10} {bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style).with_message("sending")
}
