//! The status files that `init` leaves for `pilotctl` and the services, and its one line on the console.

use pilotlight_disk::{Slot, Trial};
use serde_json::{Value, json};

use crate::lab::{Choice, Source};

/// What became of the data partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// It is mounted and takes writes.
    Ok,
    /// There is none, and why that is so. State is kept in memory.
    Absent(String),
    /// There is one that cannot be used, and why. It is left as it is; state is kept in memory.
    Corrupt(String),
}

impl Data {
    /// Its name in the status file and in what is printed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Absent(_) => "absent",
            Self::Corrupt(_) => "corrupt",
        }
    }

    /// Why it is not in use.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Ok => None,
            Self::Absent(reason) | Self::Corrupt(reason) => Some(reason),
        }
    }
}

/// The card as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The kernel's name for the disk, such as `mmcblk0`.
    pub disk: String,
    /// The disk's signature.
    pub signature: u32,
    /// The slot that was started.
    pub slot: Slot,
    /// Whether it is on trial.
    pub trial: Trial,
    /// The root's partition, such as `mmcblk0p2`.
    pub root: String,
    /// What became of the data partition.
    pub data: Data,
    /// The data partition's size in bytes, where there is one.
    pub data_bytes: Option<u64>,
    /// Its size in bytes before it was grown, where that happened on this boot.
    pub grown_from: Option<u64>,
    /// What else went wrong without stopping the start.
    pub notes: Vec<String>,
}

/// The file at [`pilotlight_lab::paths::CARD_STATUS`].
pub fn card_json(card: &Card) -> Value {
    json!({
        "disk": card.disk,
        "signature": format!("{:08x}", card.signature),
        "slot": card.slot.name(),
        "trial": card.trial != Trial::Settled,
        "root": card.root,
        "data": {
            "state": card.data.name(),
            "reason": card.data.reason(),
            "bytes": card.data_bytes,
            "grown-from": card.grown_from,
        },
        "notes": card.notes,
    })
}

/// The file at [`pilotlight_lab::paths::LAB_STATUS`].
pub fn lab_json(choice: &Choice) -> Value {
    json!({ "source": choice.source.name(), "problem": choice.problem })
}

/// The line on the console: what was started, from where, how long it took.
pub fn line(card: &Card, lab: Source, seconds: f64) -> String {
    format!(
        "root {}{} on {}, data {}, lab from {} ({seconds:.2} s)",
        card.slot,
        if card.trial == Trial::Settled { "" } else { " (on trial)" },
        card.root,
        card.data.name(),
        match lab {
            Source::Card => "card",
            Source::LastGood => "the last good one",
            Source::Default => "the image",
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(data: Data) -> Card {
        Card {
            disk: "mmcblk0".to_owned(),
            signature: 0x0bad_cafe,
            slot: Slot::A,
            trial: Trial::Settled,
            root: "mmcblk0p2".to_owned(),
            data,
            data_bytes: Some(1 << 28),
            grown_from: None,
            notes: vec!["a module".to_owned()],
        }
    }

    #[test]
    fn the_status_names_state_and_reason() {
        let found = card_json(&card(Data::Corrupt("bad magic".to_owned())));
        assert_eq!(
            found.to_string(),
            r#"{"data":{"bytes":268435456,"grown-from":null,"reason":"bad magic","state":"corrupt"},"disk":"mmcblk0","notes":["a module"],"root":"mmcblk0p2","signature":"0badcafe","slot":"a","trial":false}"#
        );
        assert_eq!(card_json(&card(Data::Ok))["data"]["reason"], Value::Null);
    }

    #[test]
    fn the_line_says_it_in_one_breath() {
        assert_eq!(
            line(&card(Data::Ok), Source::Card, 0.4149),
            "root a on mmcblk0p2, data ok, lab from card (0.41 s)"
        );
        assert_eq!(
            line(&card(Data::Absent(String::new())), Source::LastGood, 12.0),
            "root a on mmcblk0p2, data absent, lab from the last good one (12.00 s)"
        );
        let tried = Card { slot: Slot::B, trial: Trial::Tried, ..card(Data::Ok) };
        let said = line(&tried, Source::Card, 1.0);
        assert!(said.starts_with("root b (on trial) on mmcblk0p2"), "{said}");
        assert_eq!(card_json(&tried)["trial"], true);
    }
}
