//! How nodes are configured: the lab's own templates.

use crate::words::words;

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

words!(ConfigKind { CloudConfig = "cloud-config", Ignition = "ignition", Butane = "butane", Preseed = "preseed", Talos = "talos", Text = "text" });

impl ConfigKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::CloudConfig, Self::Ignition, Self::Butane, Self::Preseed, Self::Talos, Self::Text];
}
