//! What an image spends, by package and by file, and what taking a package out would save.

use std::collections::{BTreeMap, BTreeSet};

use pilotlight_tree::{Package, TreePath};
use serde::Serialize;

use crate::{Graph, manifest::MADE};

/// What one file takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileCost {
    /// Where.
    pub path: String,
    /// Whose; [`MADE`] for what stands in for maintainer scripts.
    pub package: String,
    /// Bytes of content.
    pub content: u64,
    /// Bytes as stored: compressed, and its share of what it shares with others.
    pub stored: u64,
}

/// What one package takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageCost {
    /// Its name.
    pub package: String,
    /// How many files.
    pub files: usize,
    /// Bytes of content.
    pub content: u64,
    /// Bytes as stored.
    pub stored: u64,
    /// Bytes as stored that go with it: its own, and those of the packages in `goes_with`. None for what is no
    /// package that could be taken out.
    pub saves: Option<u64>,
    /// What only this package needs, directly or not.
    pub goes_with: Vec<String>,
    /// Why it is there: `wished`, `essential`, or the packages that need it.
    pub because: Vec<String>,
}

/// Where the bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spend {
    /// The root's packages without the payload, those that take most first.
    pub packages: Vec<PackageCost>,
    /// The root's files without the payload, those that take most first.
    pub files: Vec<FileCost>,
    /// What the Pi hands to other machines, those files that take most first.
    pub payload: Vec<FileCost>,
    /// The boot partition's files, those that take most first.
    pub boot: Vec<FileCost>,
    /// The root's own tables: names, owners, places.
    pub tables: u64,
}

impl Spend {
    /// Bytes of firmware, kernel, initrd and root, as stored, the payload apart.
    pub fn system(&self) -> u64 {
        sum(&self.boot) + sum(&self.files) + self.tables
    }

    /// Bytes of the payload, as stored.
    pub fn payload_bytes(&self) -> u64 {
        sum(&self.payload)
    }
}

/// The sum of what files take as stored.
pub fn sum(files: &[FileCost]) -> u64 {
    files.iter().map(|file| file.stored).sum()
}

/// What is known of an image.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The packages of the root.
    pub packages: &'a [Package],
    /// Which of them are asked for by name.
    pub wishes: &'a [String],
    /// Whose each file of the root is.
    pub owners: &'a BTreeMap<TreePath, String>,
    /// The files of the root: where, bytes of content, bytes as stored.
    pub files: &'a [(TreePath, u64, u64)],
    /// The folders of the payload in the root.
    pub payload: &'a [TreePath],
    /// The root's tables.
    pub tables: u64,
    /// The boot partition's files by name and bytes.
    pub boot: &'a [(String, u64)],
}

/// Adds it all up.
pub fn spend(facts: &Facts<'_>) -> Spend {
    let (mut files, mut payload) = (Vec::new(), Vec::new());
    for (path, content, stored) in facts.files {
        let package = facts.owners.get(path).cloned().unwrap_or(MADE.to_owned());
        let cost = FileCost { path: path.to_string(), package, content: *content, stored: *stored };
        let handed_out = facts.payload.iter().any(|folder| path.is_at_or_beneath(folder));
        if handed_out { payload.push(cost) } else { files.push(cost) }
    }
    let boot = facts.boot.iter().map(|(name, bytes)| FileCost {
        path: name.clone(),
        package: "boot".to_owned(),
        content: *bytes,
        stored: *bytes,
    });
    let mut spend = Spend {
        packages: packages(facts, &files),
        files,
        payload,
        boot: boot.collect(),
        tables: facts.tables,
    };
    for list in [&mut spend.files, &mut spend.payload, &mut spend.boot] {
        list.sort_by(|one, other| (other.stored, &one.path).cmp(&(one.stored, &other.path)));
    }
    spend
}

fn packages(facts: &Facts<'_>, files: &[FileCost]) -> Vec<PackageCost> {
    let mut costs: BTreeMap<&str, (usize, u64, u64)> = BTreeMap::new();
    for package in facts.packages {
        costs.entry(&package.name).or_default();
    }
    for file in files {
        let (count, content, stored) = costs.entry(&file.package).or_default();
        *count += 1;
        *content += file.content;
        *stored += file.stored;
    }
    let graph = Graph::of(facts.packages);
    let wished = graph.wished(facts.wishes);
    let stored_of = |at: usize| costs.get(facts.packages[at].name.as_str()).map_or(0, |cost| cost.2);
    let mut rows: Vec<PackageCost> = Vec::new();
    for (name, (count, content, stored)) in &costs {
        let mut row = PackageCost {
            package: (*name).to_owned(),
            files: *count,
            content: *content,
            stored: *stored,
            saves: None,
            goes_with: Vec::new(),
            because: Vec::new(),
        };
        if let Some(at) = facts.packages.iter().position(|package| package.name == *name) {
            let goes = graph.goes_with(at, &wished);
            row.saves = Some(goes.iter().map(|one| stored_of(*one)).sum());
            let name = |at: usize| facts.packages[at].name.clone();
            row.goes_with = goes.into_iter().filter(|one| *one != at).map(name).collect();
            row.because = because(facts, &graph, at);
        }
        rows.push(row);
    }
    rows.sort_by(|one, other| (other.stored, &one.package).cmp(&(one.stored, &other.package)));
    rows
}

fn because(facts: &Facts<'_>, graph: &Graph, at: usize) -> Vec<String> {
    let mut because = Vec::new();
    if graph.is_essential(at) {
        because.push("essential".to_owned());
    }
    if facts.wishes.contains(&facts.packages[at].name) {
        because.push("wished".to_owned());
    }
    let by: BTreeSet<&str> = graph.needed_by(at).map(|by| facts.packages[by].name.as_str()).collect();
    because.extend(by.into_iter().map(str::to_owned));
    because
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_once() {
        let package = |name: &str, more: &str| Package {
            name: name.to_owned(),
            version: "1".to_owned(),
            architecture: "armhf".to_owned(),
            control: BTreeMap::from([("control".to_owned(), format!("Package: {name}\n{more}\n").into())]),
            data: Vec::new(),
        };
        let packages =
            [package("tool", "Depends: lib"), package("lib", ""), package("empty", "Essential: yes")];
        let owners = [("usr/bin/tool", "tool"), ("usr/lib/lib", "lib"), ("srv/x", "far")];
        let owners =
            owners.into_iter().map(|(path, owner)| (TreePath::literal(path), owner.to_owned())).collect();
        let files =
            [("usr/bin/tool", 100, 40), ("usr/lib/lib", 50, 30), ("etc/made", 9, 5), ("srv/x", 70, 70)];
        let files = files.map(|(path, content, stored)| (TreePath::literal(path), content, stored));
        let spend = spend(&Facts {
            packages: &packages,
            wishes: &["tool".to_owned()],
            owners: &owners,
            files: &files,
            payload: &[TreePath::literal("srv")],
            tables: 11,
            boot: &[("vmlinuz".to_owned(), 14)],
        });
        assert_eq!((spend.system(), spend.payload_bytes()), (40 + 30 + 5 + 11 + 14, 70));
        let rows: Vec<_> = spend
            .packages
            .iter()
            .map(|row| {
                (row.package.as_str(), row.stored, row.saves, row.goes_with.join(" "), row.because.join(" "))
            })
            .collect();
        let row = |name, stored, saves, with: &str, because: &str| {
            (name, stored, saves, with.to_owned(), because.to_owned())
        };
        assert_eq!(
            rows,
            [
                row("tool", 40, Some(70), "lib", "wished"),
                row("lib", 30, Some(30), "", "tool"),
                row(MADE, 5, None, "", ""),
                row("empty", 0, Some(0), "", "essential"),
            ]
        );
    }
}
