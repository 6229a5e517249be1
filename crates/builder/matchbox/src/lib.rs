//! A lab of Matchbox's in the words of lab.toml: its groups become nodes, its profiles profiles, its templates configurations
//! (Matchbox 0.11, docs/matchbox.md).
//!
//! Values in, values out. What has no counterpart is left out and told of in a note, one by one; nothing is guessed in silence.

mod profile;
mod template;

use std::collections::{BTreeMap, BTreeSet};

use pilotlight_lab::{Identity, MacAddr};
use serde::Deserialize;
use toml::{Table, Value};

use profile::Profile;

/// The files of a data folder, by their names without the folder and, of groups and profiles, without `.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Store {
    /// `groups/*.json`.
    pub groups: BTreeMap<String, String>,
    /// `profiles/*.json`.
    pub profiles: BTreeMap<String, String>,
    /// `ignition/*`.
    pub ignition: BTreeMap<String, String>,
    /// `cloud/*`.
    pub cloud: BTreeMap<String, String>,
    /// `generic/*`.
    pub generic: BTreeMap<String, String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The lab's text.
    pub lab: String,
    /// What is otherwise than it was, or to be done by hand.
    pub notes: Vec<String>,
}

/// A file that is not as Matchbox reads it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A group or a profile.
    #[error("{path} is not as Matchbox has it")]
    Json {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The result cannot be written down.
    #[error("the lab cannot be written down")]
    Text(#[from] toml::ser::Error),
}

/// Machines, and what they get.
#[derive(Debug, Deserialize)]
struct Group {
    #[serde(default)]
    profile: String,
    #[serde(default)]
    selector: BTreeMap<String, String>,
    #[serde(default)]
    metadata: serde_json::Map<String, serde_json::Value>,
}

/// The lab that `store` comes to, for a Pi with this address and prefix beside the DHCP server that is there already.
///
/// # Errors
/// A group or a profile that is no JSON of Matchbox's.
pub fn import(store: &Store, address: &str) -> Result<Imported, ImportError> {
    let mut notes = Vec::new();
    let (mut profiles, mut names) = (BTreeMap::new(), BTreeSet::new());
    for (id, text) in &store.profiles {
        let profile = Profile::of(id, read(&format!("profiles/{id}.json"), text)?, store, &mut notes);
        if names.insert(profile.name.clone()) {
            profiles.insert(id.as_str(), profile);
        } else {
            notes.push(format!("profiles/{id}.json: left out: another one is called {} here", profile.name));
        }
    }
    let mut seen = BTreeSet::new();
    let mut nodes = Vec::new();
    for (id, text) in &store.groups {
        let group: Group = read(&format!("groups/{id}.json"), text)?;
        let Some(machine) = machine(id, &group, &mut notes) else { continue };
        if !seen.insert(machine.clone()) {
            let (_, known_by) = machine;
            notes.push(format!(
                "groups/{id}.json: {known_by} is another group's already; a machine has one profile here"
            ));
            continue;
        }
        nodes.push(Value::Table(node(id, machine, &group, &profiles, &mut notes)));
    }
    let mut lab = Table::new();
    let network = [("address", address), ("mode", "proxy")];
    let network: Table = network.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    lab.insert("network".to_owned(), network.into());
    let written: Table =
        profiles.values().map(|profile| (profile.name.clone(), profile.table.clone().into())).collect();
    lab.insert("profiles".to_owned(), written.into());
    let configs = profiles.values().filter_map(|profile| profile.config.clone());
    let configs: Table = configs.map(|(name, table)| (name, table.into())).collect();
    if !configs.is_empty() {
        lab.insert("configs".to_owned(), configs.into());
    }
    if !nodes.is_empty() {
        lab.insert("nodes".to_owned(), nodes.into());
    }
    Ok(Imported { lab: toml::to_string_pretty(&lab)?, notes })
}

fn read<T: for<'a> Deserialize<'a>>(path: &str, text: &str) -> Result<T, ImportError> {
    serde_json::from_str(text).map_err(|source| ImportError::Json { path: path.to_owned(), source })
}

/// What the one machine of a group is known by: the key of it, and its value as the lab has it.
fn machine(id: &str, group: &Group, notes: &mut Vec<String>) -> Option<(&'static str, String)> {
    let path = format!("groups/{id}.json");
    let key = ["mac", "uuid", "serial"].into_iter().find(|key| group.selector.contains_key(*key));
    let labels = |without: &str| {
        let others: Vec<&str> =
            group.selector.keys().map(String::as_str).filter(|key| *key != without).collect();
        others.join(", ")
    };
    let Some(key) = key else {
        let by = if group.selector.is_empty() { "nothing".to_owned() } else { labels("") };
        notes.push(format!("{path}: it selects by {by}: here each machine is known by its mac, uuid or serial, so name its machines"));
        return None;
    };
    if group.selector.len() > 1 {
        notes.push(format!("{path}: only its {key} selects here, not {}", labels(key)));
    }
    let text = group.selector.get(key).map(String::as_str).unwrap_or_default();
    let known_by = match key {
        "mac" => text.parse::<MacAddr>().map(|mac| mac.to_string()).map_err(|fault| fault.to_string()),
        "uuid" => Identity::uuid(text).map(|_| text.to_owned()),
        _ => Identity::serial(text).map(|_| text.to_owned()),
    };
    match known_by {
        Ok(known_by) => Some((key, known_by)),
        Err(fault) => {
            notes.push(format!("{path}: {fault}"));
            None
        }
    }
}

fn node(
    id: &str,
    (key, known_by): (&str, String),
    group: &Group,
    profiles: &BTreeMap<&str, Profile>,
    notes: &mut Vec<String>,
) -> Table {
    let mut node = Table::new();
    node.insert("name".to_owned(), host_name(id).into());
    node.insert(key.to_owned(), known_by.into());
    match profiles.get(group.profile.as_str()) {
        Some(profile) => {
            node.insert("profile".to_owned(), profile.name.clone().into());
            if let Some((config, _)) = &profile.config {
                node.insert("config".to_owned(), config.clone().into());
            }
        }
        None => notes.push(format!("groups/{id}.json: there is no profile {:?}", group.profile)),
    }
    let mut variables = Table::new();
    for (name, value) in &group.metadata {
        let path = format!("groups/{id}.json");
        let Some(value) = variable(value) else {
            notes.push(format!("{path}: the metadata {name:?} is neither text, number, truth nor a list"));
            continue;
        };
        let ours = variable_name(name);
        if variables.insert(ours.clone(), value).is_some() {
            notes.push(format!("{path}: two of its metadata are called {ours} here; {name:?} counts"));
        }
    }
    if !variables.is_empty() {
        node.insert("variables".to_owned(), variables.into());
    }
    node
}

fn variable(value: &serde_json::Value) -> Option<Value> {
    match value {
        serde_json::Value::String(text) => Some(text.as_str().into()),
        serde_json::Value::Bool(truth) => Some((*truth).into()),
        serde_json::Value::Number(number) => number.as_i64().map(Into::into),
        serde_json::Value::Array(list) => {
            list.iter().map(variable).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        _ => None,
    }
}

/// A template would take a hyphen for a minus.
fn variable_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// The letters, digits and hyphens of a name, small.
fn host_name(id: &str) -> String {
    let small = id.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let name: String = small.collect();
    name.trim_matches('-').to_owned()
}
