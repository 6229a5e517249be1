//! How nodes are configured: the lab's own templates.

/// A template, out of which each node's own configuration is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who reads it on the node.
    pub kind: ConfigKind,
    /// The template's text, in the language of Jinja.
    pub template: String,
}

/// What a configuration is written in, and so who reads it. A node has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigKind {
    /// cloud-init's YAML, which begins with `#cloud-config`.
    CloudConfig,
    /// Ignition's JSON, specification 3.
    Ignition,
    /// Butane's YAML, of which Ignition's JSON is made.
    Butane,
    /// Answers for the Debian installer, added to those that it gets anyway.
    Preseed,
    /// A machine configuration of Talos: one or more YAML documents.
    Talos,
    /// A plain text.
    Text,
}

impl ConfigKind {
    /// All of them, by what they are called in `lab.toml`.
    pub const NAMES: [(&str, Self); 6] = [
        ("cloud-config", Self::CloudConfig),
        ("ignition", Self::Ignition),
        ("butane", Self::Butane),
        ("preseed", Self::Preseed),
        ("talos", Self::Talos),
        ("text", Self::Text),
    ];

    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::CloudConfig, Self::Ignition, Self::Butane, Self::Preseed, Self::Talos, Self::Text];

    /// What it is called in `lab.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CloudConfig => "cloud-config",
            Self::Ignition => "ignition",
            Self::Butane => "butane",
            Self::Preseed => "preseed",
            Self::Talos => "talos",
            Self::Text => "text",
        }
    }
}
