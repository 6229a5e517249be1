//! An event: one decision that a daemon took. Where events go is the business of [`crate::events`].

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use pilotlight_lab::{MacAddr, Recognised};
use serde::{Deserialize, Serialize};

/// How a decision came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was left undone on purpose: the input was bad, or not for us. `reason` says why.
    Dropped,
    /// It could not be done. `reason` says why.
    Failed,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// Milliseconds since 1970-01-01T00:00:00Z by the Pi's clock, which may be wrong until it is set.
    #[serde(default)]
    pub unix_ms: u64,
    /// Milliseconds since the Pi's power-on; never steps.
    #[serde(default)]
    pub boot_ms: u64,
    /// The daemon: `dhcp`, `tftp`, `http`, …
    pub service: String,
    /// What was decided: `offer`, `ack`, `read`, `get`, …
    pub stage: String,
    /// How it came out.
    pub outcome: Outcome,
    /// The node's name, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The machine's hardware address, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Why, in words, when it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// More facts: `address`, `file`, `bytes`, …
    #[serde(default, flatten, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, serde_json::Value>,
}

impl Event {
    /// The stage of what tells whom a machine was recognised as.
    pub const MET: &str = "met";

    /// A decision that was carried out.
    pub fn ok(service: &str, stage: &str) -> Self {
        Self::new(service, stage, Outcome::Ok, None)
    }

    /// Whom the machine with this hardware address was recognised as.
    pub fn met(service: &str, recognised: Recognised<'_>, mac: MacAddr) -> Self {
        let event = match (recognised, recognised.doubt()) {
            (Recognised::AsAnother(_), doubt) => Self::failed(service, Self::MET, doubt.unwrap_or_default()),
            (Recognised::AsNew(node), _) => Self::ok(service, Self::MET).node(Some(&node.name)),
        };
        event.mac(mac)
    }

    /// Something left undone on purpose.
    pub fn dropped(service: &str, stage: &str, reason: impl ToString) -> Self {
        Self::new(service, stage, Outcome::Dropped, Some(reason.to_string()))
    }

    /// Something that could not be done.
    pub fn failed(service: &str, stage: &str, reason: impl ToString) -> Self {
        Self::new(service, stage, Outcome::Failed, Some(reason.to_string()))
    }

    /// Names the machine, by a hardware address that is known.
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = (mac != MacAddr::UNKNOWN).then(|| mac.to_string());
        self
    }

    /// Names the node, when the lab knows it.
    pub fn node(mut self, name: Option<&str>) -> Self {
        self.node = name.map(str::to_owned);
        self
    }

    /// Adds a fact.
    pub fn fact(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Notes what time it is by both clocks.
    pub fn stamp(&mut self) {
        self.unix_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        self.boot_ms = since_power_on_ms();
    }

    fn new(service: &str, stage: &str, outcome: Outcome, reason: Option<String>) -> Self {
        Self {
            unix_ms: 0,
            boot_ms: 0,
            service: service.to_owned(),
            stage: stage.to_owned(),
            outcome,
            node: None,
            mac: None,
            reason,
            facts: BTreeMap::new(),
        }
    }
}

/// Milliseconds since power-on, suspended time included (`CLOCK_BOOTTIME`).
pub fn since_power_on_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}
