//! How long each step took, and a word to the person who waits.

use std::time::{Duration, Instant};

/// One step of a build.
#[derive(Debug, Clone)]
pub struct Step {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub time: Duration,
    /// More to say of it; may be empty.
    pub note: &'static str,
}

/// The steps so far.
#[derive(Debug, Default)]
pub(crate) struct Steps(Vec<Step>);

impl Steps {
    /// Runs `work` as the step `name`. A person at a terminal sees what is being done.
    pub(crate) fn run<T, E>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let bar = indicatif::ProgressBar::new_spinner().with_message(name);
        bar.enable_steady_tick(Duration::from_millis(200));
        let start = Instant::now();
        let result = work();
        bar.finish_and_clear();
        self.note(name, start.elapsed(), "");
        result
    }

    /// Adds a step that was measured elsewhere.
    pub(crate) fn note(&mut self, name: &'static str, time: Duration, note: &'static str) {
        self.0.push(Step { name, time, note });
    }

    pub(crate) fn into_inner(self) -> Vec<Step> {
        self.0
    }
}
