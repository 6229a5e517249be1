//! How the release of each system is found, and what of it is believed: what their servers say, read as values.

pub(crate) mod fedora;
pub(crate) mod flatcar;
pub(crate) mod oci;
pub(crate) mod sums;
pub(crate) mod talos;

use pilotlight_fetch::Digest;

/// A file of a release, before it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its name here.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) url: String,
    /// Its digest, where somebody says it.
    pub(crate) sha256: Option<Digest>,
    /// Where its signature is, where there is one.
    pub(crate) signature: Option<String>,
}

/// What a server says that is not what its project publishes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Strange {
    /// A field that is missing or unreadable.
    #[error("it has no readable {0}")]
    Field(String),
    /// A text of something else.
    #[error("it is of {found}, not of {asked}: the server hands out the wrong one")]
    Other {
        /// What was asked for.
        asked: String,
        /// What came.
        found: String,
    },
    /// Nothing of this channel.
    #[error("it lists no release of {0}")]
    None(String),
}

/// Puts what is known into an address.
pub(crate) fn filled(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}
