//! update-alternatives: the links in /etc/alternatives and the tool's own records, from the table in root.toml.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use pilotlight_tree::Tree;

use crate::{Error, Spec, assemble::UsrMerge, dpkg, files, spec::Alternative};

/// Sets up the alternatives of the packages that are there; of several for one name the highest priority wins.
pub(crate) fn write(
    tree: &mut Tree,
    spec: &Spec,
    installed: &BTreeSet<&str>,
    usr: &UsrMerge,
    mtime: u32,
) -> Result<(), Error> {
    let mut groups: BTreeMap<&str, Vec<&Alternative>> = BTreeMap::new();
    for one in spec.raw.alternative.iter().filter(|one| installed.contains(one.package.as_str())) {
        let path = usr.resolve(&files::path(&one.path)?)?;
        if tree.get(&path).is_none() {
            return Err(Error::Missing { path });
        }
        groups.entry(&one.name).or_default().push(one);
    }
    for (name, mut choices) in groups {
        choices.sort_by(|one, other| (other.priority, &one.path).cmp(&(one.priority, &other.path)));
        let best = choices[0];
        link(tree, name, &best.link, &best.path, mtime)?;
        for slave in &best.slaves {
            link(tree, &slave.name, &slave.link, &slave.path, mtime)?;
        }
        choices.sort_by(|one, other| one.path.cmp(&other.path));
        let path = files::path(&format!("{}/alternatives/{name}", dpkg::DATABASE))?;
        files::put_file(tree, path, record(&choices), 0o644, mtime);
    }
    Ok(())
}

fn link(tree: &mut Tree, name: &str, link: &str, path: &str, mtime: u32) -> Result<(), Error> {
    let at = files::path(link)?;
    if tree.get(&at).is_some() {
        return Err(Error::Occupied { path: at, what: format!("the alternative `{name}`") });
    }
    files::put_link(tree, at, format!("/etc/alternatives/{name}"), mtime);
    files::put_link(tree, files::path(&format!("/etc/alternatives/{name}"))?, path, mtime);
    Ok(())
}

/// The record of one name: mode, link, slaves (name and link) up to an empty line; then each choice with its
/// priority and its slaves' paths, up to an empty line.
fn record(choices: &[&Alternative]) -> String {
    let mut text = format!("auto\n{}\n", choices[0].link);
    let slaves: BTreeMap<&str, &str> = choices
        .iter()
        .flat_map(|choice| choice.slaves.iter().map(|slave| (slave.name.as_str(), slave.link.as_str())))
        .collect();
    for (name, link) in &slaves {
        _ = write!(text, "{name}\n{link}\n");
    }
    text.push('\n');
    for choice in choices {
        _ = write!(text, "{}\n{}\n", choice.path, choice.priority);
        for name in slaves.keys() {
            let path = choice
                .slaves
                .iter()
                .find(|slave| slave.name == *name)
                .map_or("", |slave| slave.path.as_str());
            _ = writeln!(text, "{path}");
        }
    }
    text.push('\n');
    text
}
