//! The lock as text.
//!
//! ```text
//! [[releases]]     one suite at one time: its indexes, and the packages that were found in it, by architecture
//! [sets.NAME]      what was asked for, and the names of its packages
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
};

use serde::Deserialize;

use super::{Lock, LockError, LockedIndex, LockedPackage, LockedRelease, LockedSet, Origin};
use pilotlight_fetch::Digest;

use crate::{date, index::is_safe_path};

/// The layout that is written and read. 1 listed each set's packages in full.
pub(super) const VERSION: u32 = 2;

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(default)]
    releases: Vec<RawRelease>,
    #[serde(default)]
    sets: BTreeMap<String, RawSet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRelease {
    archive: String,
    suite: String,
    date: String,
    indexes: Vec<LockedIndex>,
    /// By architecture.
    packages: BTreeMap<String, Vec<RawPackage>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPackage {
    name: String,
    version: String,
    path: String,
    size: u64,
    sha256: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSet {
    spec: String,
    packages: Vec<String>,
}

/// What a set can call a package, the shortest first.
fn names(package: &LockedPackage) -> [String; 3] {
    let name = package.qualified();
    let version = format!("{name}={}", package.version);
    let archive = format!("{version}@{}", package.origin.archive);
    [name, version, archive]
}

/// Which of the names that packages can be called by belong to just one of them.
struct Register<'l>(BTreeMap<String, Option<&'l LockedPackage>>);

impl<'l> Register<'l> {
    fn of(packages: impl IntoIterator<Item = &'l LockedPackage>) -> Self {
        let mut register = BTreeMap::new();
        for package in packages {
            for name in names(package) {
                let entry = register.entry(name).or_insert(Some(package));
                if *entry != Some(package) {
                    *entry = None;
                }
            }
        }
        Self(register)
    }

    fn find(&self, name: &str) -> Option<&'l LockedPackage> {
        self.0.get(name).copied().flatten()
    }

    fn shortest(&self, package: &LockedPackage) -> String {
        let [.., last] = names(package);
        names(package).into_iter().find(|name| self.find(name).is_some()).unwrap_or(last)
    }
}

impl Lock {
    /// Reads a lock.
    ///
    /// # Errors
    /// Anything that could not have been written by [`Lock::render`].
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let Versioned { version } = toml::from_str(text)?;
        if version != VERSION {
            return Err(LockError::Version(version));
        }
        let raw: Raw = toml::from_str(text)?;
        let (mut packages, mut releases) = (Vec::new(), Vec::new());
        for RawRelease { archive, suite, date, indexes, packages: listed } in raw.releases {
            let origin = Origin { archive, suite, date };
            for (architecture, list) in listed {
                for RawPackage { name, version, path, size, sha256 } in list {
                    let (architecture, origin) = (architecture.clone(), origin.clone());
                    let package = LockedPackage { name, architecture, version, origin, path, size, sha256 };
                    check(&package)?;
                    packages.push(package);
                }
            }
            releases.push(LockedRelease { origin, indexes });
        }
        let register = Register::of(&packages);
        let mut sets = BTreeMap::new();
        for (set, RawSet { spec, packages: listed }) in raw.sets {
            let find = |name: &String| {
                let found = register.find(name).cloned();
                found.ok_or_else(|| LockError::Reference(set.clone(), name.clone()))
            };
            let mut packages: Vec<_> = listed.iter().map(find).collect::<Result<_, _>>()?;
            packages.sort();
            sets.insert(set, LockedSet { spec, packages });
        }
        let indexes = releases.into_iter().flat_map(|release| {
            release.indexes.into_iter().map(move |index| (release.origin.clone(), index))
        });
        Ok(Self::new(sets, indexes))
    }

    /// Writes the lock; equal locks give equal texts.
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "# Written by `cargo xtask lock` from the archives' signed indexes. Not to be edited: every package that the\n\
             # builder uses stands here by size and SHA-256, and none that does not is ever used.\n\
             version = {VERSION}"
        )?;
        let all: BTreeSet<&LockedPackage> = self.packages().collect();
        for LockedRelease { origin, indexes } in &self.releases {
            let Origin { archive, suite, date } = origin;
            writeln!(
                out,
                "\n[[releases]]\narchive = {archive:?}\nsuite = {suite:?}\ndate = {date:?}\nindexes = ["
            )?;
            for LockedIndex { path, size, sha256 } in indexes {
                writeln!(out, "    {{ path = {path:?}, size = {size}, sha256 = \"{sha256}\" }},")?;
            }
            writeln!(out, "]")?;
            let mut by_architecture: BTreeMap<&str, Vec<&LockedPackage>> = BTreeMap::new();
            for package in all.iter().filter(|package| package.origin == *origin) {
                by_architecture.entry(&package.architecture).or_default().push(package);
            }
            for (architecture, packages) in by_architecture {
                writeln!(out, "packages.{architecture} = [")?;
                for LockedPackage { name, version, path, size, sha256, .. } in packages {
                    writeln!(
                        out,
                        "    {{ name = {name:?}, version = {version:?}, path = {path:?}, size = {size}, sha256 = \
                         \"{sha256}\" }},"
                    )?;
                }
                writeln!(out, "]")?;
            }
        }
        let register = Register::of(all.iter().copied());
        for (name, set) in &self.sets {
            let bytes: u64 = set.packages.iter().map(|package| package.size).sum();
            let (count, whole, tenth) = (set.packages.len(), bytes / 1_000_000, bytes / 100_000 % 10);
            let spec = &set.spec;
            writeln!(
                out,
                "\n# {count} packages, {whole}.{tenth} MB.\n[sets.{name}]\nspec = {spec:?}\npackages = ["
            )?;
            for package in &set.packages {
                writeln!(out, "    {:?},", register.shortest(package))?;
            }
            writeln!(out, "]")?;
        }
        Ok(())
    }
}

fn check(package: &LockedPackage) -> Result<(), LockError> {
    let fault = |what| Err(LockError::Package(package.title(), what));
    if !is_safe_path(&package.path) {
        return fault("path");
    }
    let Origin { archive, suite, date } = &package.origin;
    if [&package.name, &package.version, &package.architecture, archive, suite]
        .iter()
        .any(|text| !is_plain(text))
    {
        return fault("name");
    }
    if date::parse(date).is_none() {
        return fault("date");
    }
    Ok(())
}

/// What Debian's names and versions are made of, none of which TOML would escape.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+~:_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, date: &str) -> LockedPackage {
        LockedPackage {
            name: name.into(),
            architecture: "armhf".into(),
            version: version.into(),
            origin: Origin { archive: "debian".into(), suite: "trixie".into(), date: date.into() },
            path: format!("pool/main/{name}_{version}_armhf.deb"),
            size: 1_250_000,
            sha256: Digest::of(format!("{name} {version}")),
        }
    }

    const JULY: &str = "Sat, 11 Jul 2026 07:55:41 UTC";
    const SEPTEMBER: &str = "Sat, 12 Sep 2026 07:55:41 UTC";

    fn lock_of(sets: &[(&str, &[LockedPackage])]) -> Lock {
        let index = |path: &str| LockedIndex { path: path.into(), size: 7, sha256: Digest::of(path) };
        let set = |(name, packages): &(&str, &[LockedPackage])| {
            let mut packages = packages.to_vec();
            packages.sort();
            ((*name).to_owned(), LockedSet { spec: "0123456789abcdef".into(), packages })
        };
        let index = |date: &str| {
            let origin = Origin { archive: "debian".into(), suite: "trixie".into(), date: date.into() };
            (origin, index("main/binary-armhf/Packages.xz"))
        };
        Lock::new(sets.iter().map(set).collect(), [index(JULY), index(SEPTEMBER), index(SEPTEMBER)])
    }

    fn lock() -> Lock {
        let libc = package("libc6", "1:2.41-12+b1~x", SEPTEMBER);
        lock_of(&[
            ("root", &[libc.clone(), package("libstdc++6", "14", JULY)]),
            ("tools", &[package("make", "4", SEPTEMBER), libc]),
        ])
    }

    #[test]
    fn the_text() {
        insta::assert_snapshot!(lock().render());
    }

    #[test]
    fn a_lock_is_read_as_it_is_written() {
        let two_versions = lock_of(&[
            ("a", &[package("x", "1", JULY), package("y", "1", JULY)]),
            ("b", &[package("x", "2", SEPTEMBER)]),
        ]);
        let mut other = package("x", "1", JULY);
        other.origin.archive = "other".into();
        other.sha256 = Digest::of("another x 1");
        let two_archives = lock_of(&[("a", &[package("x", "1", JULY)]), ("b", &[other])]);
        for lock in [lock(), two_versions.clone(), two_archives.clone()] {
            assert_eq!(Lock::parse(&lock.render()).unwrap(), lock);
        }
        assert!(
            two_versions.render().contains("\"x:armhf=2\",\n")
                && two_versions.render().contains("\"y:armhf\"")
        );
        assert!(two_archives.render().contains("\"x:armhf=1@other\",\n"));
    }

    #[test]
    fn one_package_stands_once() {
        // Found in two releases: it counts as found in the first.
        let lock = lock_of(&[
            ("a", &[package("x", "1", SEPTEMBER), package("z", "1", SEPTEMBER)]),
            ("b", &[package("x", "1", JULY)]),
        ]);
        assert_eq!(lock.sets["a"].packages[0].origin.date, JULY);
        assert_eq!(lock.render().matches("name = \"x\"").count(), 1);
        assert_eq!(lock.published(&["b"]), date::parse(JULY));
        assert_eq!(lock.published(&["a", "b"]), date::parse(SEPTEMBER));
        assert_eq!(lock.published(&["c"]), None);
    }

    #[test]
    fn a_changed_lock_is_refused() {
        let check = |from: &str, to: &str, expect: &str| {
            let fault = Lock::parse(&lock().render().replace(from, to)).unwrap_err();
            let message = format!("{fault} {:?}", std::error::Error::source(&fault).map(ToString::to_string));
            assert!(message.contains(expect), "{from} → {to}: {message}");
        };
        check("version = 2\n", "version = 1\n", "layout 1");
        check("pool/main", "../main", "impossible path");
        check("size = 1", "sise = 1", "unknown field");
        check("name = \"libc6\"", "name = \"lib c6\"", "impossible name");
        check("12 Sep", "42 Sep", "impossible date");
        check("size = 1250000", "size = -1", "invalid value");
        check("sha256 = \"", "sha256 = \"0", "not a SHA-256 value");
        check("name = \"make\"", "name = \"mane\"", "\"tools\" names \"make:armhf\"");
        check("", "[", "not a valid lock");
    }

    proptest::proptest! {
        #[test]
        fn no_lock_is_too_odd(noise: String, at in 0_usize..1_600) {
            let mut text = lock().render();
            text.insert_str(text.floor_char_boundary(at), &noise);
            drop(Lock::parse(&text));
        }
    }
}
