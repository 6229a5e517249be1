//! Which security updates a lock lacks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    archives::{Archives, Error},
    index::{self, Record},
    lock::{Lock, LockedIndex, Origin},
    relock::{Place, index_want},
    spec::Suite,
};

/// What a look at the security archives gave.
#[derive(Debug, Default)]
pub struct Review {
    /// The suites that were looked at, as they are now.
    pub suites: Vec<Origin>,
    /// What the lock lacks, by source package.
    pub lacking: Vec<Lacking>,
    /// What could not be looked at: nothing is known of the packages that it would have told of.
    pub unknown: Vec<Unknown>,
}

/// A source package with a security update that is not in the lock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacking {
    /// The source package.
    pub source: String,
    /// The version that is locked.
    pub locked: String,
    /// The newest version with security fixes.
    pub fixed: String,
    /// The packages of it, as `name:architecture`, each with the sets that hold it.
    pub packages: BTreeMap<String, BTreeSet<String>>,
}

/// Something that could not be looked at.
#[derive(Debug)]
pub struct Unknown {
    /// What.
    pub what: String,
    /// Why not, with everything that caused it.
    pub why: String,
}

impl Archives {
    /// Compares a lock with what the archives of security updates have at the time `now` (seconds since 1970). A
    /// suite or an index that cannot be believed is not believed, and named.
    pub fn review(&self, lock: &Lock, now: i64) -> Review {
        let mut review = Review::default();
        let suites: Vec<Suite> = self.spec.security_suites().collect();
        if suites.is_empty() {
            let why = "no archive in archives.toml is marked with `security = true`".into();
            review.unknown.push(Unknown { what: "security updates".into(), why });
        }
        let mut found = BTreeMap::new();
        for suite in &suites {
            self.review_suite(suite, lock, now, &mut review, &mut found);
        }
        review.lacking = found
            .into_iter()
            .map(|((source, locked), (fixed, packages))| Lacking { source, locked, fixed, packages })
            .collect();
        review
    }

    fn review_suite(&self, suite: &Suite, lock: &Lock, now: i64, review: &mut Review, found: &mut Found) {
        let release = match self.release(suite, now) {
            Ok(release) => release,
            Err(fault) => return review.unknown.push(unknown(&suite.to_string(), &fault)),
        };
        let (mut places, mut wants) = (Vec::new(), Vec::new());
        for place in self.places(suite, lock) {
            // What the signed Release does not name is known not to be there.
            let Ok((origin, index)) = self.index(&release, &place) else { continue };
            wants.push(index_want(&place, &origin, &index, release.by_hash));
            places.push((place, origin, index));
        }
        let failed: BTreeMap<usize, _> = self.fetcher().each(&wants).into_iter().collect();
        let mut seen = BTreeSet::new();
        for (number, (place, origin, index)) in places.into_iter().enumerate() {
            let what = format!("{suite} {} for {}", place.component, place.architecture);
            let outcome = match failed.get(&number) {
                Some(fault) => Err(unknown(&what, fault)),
                None => self.review_index(&index, lock, found).map_err(|fault| unknown(&what, &fault)),
            };
            match outcome {
                Ok(()) => drop(seen.insert(origin)),
                Err(fault) => review.unknown.push(fault),
            }
        }
        review.suites.extend(seen);
    }

    /// Every index of a suite that could name a package of the lock.
    fn places(&self, suite: &Suite, lock: &Lock) -> BTreeSet<Place> {
        let architectures: BTreeSet<&str> = lock
            .packages()
            .map(|package| package.architecture.as_str())
            .filter(|architecture| *architecture != "all")
            .collect();
        let components: BTreeSet<&String> = self.spec.sets.values().flat_map(|set| &set.components).collect();
        let pairs = architectures.iter().flat_map(|one| components.iter().map(move |other| (one, other)));
        pairs
            .map(|(architecture, component)| Place {
                suite: suite.clone(),
                component: (*component).clone(),
                architecture: (*architecture).into(),
            })
            .collect()
    }

    fn review_index(&self, index: &LockedIndex, lock: &Lock, found: &mut Found) -> Result<(), Error> {
        let text = self.decode(index).map_err(|source| Error::Decode(index.path.clone(), source))?;
        let mut records = Vec::new();
        index::read(&text, 0, &mut records).map_err(|source| Error::Index(index.path.clone(), source))?;
        compare(&records, lock, found);
        Ok(())
    }
}

/// By source package and locked version: the fixed version, and the packages with their sets.
type Found = BTreeMap<(String, String), (String, BTreeMap<String, BTreeSet<String>>)>;

fn compare(records: &[Record<'_>], lock: &Lock, found: &mut Found) {
    let mut by_name: BTreeMap<(&str, &str), Vec<&Record<'_>>> = BTreeMap::new();
    for record in records {
        by_name.entry((record.package, record.architecture)).or_default().push(record);
    }
    for (set, locked) in &lock.sets {
        for package in &locked.packages {
            let key = (package.name.as_str(), package.architecture.as_str());
            let newer = by_name.get(&key).into_iter().flatten();
            for record in newer.filter(|record| record.is_newer_than(&package.version)) {
                let key = (record.source.to_owned(), package.version.clone());
                let (fixed, packages) = found.entry(key).or_default();
                if fixed.is_empty() || record.is_newer_than(fixed) {
                    record.version.clone_into(fixed);
                }
                packages.entry(package.qualified()).or_default().insert(set.clone());
            }
        }
    }
}

fn unknown(what: &str, fault: &dyn std::error::Error) -> Unknown {
    let mut why = fault.to_string();
    let mut source = fault.source();
    while let Some(inner) = source {
        why += &format!("\nbecause: {inner}");
        source = inner.source();
    }
    Unknown { what: what.into(), why }
}

impl fmt::Display for Review {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Origin { archive, suite, date } in &self.suites {
            writeln!(out, "looked at {suite} of {archive}, as of {date}")?;
        }
        for Unknown { what, why } in &self.unknown {
            writeln!(out, "\ncould not tell: {what}\n  {}", why.replace('\n', "\n  "))?;
        }
        if !self.lacking.is_empty() {
            writeln!(out, "\nsecurity updates that the lock lacks:")?;
        }
        for Lacking { source, locked, fixed, packages } in &self.lacking {
            writeln!(out, "  {source} {locked} -> {fixed}")?;
            for (package, sets) in packages {
                let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
                writeln!(out, "    {package} ({})", sets.join(", "))?;
            }
        }
        if self.suites.is_empty() {
            return writeln!(out, "\nnothing could be told about security updates");
        }
        let count = match self.lacking.len() {
            0 => "no security update is lacking".to_owned(),
            1 => "1 source package lacks a security update".to_owned(),
            more => format!("{more} source packages lack security updates"),
        };
        let known = if self.unknown.is_empty() { "" } else { ", as far as could be told" };
        writeln!(out, "\n{count}{known}")?;
        if !self.lacking.is_empty() {
            writeln!(
                out,
                "`cargo xtask lock --update PACKAGE…` takes what is in the suites of their sets; a fix that is only in a \
                 security suite needs that suite in archives.toml"
            )?;
        }
        Ok(())
    }
}
