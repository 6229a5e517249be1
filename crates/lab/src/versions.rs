//! The versions of systems that the Pi has, and the index that lists them beside their files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Deserialize;

use crate::{Architecture, Release, System};

/// The versions that the Pi has: what the mirror keeps and flips.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Versions {
    /// The version that a channel has now.
    pub channels: BTreeMap<(System, Architecture, String), String>,
    /// The SHA-256 of each file of each version that is there, in small hexadecimal digits.
    pub files: BTreeMap<(System, Architecture, String), BTreeMap<String, String>>,
}

/// An index that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the index of the systems is not as the builder writes it: {0}")]
pub struct IndexError(String);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    #[serde(default)]
    release: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    system: String,
    architecture: String,
    version: String,
    channels: Vec<String>,
    files: BTreeMap<String, String>,
}

impl Versions {
    /// What the index is called, at the top of what is served.
    pub const INDEX: &'static str = "index.toml";

    /// The version that `channel` of `release` has: the one that the lab holds it at, else what the Pi has now.
    pub fn of<'a>(&'a self, release: &'a Release, channel: &str) -> Option<&'a str> {
        let held = release.versions.get(channel);
        let key = (release.system, release.architecture, channel.to_owned());
        held.or_else(|| self.channels.get(&key)).map(String::as_str)
    }

    /// The channels of `release` that the Pi has a version of, files and all, and that version.
    pub fn here<'a>(&'a self, release: &'a Release) -> impl Iterator<Item = (&'a str, &'a str)> {
        let is_its =
            |key: &(System, Architecture, String)| (key.0, key.1) == (release.system, release.architecture);
        let known = self.channels.keys().filter(move |key| is_its(key)).map(|(_, _, channel)| channel);
        let channels: BTreeSet<&str> = known.chain(release.versions.keys()).map(String::as_str).collect();
        let versions = channels.into_iter().filter_map(|channel| Some((channel, self.of(release, channel)?)));
        versions.filter(|(_, version)| self.digests(release, version).is_some())
    }

    /// The files of a version and their digests; none where the Pi does not have it.
    pub fn digests(&self, release: &Release, version: &str) -> Option<&BTreeMap<String, String>> {
        self.files.get(&(release.system, release.architecture, version.to_owned()))
    }

    /// Takes in what another index has; what both have counts as here.
    pub fn add(&mut self, other: Self) {
        for (key, version) in other.channels {
            self.channels.entry(key).or_insert(version);
        }
        for (key, files) in other.files {
            self.files.entry(key).or_insert(files);
        }
    }

    /// Reads an index.
    ///
    /// # Errors
    /// What is not as [`Versions::index`] writes it, or names what nobody asks for in good faith: versions and files are
    /// parts of paths and of command lines.
    pub fn parse(text: &str) -> Result<Self, IndexError> {
        let index: Index = toml::from_str(text).map_err(|error| IndexError(error.message().to_owned()))?;
        let mut versions = Self::default();
        for entry in index.release {
            let system = named(&System::NAMES, "system", &entry.system)?;
            let architecture = named(&Architecture::NAMES, "architecture", &entry.architecture)?;
            plain("version", &entry.version).map_err(IndexError)?;
            for (name, digest) in &entry.files {
                plain("file", name).map_err(IndexError)?;
                let small = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                if digest.len() != 64 || !digest.bytes().all(small) {
                    return Err(IndexError(format!("{digest:?} of {name} is no SHA-256")));
                }
            }
            for channel in entry.channels {
                plain("channel", &channel).map_err(IndexError)?;
                versions.channels.insert((system, architecture, channel), entry.version.clone());
            }
            versions.files.insert((system, architecture, entry.version), entry.files);
        }
        Ok(versions)
    }

    /// The index, as [`Versions::parse`] reads it: the same text for the same versions.
    pub fn index(&self) -> String {
        let mut out = String::from("# The systems that are here, and the SHA-256 of their files.\n");
        for ((system, architecture, version), files) in &self.files {
            let is = |key: &(System, Architecture, String), now: &String| {
                (key.0, key.1, now) == (*system, *architecture, version)
            };
            let channels = self.channels.iter().filter(|(key, now)| is(key, now));
            let channels: Vec<_> = channels.map(|(key, _)| format!("{:?}", key.2)).collect();
            // Writing to a string cannot fail.
            _ = write!(
                out,
                "\n[[release]]\nsystem = \"{}\"\narchitecture = \"{architecture}\"\nversion = {version:?}\nchannels = [{}]\n\n\
                 [release.files]\n",
                system.name(),
                channels.join(", "),
            );
            for (name, digest) in files {
                _ = writeln!(out, "{name:?} = {digest:?}");
            }
        }
        out
    }
}

fn named<T: Copy>(names: &[(&str, T)], what: &str, name: &str) -> Result<T, IndexError> {
    let found = names.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| IndexError(format!("there is no {what} {name:?}")))
}

/// Refuses what cannot be a part of a path, of a command line and of a TOML text as it is.
pub(crate) fn plain(what: &str, text: &str) -> Result<(), String> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    match !text.is_empty() && text.len() <= 128 && !text.starts_with('.') && text.bytes().all(safe) {
        true => Ok(()),
        false => Err(format!("{text:?} cannot be the name of a {what}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some() -> Versions {
        let key = |text: &str| (System::DebianRam, Architecture::Amd64, text.to_owned());
        let files = |digit: &str| BTreeMap::from([("root.squashfs".to_owned(), digit.repeat(64))]);
        Versions {
            channels: BTreeMap::from([
                (key("stable"), "13.1".to_owned()),
                (key("testing"), "14.2".to_owned()),
            ]),
            files: BTreeMap::from([
                (key("13.0"), files("a")),
                (key("13.1"), files("b")),
                (key("14.2"), files("0")),
            ]),
        }
    }

    #[test]
    fn an_index_is_read_as_it_was_written() {
        let index = some().index();
        assert_eq!(Versions::parse(&index), Ok(some()), "{index}");
        assert_eq!(Versions::parse(""), Ok(Versions::default()));
        let mut more = Versions::default();
        more.add(some());
        more.add(Versions::default());
        assert_eq!(more, some());
    }

    #[test]
    fn what_would_lead_elsewhere_is_refused() {
        for (from, to) in [
            ("13.1", "../13.1"),
            ("13.1", "13 1"),
            ("root.squashfs", "a/b"),
            ("stable", ""),
            ("debian-ram", "debian"),
            ("amd64", "x86"),
            ("bbbb", "BBBB"),
            ("bbbb", ""),
            ("[release.files]", "[release.file]"),
        ] {
            let index = some().index().replace(from, to);
            assert!(Versions::parse(&index).is_err(), "{index}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            text in "(\\[\\[release\\]\\]\n|system = |\"debian-ram\"|architecture = \"amd64\"\n|version = |channels = \\[|\\]\n|\\PC){0,30}",
        ) {
            if let Ok(versions) = Versions::parse(&text) {
                prop_assert_eq!(Versions::parse(&versions.index()), Ok(versions));
            }
        }
    }
}
