//! Whose story is told.

use pilotlight_lab::{Lab, MacAddr};

/// A machine, known by its hardware address; by its name as well where the lab has one for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its hardware address.
    pub mac: MacAddr,
    /// Its name.
    pub name: Option<String>,
}

/// Nobody is called that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoMachine {
    /// What was looked for.
    pub wanted: String,
    /// The names that there are.
    pub names: Vec<String>,
}

impl Machine {
    /// The machine that `wanted` means: the name of a node in `lab`, or a hardware address.
    ///
    /// # Errors
    /// When it is neither.
    pub fn find(wanted: &str, lab: &Lab) -> Result<Self, NoMachine> {
        if let Some(node) = lab.node_by_name(wanted) {
            return Ok(Self { mac: node.mac, name: Some(node.name.clone()) });
        }
        let mac: MacAddr = wanted.parse().map_err(|_| NoMachine {
            wanted: wanted.to_owned(),
            names: lab.nodes.iter().map(|node| node.name.clone()).collect(),
        })?;
        Ok(Self { mac, name: lab.node_by_mac(mac).map(|node| node.name.clone()) })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) if self.mac == MacAddr::UNKNOWN => write!(out, "{name} (not met yet)"),
            Some(name) => write!(out, "{name} ({})", self.mac),
            None => write!(out, "{}", self.mac),
        }
    }
}

impl std::fmt::Display for NoMachine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?} is neither a node of lab.toml nor a hardware address", self.wanted)?;
        if self.names.is_empty() {
            return write!(out, "; lab.toml names no nodes");
        }
        write!(out, "; the nodes are {}", self.names.join(", "))
    }
}

impl std::error::Error for NoMachine {}
