//! `archives.toml`: which archives there are, whose signature counts, and which sets of packages are taken.
//!
//! A base may build on another: what it has no archive or set of its own for is the other's. Knows nothing of what the
//! archives hold.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::mirrors::{self, Mirrors};
use pilotlight_fetch::Digest;

/// A checked `archives.toml`.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The base that has what this one lacks.
    pub builds_on: Option<String>,
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
    /// The ASCII-armoured public key, relative to `archives.toml` until [`Spec::in_folder`].
    pub file: PathBuf,
}

/// A set of packages that belong together.
#[derive(Debug, Clone)]
pub struct SetSpec {
    /// The suites its packages may come from; the newest version wins.
    pub suites: Vec<Suite>,
    /// The components of those suites.
    pub components: Vec<String>,
    /// The architectures side by side; the first is the set's own.
    pub architectures: Vec<String>,
    /// Whether every package marked Essential belongs to it.
    pub essential: bool,
    /// Packages that come with what they depend on.
    pub packages: Vec<Wish>,
    /// Packages that come without what they depend on.
    pub alone: Vec<Wish>,
    /// What the builder itself takes the place of.
    pub provided: Vec<Provided>,
}

/// An `archives.toml` as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SpecText {
    builds_on: Option<String>,
    archives: BTreeMap<String, ArchiveSpec>,
    sets: BTreeMap<String, SetText>,
}

/// A set as it is written. What it does not say is as in the set that it is like, if it is like one.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SetText {
    like: Option<String>,
    suites: Option<Vec<Suite>>,
    components: Option<Vec<String>>,
    architectures: Option<Vec<String>>,
    essential: Option<bool>,
    packages: Option<Vec<Wish>>,
    alone: Option<Vec<Wish>>,
    provided: Option<Vec<Provided>>,
}

/// A suite of an archive: `suite`, or `archive:suite` where several archives have one of that name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "String")]
pub struct Suite {
    /// The archive; in a checked spec it is one of the archives.
    pub archive: String,
    /// The suite's code name.
    pub name: String,
    /// Whether other archives beside it have one of that name, so that people have to be told which is meant.
    shared: bool,
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

impl From<String> for Suite {
    fn from(text: String) -> Self {
        let (archive, name) = text.split_once(':').unwrap_or(("", &text));
        Self { archive: archive.into(), name: name.into(), shared: !archive.is_empty() }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shared { write!(out, "{}:{}", self.archive, self.name) } else { out.write_str(&self.name) }
    }
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
        let text: SpecText = toml::from_str(text)?;
        let mut problems = Vec::new();
        let sets =
            text.sets.iter().map(|(name, set)| (name.clone(), set.whole(name, &text.sets, &mut problems)));
        let sets = sets.collect();
        let mut spec = Self { builds_on: text.builds_on, archives: text.archives, sets };
        for (name, archive) in &spec.archives {
            archive.check(name, &mut problems);
        }
        for (name, set) in &mut spec.sets {
            set.check(name, &spec.archives, &mut problems);
        }
        if problems.is_empty() { Ok(spec) } else { Err(SpecError::Problems(problems)) }
    }

    /// The same, with its key files found from anywhere: `folder` holds the `archives.toml`.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        for key in self.archives.values_mut().flat_map(|archive| &mut archive.keys) {
            key.file = folder.join(&key.file);
        }
        self
    }

    /// This spec upon `below`, which gives the sets and archives that it has not got itself.
    ///
    /// # Errors
    /// An archive that both have: the name would mean two things in a lock.
    pub fn upon(mut self, below: Self) -> Result<Self, SpecError> {
        let twice = below.archives.keys().filter(|name| self.archives.contains_key(*name));
        let problems: Vec<String> = twice
            .map(|name| {
                format!("archives.{name}: the base that this one builds on has an archive of that name")
            })
            .collect();
        if !problems.is_empty() {
            return Err(SpecError::Problems(problems));
        }
        self.archives.extend(below.archives);
        for (name, set) in below.sets {
            self.sets.entry(name).or_insert(set);
        }
        Ok(self)
    }

    /// The suites of security updates.
    pub(crate) fn security_suites(&self) -> impl Iterator<Item = Suite> {
        let archives = self.archives.iter().filter(|(_, archive)| archive.security);
        archives.flat_map(|(archive, spec)| {
            spec.suites.iter().map(|name| Suite::new(archive, name, &self.archives))
        })
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
        for Suite { archive, name, .. } in &spec.suites {
            text += &format!("suite {name} of {archive}\n");
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

impl SetText {
    /// The set with what it takes from another one.
    fn whole(&self, name: &str, sets: &BTreeMap<String, Self>, problems: &mut Vec<String>) -> SetSpec {
        let mut say = |text: String| problems.push(format!("sets.{name}.like: {text}"));
        let other = match &self.like {
            None => Self::default(),
            Some(like) => match sets.get(like) {
                Some(Self { like: Some(further), .. }) => {
                    say(format!("{like:?} is itself like {further:?}: name that one"));
                    Self::default()
                }
                Some(other) => other.clone(),
                None => {
                    let hint = crate::nearest::hint(like, sets.keys().map(String::as_str));
                    say(format!("there is no set {like:?}{hint}"));
                    Self::default()
                }
            },
        };
        let own = self.clone();
        SetSpec {
            suites: own.suites.or(other.suites).unwrap_or_default(),
            components: own.components.or(other.components).unwrap_or_else(|| vec!["main".into()]),
            architectures: own.architectures.or(other.architectures).unwrap_or_default(),
            essential: own.essential.or(other.essential).unwrap_or_default(),
            packages: own.packages.or(other.packages).unwrap_or_default(),
            alone: own.alone.or(other.alone).unwrap_or_default(),
            provided: own.provided.or(other.provided).unwrap_or_default(),
        }
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

impl Suite {
    /// The suite `name` of `archive`, which is one of `archives`.
    fn new(archive: &str, name: &str, archives: &BTreeMap<String, ArchiveSpec>) -> Self {
        let having = archives.values().filter(|archive| archive.suites.iter().any(|suite| suite == name));
        Self { archive: archive.into(), name: name.into(), shared: having.count() > 1 }
    }

    /// The same with the one archive of `archives` that has it, or what stands in the way.
    fn found(&self, archives: &BTreeMap<String, ArchiveSpec>) -> Result<Self, String> {
        let may_be = |name: &str| self.archive.is_empty() || self.archive == name;
        let having =
            archives.iter().filter(|(name, archive)| may_be(name) && archive.suites.contains(&self.name));
        let having: Vec<&str> = having.map(|(name, _)| name.as_str()).collect();
        match having[..] {
            [archive] => Ok(Self::new(archive, &self.name, archives)),
            [] => {
                let known = archives.values().flat_map(|archive| archive.suites.iter().map(String::as_str));
                let hint = crate::nearest::hint(&self.name, known);
                Err(format!("no archive has {:?}{hint}", self.to_string()))
            }
            [first, ..] => {
                let (name, having) = (&self.name, having.join(" and of "));
                Err(format!("{name:?} is a suite of {having}: write `{first}:{name}`, or another of them"))
            }
        }
    }
}

impl SetSpec {
    /// The set's own architecture.
    pub fn own_architecture(&self) -> &str {
        self.architectures.first().map_or("", String::as_str)
    }

    /// Finds the archive of each suite, and says what is wrong.
    fn check(&mut self, name: &str, archives: &BTreeMap<String, ArchiveSpec>, problems: &mut Vec<String>) {
        let mut say = |text: String| problems.push(format!("sets.{name}{text}"));
        for suite in &mut self.suites {
            match suite.found(archives) {
                Ok(found) => *suite = found,
                Err(problem) => say(format!(".suites: {problem}")),
            }
        }
        for (key, is_empty) in [
            ("suites", self.suites.is_empty()),
            ("components", self.components.is_empty()),
            ("architectures", self.architectures.is_empty()),
        ] {
            if is_empty {
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
#[path = "spec_tests.rs"]
mod tests;
