//! systemd's units: presets applied at build, so that the first boot is like every other one. Masks, the default
//! target, and the links of `[Install]` sections. Knows no unit by name.

use std::collections::{BTreeMap, BTreeSet};

use pilotlight_tree::{Bytes, Kind, Tree, TreePath};

use crate::{Error, Spec, files, glob::Glob};

const UNITS: &str = "usr/lib/systemd/system";
const OWN: &str = "etc/systemd/system";
const PRESETS: [&str; 2] = ["usr/lib/systemd/system-preset", "etc/systemd/system-preset"];
const TYPES: [&str; 8] =
    [".service", ".socket", ".target", ".timer", ".path", ".mount", ".automount", ".slice"];

/// What an `[Install]` section asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Install {
    wanted_by: Vec<String>,
    required_by: Vec<String>,
    upheld_by: Vec<String>,
    aliases: Vec<String>,
    default_instance: Option<String>,
}

pub(crate) fn set_up(tree: &mut Tree, spec: &Spec, mtime: u32) -> Result<(), Error> {
    mask(tree, spec, mtime);
    let default = files::path(&format!("{OWN}/default.target"))?;
    if tree.get(&default).is_none() {
        let target = format!("/{UNITS}/{}", spec.raw.default_target);
        if tree.get(&files::path(&target)?).is_none() {
            return Err(Error::Missing { path: files::path(&target)? });
        }
        files::put_link(tree, default, target, mtime);
    }
    let rules = presets(tree)?;
    for (path, target) in links(tree, &rules)? {
        let path = files::path(&path)?;
        if tree.get(&path).is_none() {
            files::put_link(tree, path, target, mtime);
        }
    }
    Ok(())
}

/// Masks the units of root.toml that exist; a name may be a pattern.
fn mask(tree: &mut Tree, spec: &Spec, mtime: u32) {
    for (path, _) in masked(tree, spec) {
        files::put_link(tree, path, "/dev/null", mtime);
    }
}

/// Where the links are that mask units, and why.
pub(crate) fn masked<'a>(tree: &Tree, spec: &'a Spec) -> Vec<(TreePath, &'a str)> {
    let globs: Vec<(Glob, &str)> = spec
        .raw
        .mask
        .iter()
        .flat_map(|mask| mask.units.iter().map(|unit| (Glob::path(unit), mask.reason.as_str())))
        .collect();
    let units = files::entries_of(tree, &TreePath::literal(UNITS)).into_iter();
    units
        .filter_map(|(name, ..)| {
            let (_, reason) = globs.iter().find(|(glob, _)| glob.matches(name.as_bytes()))?;
            Some((files::path(&format!("{OWN}/{name}")).ok()?, *reason))
        })
        .collect()
}

type Rules = Vec<(bool, Glob, Vec<String>)>;

/// All preset rules in the order in which they are asked: by file name, /etc before /usr/lib.
fn presets(tree: &Tree) -> Result<Rules, Error> {
    let mut found: BTreeMap<String, TreePath> = BTreeMap::new();
    for (name, path, _) in
        PRESETS.iter().flat_map(|folder| files::entries_of(tree, &TreePath::literal(folder)))
    {
        if name.ends_with(".preset") {
            found.insert(name, path.clone());
        }
    }
    let mut rules = Rules::new();
    for path in found.values().filter(|path| files::content(tree, path).is_some()) {
        for line in files::text(tree, path)?.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_whitespace();
            let enable = match words.next() {
                Some("enable") => true,
                Some("disable" | "ignore") => false,
                _ => return Err(Error::Line { path: path.to_string(), line: line.to_owned() }),
            };
            let Some(pattern) = words.next() else {
                return Err(Error::Line { path: path.to_string(), line: line.to_owned() });
            };
            rules.push((enable, Glob::alias(pattern), words.map(str::to_owned).collect()));
        }
    }
    Ok(rules)
}

/// What the presets say: the first rule that matches counts; without one a unit is enabled, as on any Debian.
fn preset<'a>(rules: &'a Rules, unit: &str) -> (bool, &'a [String]) {
    let rule = rules.iter().find(|(_, glob, _)| glob.matches(unit.as_bytes()));
    rule.map_or((true, &[]), |(enable, _, instances)| (*enable, instances))
}

/// The links that enable the units: path and target.
fn links(tree: &Tree, rules: &Rules) -> Result<BTreeMap<String, String>, Error> {
    let mut units: BTreeMap<String, (&'static str, Bytes)> = BTreeMap::new();
    let mut masked = BTreeSet::new();
    for folder in [UNITS, OWN] {
        for (name, path, node) in files::entries_of(tree, &TreePath::literal(folder)) {
            if matches!(&node.kind, Kind::Symlink(target) if target == b"/dev/null") {
                masked.insert(name);
            } else if let Some(content) = files::content(tree, path).filter(|_| is_unit(&name)) {
                units.insert(name, (folder, content.clone()));
            }
        }
    }
    let mut links = BTreeMap::new();
    for (unit, (folder, content)) in units.iter().filter(|(unit, _)| !masked.contains(*unit)) {
        let path = format!("/{folder}/{unit}");
        let install = Install::parse(&path, content)?;
        let (enabled, instances) = preset(rules, unit);
        if enabled {
            install.links(unit, &path, instances, &mut links)?;
        }
    }
    Ok(links)
}

fn is_unit(name: &str) -> bool {
    TYPES.iter().any(|kind| name.ends_with(kind))
}

impl Install {
    fn parse(path: &str, content: &[u8]) -> Result<Self, Error> {
        let text = String::from_utf8_lossy(content);
        let mut install = Self::default();
        let mut inside = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[Install]";
            } else if inside && !line.is_empty() && !line.starts_with(['#', ';']) {
                let (key, value) = line
                    .split_once('=')
                    .ok_or_else(|| Error::Line { path: path.to_owned(), line: line.to_owned() })?;
                let words = || value.split_whitespace().map(str::to_owned);
                match key.trim_end() {
                    "WantedBy" => install.wanted_by.extend(words()),
                    "RequiredBy" => install.required_by.extend(words()),
                    "UpheldBy" => install.upheld_by.extend(words()),
                    "Alias" => install.aliases.extend(words()),
                    "DefaultInstance" => install.default_instance = Some(value.trim().to_owned()),
                    // `Also=` names units that the presets are asked about themselves.
                    _ => {}
                }
            }
        }
        Ok(install)
    }

    fn links(
        &self,
        unit: &str,
        path: &str,
        instances: &[String],
        links: &mut BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let template = unit.split_once("@.");
        let mut names = vec![unit.to_owned()];
        if let Some((stem, kind)) = template {
            let wanted = if instances.is_empty() { self.default_instance.as_slice() } else { instances };
            names = wanted.iter().map(|instance| format!("{stem}@{instance}.{kind}")).collect();
        }
        for name in names {
            for (list, suffix) in
                [(&self.wanted_by, "wants"), (&self.required_by, "requires"), (&self.upheld_by, "upholds")]
            {
                for by in list {
                    let by = expand(path, by, &name)?;
                    links.insert(format!("/{OWN}/{by}.{suffix}/{name}"), path.to_owned());
                }
            }
            for alias in &self.aliases {
                links.insert(format!("/{OWN}/{}", expand(path, alias, &name)?), path.to_owned());
            }
        }
        Ok(())
    }
}

/// The specifiers that stand in `[Install]` sections and mean the unit itself.
fn expand(path: &str, text: &str, unit: &str) -> Result<String, Error> {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let full = text.replace("%i", instance).replace("%p", prefix).replace("%N", stem).replace("%n", unit);
    if full.contains(['%', '/']) {
        return Err(Error::Line { path: path.to_owned(), line: text.to_owned() });
    }
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(units: &[(&'static str, &str)], presets: &str, expect: &[(&str, &str)]) {
        let mut tree = Tree::new(pilotlight_tree::Meta::root(0o755, 0));
        for (path, content) in units {
            files::put_file(&mut tree, TreePath::literal(path), content.as_bytes().to_vec(), 0o644, 0);
        }
        let preset = TreePath::literal("usr/lib/systemd/system-preset/90-x.preset");
        files::put_file(&mut tree, preset, presets.as_bytes().to_vec(), 0o644, 0);
        let found = links(&tree, &super::presets(&tree).unwrap()).unwrap();
        let found: Vec<_> = found.iter().map(|(path, target)| (path.as_str(), target.as_str())).collect();
        assert_eq!(found, expect, "{units:?}");
    }

    #[test]
    fn enabling() {
        let getty = (
            "usr/lib/systemd/system/getty@.service",
            "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
        );
        check(
            &[getty],
            "enable getty@.service\n",
            &[(
                "/etc/systemd/system/getty.target.wants/getty@tty1.service",
                "/usr/lib/systemd/system/getty@.service",
            )],
        );
        check(
            &[getty],
            "enable getty@.service ttyS1\n",
            &[(
                "/etc/systemd/system/getty.target.wants/getty@ttyS1.service",
                "/usr/lib/systemd/system/getty@.service",
            )],
        );
        check(&[getty], "disable getty@*\nenable getty@.service\n", &[]);
        check(
            &[(
                "usr/lib/systemd/system/a.service",
                "[Unit]\nWantedBy=x\n[Install]\nAlias=b.service\n# c\nWantedBy=m.target\n",
            )],
            "",
            &[
                ("/etc/systemd/system/b.service", "/usr/lib/systemd/system/a.service"),
                ("/etc/systemd/system/m.target.wants/a.service", "/usr/lib/systemd/system/a.service"),
            ],
        );
        check(&[("usr/lib/systemd/system/README", "[Install]\nWantedBy=m.target\n")], "", &[]);
    }
}
