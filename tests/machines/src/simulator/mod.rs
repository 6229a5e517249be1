//! Whole boots in memory: machines against what the services decide, over a wire that loses, doubles, delays and
//! reorders, with a card that takes its time and a Pi whose services are killed. A seed decides everything.
//!
//! No socket, no file, no clock: a boot takes less than a millisecond. What must hold is checked while it is played and
//! at the end ([`Violation`]); the line that plays a seed again is printed with it.

mod pi;
mod play;
mod rules;
mod world;

pub use play::{Report, play, play_aloud};
pub use rules::Violation;
pub use world::{Member, Wire, World};

/// Plays the seeds from `first` on, `count` of them, and adds up what they were.
///
/// # Errors
/// The first seed that shows a fault, and the fault.
pub fn seeds(first: u64, count: u64) -> Result<Report, (u64, Violation)> {
    let mut sum = Report::default();
    for seed in first..first.saturating_add(count) {
        let report = play(&World::from_seed(seed)).map_err(|violation| (seed, violation))?;
        sum += report;
    }
    Ok(sum)
}

/// What plays `seed` again.
pub fn again(seed: u64) -> String {
    format!("cargo run --package pilotlight-machines -- --seed {seed}")
}
