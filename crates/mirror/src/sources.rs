//! Where releases come from, and whose signature counts: data, of which the builder brings its own.

use serde::Deserialize;

/// Where everything comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sources {
    /// Flatcar Container Linux.
    pub flatcar: Signed,
    /// Fedora CoreOS.
    pub fedora_coreos: Signed,
    /// Talos Linux.
    pub talos: Listed,
    /// Kubernetes' programs.
    pub kubernetes: Plain,
    /// The CNI plugins.
    pub cni_plugins: Plain,
}

/// Releases that are signed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// Where they are.
    pub releases: String,
    /// The file with the keys.
    pub keys: String,
    /// The fingerprints of the primary keys that count, in upper-case hexadecimal digits.
    pub pinned: Vec<String>,
}

/// Releases that are listed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// The list.
    pub versions: String,
    /// Where they are.
    pub releases: String,
}

/// Releases that are asked for by their version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plain {
    /// Where they are.
    pub releases: String,
}

/// A text that does not say where everything comes from.
#[derive(Debug, thiserror::Error)]
#[error("not a list of sources: {0}")]
pub struct SourcesError(String);

impl Sources {
    /// Those that the builder brings along.
    ///
    /// # Errors
    /// None: a test reads them.
    pub fn own() -> Result<Self, SourcesError> {
        Self::parse(include_str!("sources.toml"))
    }

    /// Reads a text of the form of `sources.toml`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, SourcesError> {
        let sources: Self = toml::from_str(text).map_err(|fault| SourcesError(fault.message().to_owned()))?;
        for pinned in sources.flatcar.pinned.iter().chain(&sources.fedora_coreos.pinned) {
            let right = pinned.len() == 40 && pinned.bytes().all(|c| matches!(c, b'0'..=b'9' | b'A'..=b'F'));
            if !right {
                let what =
                    format!("{pinned:?} is no fingerprint: 40 upper-case hexadecimal digits are wanted");
                return Err(SourcesError(what));
            }
        }
        Ok(sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_can_be_read() {
        let own = Sources::own().unwrap();
        assert_eq!(own.flatcar.pinned.len(), 1);
        let text = include_str!("sources.toml");
        for (from, to) in [("[talos]", "[tales]"), ("pinned = [\"F", "pinned = [\"f"), ("keys =", "key =")] {
            assert!(Sources::parse(&text.replacen(from, to, 1)).is_err(), "{from}");
        }
    }
}
