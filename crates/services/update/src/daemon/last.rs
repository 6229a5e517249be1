//! What became of the last update. It is for people: nothing is decided by it, and without a data partition it is
//! forgotten.

use std::{fs, path::Path};

use pilotlight_disk::Slot;
use pilotlight_lab::paths;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It is to be started.
    Armed,
    /// It works.
    Kept,
    /// It did not.
    WentBack,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Last {
    /// The slot that it was for.
    pub(crate) slot: String,
    pub(crate) state: State,
    /// Why it went back.
    pub(crate) reason: String,
}

impl Last {
    pub(crate) fn read() -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(paths::LAST_UPDATE).ok()?).ok()
    }

    /// A record that cannot be kept changes nothing.
    pub(crate) fn write(&self) {
        let path = Path::new(paths::LAST_UPDATE);
        let new = path.with_extension("new");
        let text = serde_json::to_string(self).unwrap_or_default();
        let written = fs::write(&new, text).and_then(|()| fs::File::open(&new)?.sync_all());
        if let Err(fault) = written.and_then(|()| fs::rename(&new, path)) {
            eprintln!("pilotlight-updated: cannot record it in {}: {fault}", path.display());
        }
    }

    /// In words, seen from the slot that runs.
    pub(crate) fn words(&self, running: Slot, trial: bool) -> String {
        let slot = &self.slot;
        match self.state {
            State::Kept => format!("slot {slot} was kept"),
            State::WentBack => format!("slot {slot} was left again: {}", self.reason),
            State::Armed if running.name() == slot && trial => format!("slot {slot} is on trial"),
            State::Armed if running.name() == slot => format!("slot {slot} was kept"),
            State::Armed => {
                format!("slot {slot} was left again: it never got as far as saying that it works")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_words() {
        let check = |state, running, trial, expect: &str| {
            let last = Last { slot: "b".to_owned(), state, reason: "a unit failed".to_owned() };
            assert_eq!(last.words(running, trial), expect);
        };
        check(State::Armed, Slot::B, true, "slot b is on trial");
        check(
            State::Armed,
            Slot::A,
            false,
            "slot b was left again: it never got as far as saying that it works",
        );
        check(State::Kept, Slot::B, false, "slot b was kept");
        check(State::WentBack, Slot::A, false, "slot b was left again: a unit failed");
    }
}
