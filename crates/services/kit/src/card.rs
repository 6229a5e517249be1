//! Whether the card remembers.

use std::path::Path;

/// Whether `init` found a card whose data partition cannot be used: what is written is in memory then, and gone with the next
/// start. Where no `init` left a word this is no Pi, and its folders are what they are elsewhere.
pub fn forgets(status: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(status) else { return false };
    let state = serde_json::from_str::<serde_json::Value>(&text).map(|card| card["data"]["state"] == "ok");
    !state.unwrap_or_default()
}
