//! `archives.toml`: which archives there are, whose signature counts, and which sets of packages are taken.
//!
//! Knows nothing of what the archives hold.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::Deserialize;

use crate::{
    digest::Digest,
    mirrors::{self, Mirrors},
};

/// A checked `archives.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Spec {
    /// The archives by name.
    pub archives: BTreeMap<String, ArchiveSpec>,
    /// The sets of packages by name.
    pub sets: BTreeMap<String, SetSpec>,
}

/// One archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ArchiveSpec {
    /// Where it is found when nobody says otherwise.
    pub mirror: String,
    /// The archive of its past states, by time: where what no mirror has any more is looked for.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// Whether its suites hold security updates, and nothing else.
    #[serde(default)]
    pub security: bool,
    /// Its suites, by their code names as they stand below `dists/`.
    pub suites: Vec<String>,
    /// Whose signature counts.
    pub keys: Vec<KeySpec>,
}

/// A key that may sign an archive's Release.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KeySpec {
    /// The primary key's fingerprint, 40 or 64 upper-case hex digits.
    pub fingerprint: String,
    /// The ASCII-armoured public key, relative to `archives.toml`.
    pub file: PathBuf,
}

/// A set of packages that belong together.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SetSpec {
    /// The suites its packages may come from; the newest version wins.
    pub suites: Vec<String>,
    /// The components of those suites.
    #[serde(default = "main")]
    pub components: Vec<String>,
    /// The architectures side by side; the first is the set's own.
    pub architectures: Vec<String>,
    /// Whether every package marked Essential belongs to it.
    #[serde(default)]
    pub essential: bool,
    /// Packages that come with what they depend on.
    #[serde(default)]
    pub packages: Vec<Wish>,
    /// Packages that come without what they depend on.
    #[serde(default)]
    pub alone: Vec<Wish>,
    /// What the builder itself takes the place of.
    #[serde(default)]
    pub provided: Vec<Provided>,
}

fn main() -> Vec<String> {
    vec!["main".into()]
}

/// A package that is asked for: `name`, or `name:architecture` where it is not the set's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Wish {
    /// The package's name.
    pub name: String,
    /// The architecture, if it is not the set's own.
    pub architecture: Option<String>,
}

/// A package name that counts as present although no package of it is taken.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Provided {
    /// The real or virtual package.
    pub name: String,
    /// Why: for the reader of the file.
    pub reason: String,
}

/// What is wrong with an `archives.toml`.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It is not TOML of the expected shape.
    #[error("not a valid archives.toml")]
    Toml(#[from] toml::de::Error),
    /// It contradicts itself; all problems at once.
    #[error("{}", .0.join("\n"))]
    Problems(Vec<String>),
}

impl TryFrom<String> for Wish {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (name, architecture) = match text.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture.to_owned())),
            None => (text.as_str(), None),
        };
        let fits = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
        };
        if fits(name) && architecture.as_deref().is_none_or(fits) {
            Ok(Self { name: name.into(), architecture })
        } else {
            Err(format!("{text:?} is no package: write `name` or `name:architecture`"))
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)?;
        self.architecture.as_ref().map_or(Ok(()), |architecture| write!(out, ":{architecture}"))
    }
}

impl Spec {
    /// Reads and checks the text of an `archives.toml`.
    ///
    /// # Errors
    /// Wrong TOML, or everything that does not fit together.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let spec: Self = toml::from_str(text)?;
        let mut problems = Vec::new();
        for (name, archive) in &spec.archives {
            archive.check(name, &mut problems);
        }
        for (name, set) in &spec.sets {
            set.check(name, &spec, &mut problems);
        }
        if problems.is_empty() { Ok(spec) } else { Err(SpecError::Problems(problems)) }
    }

    /// The archive that has `suite`.
    pub fn archive_of(&self, suite: &str) -> Option<&str> {
        let mut having =
            self.archives.iter().filter(|(_, archive)| archive.suites.iter().any(|own| own == suite));
        having.next().map(|(name, _)| name.as_str())
    }

    /// The snapshot archive of each archive that has one.
    pub fn snapshots(&self) -> Mirrors {
        let having = self.archives.iter().filter_map(|(name, archive)| {
            let address = archive.snapshot.as_ref()?.trim_end_matches('/').to_owned();
            Some((name.clone(), vec![address]))
        });
        having.collect()
    }

    /// A short value that changes when what a set asks for changes: its own keys and its suites' archives, not
    /// comments, mirrors or other sets. None for a set that does not exist.
    pub fn fingerprint(&self, set: &str) -> Option<String> {
        let spec = self.sets.get(set)?;
        let mut text = String::new();
        for suite in &spec.suites {
            text += &format!("suite {suite} of {}\n", self.archive_of(suite).unwrap_or_default());
        }
        let mut list = |label: &str, items: Vec<String>| text += &format!("{label} {}\n", items.join(" "));
        let sorted = |wishes: &[Wish]| {
            let mut wishes: Vec<_> = wishes.iter().map(Wish::to_string).collect();
            wishes.sort();
            wishes
        };
        list("components", spec.components.clone());
        list("architectures", spec.architectures.clone());
        list("essential", vec![spec.essential.to_string()]);
        list("packages", sorted(&spec.packages));
        list("alone", sorted(&spec.alone));
        let mut provided: Vec<_> = spec.provided.iter().map(|provided| provided.name.clone()).collect();
        provided.sort();
        list("provided", provided);
        Some(Digest::of(text).to_string()[..16].to_owned())
    }
}

impl ArchiveSpec {
    fn check(&self, name: &str, problems: &mut Vec<String>) {
        for (key, address) in [("mirror", Some(&self.mirror)), ("snapshot", self.snapshot.as_ref())] {
            if let Some(address) = address.filter(|address| !mirrors::is_web(address)) {
                problems.push(format!("archives.{name}.{key}: {address:?} is not an http or https address"));
            }
        }
        if self.keys.is_empty() {
            problems.push(format!("archives.{name}.keys: without a key nothing can be verified"));
        }
        for key in &self.keys {
            let hex = key.fingerprint.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
            if !hex || ![40, 64].contains(&key.fingerprint.len()) {
                problems.push(format!("archives.{name}.keys: {:?} is not a fingerprint", key.fingerprint));
            }
        }
    }
}

impl SetSpec {
    /// The set's own architecture.
    pub fn own_architecture(&self) -> &str {
        self.architectures.first().map_or("", String::as_str)
    }

    fn check(&self, name: &str, spec: &Spec, problems: &mut Vec<String>) {
        let mut say = |text: String| problems.push(format!("sets.{name}{text}"));
        for suite in &self.suites {
            if spec.archive_of(suite).is_none() {
                let known =
                    spec.archives.values().flat_map(|archive| archive.suites.iter().map(String::as_str));
                say(format!(".suites: no archive has {suite:?}{}", crate::nearest::hint(suite, known)));
            }
        }
        for (key, list) in [
            ("suites", &self.suites),
            ("components", &self.components),
            ("architectures", &self.architectures),
        ] {
            if list.is_empty() {
                say(format!(".{key}: must not be empty"));
            }
        }
        if self.packages.is_empty() && self.alone.is_empty() && !self.essential {
            say(": asks for no package".into());
        }
        for wish in self.packages.iter().chain(&self.alone) {
            if let Some(architecture) =
                wish.architecture.as_ref().filter(|own| !self.architectures.contains(own))
            {
                say(format!(": {wish} is of {architecture:?}, which is not among the set's architectures"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [archives.debian]
        mirror = "http://ftp.example.org/debian"
        suites = ["trixie"]
        keys = [{ fingerprint = "04B54C3CDCA79751B16BC6B5225629DF75B188BD", file = "keys/a.asc" }]
        [sets.root]
        suites = ["trixie"]
        architectures = ["armhf", "arm64"]
        packages = ["systemd", "linux-image-arm64:arm64"]
    "#;

    #[test]
    fn a_set_reads() {
        let spec = Spec::parse(GOOD).unwrap();
        let root = &spec.sets["root"];
        assert_eq!(root.own_architecture(), "armhf");
        assert_eq!(root.components, ["main"]);
        assert_eq!(root.packages[1].to_string(), "linux-image-arm64:arm64");
        assert_eq!(spec.archive_of("trixie"), Some("debian"));
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let check = |from: &str, to: &str, expect: &[&str]| {
            let message = Spec::parse(&GOOD.replace(from, to)).unwrap_err();
            let message = match message {
                SpecError::Problems(problems) => problems.join("\n"),
                SpecError::Toml(fault) => fault.to_string(),
            };
            for part in expect {
                assert!(message.contains(part), "{from} → {to}: {message}");
            }
        };
        check(
            "suites = [\"trixie\"]\n        arch",
            "suites = [\"trixy\"]\n        arch",
            &["trixy", "did you mean `trixie`"],
        );
        check("\"armhf\", \"arm64\"", "\"armhf\"", &["linux-image-arm64:arm64", "architectures"]);
        check("http://", "ftp://", &["archives.debian.mirror"]);
        check("04B5", "04b5", &["not a fingerprint"]);
        check("packages", "packges", &["unknown field `packges`"]);
        check("\"systemd\"", "\"Systemd\"", &["is no package"]);
    }

    #[test]
    fn the_fingerprint_follows_the_content_alone() {
        let of = |text: &str| Spec::parse(text).unwrap().fingerprint("root").unwrap();
        let original = of(GOOD);
        assert_eq!(of(&GOOD.replace("ftp.example", "mirror.example")), original);
        assert_eq!(
            of(&GOOD.replace(
                "\"systemd\", \"linux-image-arm64:arm64\"",
                "\"linux-image-arm64:arm64\", \"systemd\""
            )),
            original
        );
        assert_ne!(of(&GOOD.replace("\"systemd\"", "\"udev\"")), original);
    }
}
