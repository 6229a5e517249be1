//! `pilotlight.lock`: every package of every set by name, version, path, size and SHA-256.
//!
//! The writer is deterministic and puts one package on one line, so that a change reads well in a diff. The
//! reader refuses whatever the writer would not write.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Deserialize;

use crate::{digest::Digest, index::is_safe_path, spec::Spec};

/// The only layout there has been.
const VERSION: u32 = 1;

/// A whole lock.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// The indexes it was made from.
    #[serde(default)]
    pub releases: Vec<LockedRelease>,
    /// The sets by name.
    pub sets: BTreeMap<String, LockedSet>,
}

/// A suite as it was when the lock was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedRelease {
    /// The archive's name.
    pub archive: String,
    /// The suite.
    pub suite: String,
    /// The `Date` of its Release.
    pub date: String,
}

/// A set's packages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedSet {
    /// [`Spec::fingerprint`] of what was asked for.
    pub spec: String,
    /// Sorted by name, architecture and version.
    pub packages: Vec<LockedPackage>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// The archive it is in.
    pub archive: String,
    /// Where, relative to the archive's root.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// The digest of the .deb.
    pub sha256: Digest,
}

/// What is wrong with a lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Not the TOML that the writer writes.
    #[error("not a valid lock: restore it, or write it anew with `cargo xtask lock`")]
    Toml(#[from] toml::de::Error),
    /// Made by another version of the builder.
    #[error(
        "the lock has the layout {0}, this builder knows {VERSION}: write it anew with `cargo xtask lock`"
    )]
    Version(u32),
    /// A package that could lead out of the archive, or the like.
    #[error("the lock's package {0:?} has an impossible {1}")]
    Package(String, &'static str),
    /// A set that is not locked.
    #[error("the set {0:?} is not in the lock: run `cargo xtask lock`")]
    Missing(String),
    /// A set whose spec changed.
    #[error(
        "archives.toml asks for something else in the set {0:?} than the lock was made for: run `cargo xtask lock`"
    )]
    Outdated(String),
}

impl LockedPackage {
    /// Name, version and architecture for messages.
    pub fn title(&self) -> String {
        format!("{} {} ({})", self.name, self.version, self.architecture)
    }
}

impl Lock {
    pub(crate) fn new(mut releases: Vec<LockedRelease>, sets: BTreeMap<String, LockedSet>) -> Self {
        releases.sort();
        releases.dedup();
        Self { version: VERSION, releases, sets }
    }

    /// Reads a lock.
    ///
    /// # Errors
    /// Anything that [`Lock::render`] does not write.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let lock: Self = toml::from_str(text)?;
        if lock.version != VERSION {
            return Err(LockError::Version(lock.version));
        }
        for package in lock.sets.values().flat_map(|set| &set.packages) {
            if !is_safe_path(&package.path) {
                return Err(LockError::Package(package.title(), "path"));
            }
            if [&package.name, &package.version, &package.architecture, &package.archive]
                .iter()
                .any(|text| !is_plain(text))
            {
                return Err(LockError::Package(package.title(), "name"));
            }
        }
        Ok(lock)
    }

    /// Writes the lock; equal locks give equal texts.
    pub fn render(&self) -> String {
        let mut out = String::from(
            "# Written by `cargo xtask lock` from the archives' signed indexes. Not to be edited: every package that the\n\
             # builder uses stands here by size and SHA-256, and none that does not is ever used.\n",
        );
        let mut line = |text: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{text}");
        };
        line(format_args!("version = {VERSION}\n\nreleases = ["));
        for LockedRelease { archive, suite, date } in &self.releases {
            line(format_args!("    {{ archive = {archive:?}, suite = {suite:?}, date = {date:?} }},"));
        }
        line(format_args!("]"));
        for (name, set) in &self.sets {
            let bytes: u64 = set.packages.iter().map(|package| package.size).sum();
            line(format_args!(
                "\n# {} packages, {}.{} MB.",
                set.packages.len(),
                bytes / 1_000_000,
                bytes / 100_000 % 10
            ));
            line(format_args!("[sets.{name}]\nspec = {:?}\npackages = [", set.spec));
            for LockedPackage { name, architecture, version, archive, path, size, sha256 } in &set.packages {
                line(format_args!(
                    "    {{ name = {name:?}, architecture = {architecture:?}, version = {version:?}, archive = {archive:?}, \
                     path = {path:?}, size = {size}, sha256 = \"{sha256}\" }},"
                ));
            }
            line(format_args!("]"));
        }
        out
    }

    /// When the newest of the locked releases was published, in seconds since 1970: the time that a build from
    /// this lock carries. None when no release has a date.
    pub fn published(&self) -> Option<i64> {
        self.releases.iter().filter_map(|release| crate::date::parse(&release.date)).max()
    }

    /// The packages of a set, if they are what `spec` asks for today.
    ///
    /// # Errors
    /// A set that is not locked, or locked for another spec.
    pub fn set<'l>(&'l self, spec: &Spec, name: &str) -> Result<&'l [LockedPackage], LockError> {
        let set = self.sets.get(name).ok_or_else(|| LockError::Missing(name.into()))?;
        if spec.fingerprint(name).as_deref() == Some(set.spec.as_str()) {
            Ok(&set.packages)
        } else {
            Err(LockError::Outdated(name.into()))
        }
    }
}

/// What Debian's names and versions are made of, none of which TOML would escape.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+~:_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let package = LockedPackage {
            name: "libc6".into(),
            architecture: "armhf".into(),
            version: "1:2.41-12+b1~x".into(),
            archive: "debian".into(),
            path: "pool/main/g/glibc/libc6_2.41-12_armhf.deb".into(),
            size: 1_250_000,
            sha256: Digest::of("x"),
        };
        let release = LockedRelease {
            archive: "debian".into(),
            suite: "trixie".into(),
            date: "Sat, 12 Sep 2026 07:55:41 UTC".into(),
        };
        let set = LockedSet { spec: "0123456789abcdef".into(), packages: vec![package] };
        Lock::new(vec![release.clone(), release], BTreeMap::from([("root".into(), set)]))
    }

    #[test]
    fn a_lock_is_read_as_it_is_written() {
        let text = lock().render();
        assert_eq!(Lock::parse(&text).unwrap(), lock());
        assert!(text.contains("# 1 packages, 1.2 MB."), "{text}");
    }

    #[test]
    fn a_changed_lock_is_refused() {
        let check = |from: &str, to: &str, expect: &str| {
            let fault = Lock::parse(&lock().render().replace(from, to)).unwrap_err();
            let message = format!("{fault} {:?}", std::error::Error::source(&fault).map(ToString::to_string));
            assert!(message.contains(expect), "{from} → {to}: {message}");
        };
        check("version = 1\n", "version = 2\n", "layout 2");
        check("pool/main", "../main", "impossible path");
        check("size", "sise", "unknown field");
        check("\"libc6\"", "\"lib c6\"", "impossible name");
        check("size = 1250000", "size = -1", "invalid value");
        check("sha256 = \"", "sha256 = \"0", "not a SHA-256 value");
        check("", "[", "not a valid lock");
    }

    proptest::proptest! {
        #[test]
        fn no_lock_is_too_odd(noise: String, at in 0_usize..600) {
            let mut text = lock().render();
            text.insert_str(text.floor_char_boundary(at), &noise);
            drop(Lock::parse(&text));
        }
    }
}
