//! Which installed package needs which. Alternatives are settled as apt does: the first that is there.

use std::collections::{BTreeMap, BTreeSet};

use pilotlight_archive::{deb822, relation};
use pilotlight_tree::Package;

/// Packages by their number in the slice that it was made of, and what each needs.
#[derive(Debug, Clone)]
pub struct Graph {
    needs: Vec<BTreeSet<usize>>,
    essential: BTreeSet<usize>,
    names: Vec<String>,
}

impl Graph {
    /// Reads `Depends` and `Pre-Depends` of all `packages`. What is provided by none of them is left out: the
    /// builder itself takes its place.
    pub fn of(packages: &[Package]) -> Self {
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, package) in packages.iter().enumerate() {
            by_name.entry(package.name.clone()).or_default().push(at);
        }
        for (at, package) in packages.iter().enumerate() {
            let provides = field(package, "Provides");
            for name in relation::parse(&provides).flatten().map(|atom| atom.name) {
                by_name.entry(name.to_owned()).or_default().push(at);
            }
        }
        let needs = packages.iter().map(|package| {
            let mut needs = BTreeSet::new();
            for name in ["Pre-Depends", "Depends"] {
                for alternatives in relation::parse(&field(package, name)) {
                    let there = alternatives.iter().find_map(|atom| by_name.get(atom.name));
                    let same = |at: &&usize| packages[**at].architecture == package.architecture;
                    needs.extend(there.and_then(|there| there.iter().find(same).or(there.first())).copied());
                }
            }
            needs
        });
        let needs = needs.collect();
        let essential = |package: &Package| field(package, "Essential") == "yes";
        let essential =
            packages.iter().enumerate().filter(|(_, package)| essential(package)).map(|(at, _)| at);
        let names = packages.iter().map(|package| package.name.clone()).collect();
        Self { needs, essential: essential.collect(), names }
    }

    /// What the package with the number `at` needs itself.
    pub fn needs(&self, at: usize) -> &BTreeSet<usize> {
        &self.needs[at]
    }

    /// Who needs the package with the number `at` itself.
    pub fn needed_by(&self, at: usize) -> impl Iterator<Item = usize> {
        self.needs
            .iter()
            .enumerate()
            .filter(move |(by, needs)| *by != at && needs.contains(&at))
            .map(|(by, _)| by)
    }

    /// Whether the package is marked Essential.
    pub fn is_essential(&self, at: usize) -> bool {
        self.essential.contains(&at)
    }

    /// What is asked for by itself: `wishes` by name, and what is essential.
    pub fn wished(&self, wishes: &[String]) -> BTreeSet<usize> {
        let named = self.names.iter().enumerate().filter(|(_, name)| wishes.contains(name)).map(|(at, _)| at);
        named.chain(self.essential.iter().copied()).collect()
    }

    /// What goes when the package `at` goes: itself, and what only it needs, directly or not.
    pub fn goes_with(&self, at: usize, wished: &BTreeSet<usize>) -> BTreeSet<usize> {
        let (all, rest) = (self.reach(wished, None), self.reach(wished, Some(at)));
        all.difference(&rest).copied().collect()
    }

    fn reach(&self, from: &BTreeSet<usize>, without: Option<usize>) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<usize> = from.iter().copied().collect();
        while let Some(at) = open.pop() {
            if Some(at) != without && reached.insert(at) {
                open.extend(&self.needs[at]);
            }
        }
        reached
    }
}

/// A field of the package's control file, empty when it has none.
pub(crate) fn field(package: &Package, name: &str) -> String {
    let control = package.control.get("control").map(|control| String::from_utf8_lossy(control));
    let control = control.as_deref().unwrap_or_default();
    let value = deb822::paragraphs(control).next().and_then(|paragraph| paragraph.get(name));
    value.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, more: &str) -> Package {
        let control = format!("Package: {name}\n{more}\n");
        Package {
            name: name.to_owned(),
            version: "1".to_owned(),
            architecture: "armhf".to_owned(),
            control: BTreeMap::from([("control".to_owned(), control.into())]),
            data: Vec::new(),
        }
    }

    #[test]
    fn what_goes_with_what() {
        let packages = [
            package("wish", "Depends: lib (>= 1), absent | mail-agent, nowhere"),
            package("agent", "Provides: mail-agent\nPre-Depends: deep"),
            package("deep", ""),
            package("lib", ""),
            package("base", "Essential: yes\nDepends: lib"),
        ];
        let graph = Graph::of(&packages);
        let wished = graph.wished(&["wish".to_owned()]);
        assert_eq!(wished, BTreeSet::from([0, 4]));
        assert_eq!(graph.needs(0), &BTreeSet::from([1, 3]));
        assert_eq!(graph.needed_by(3).collect::<Vec<_>>(), [0, 4]);
        assert!(graph.is_essential(4) && !graph.is_essential(0));
        let check = |at: usize, expect: &[usize]| {
            let goes: Vec<usize> = graph.goes_with(at, &wished).into_iter().collect();
            assert_eq!(goes, expect, "{}", packages[at].name);
        };
        check(0, &[0, 1, 2]);
        check(1, &[1, 2]);
        check(2, &[2]);
        check(3, &[3]);
        check(4, &[4]);
    }
}
