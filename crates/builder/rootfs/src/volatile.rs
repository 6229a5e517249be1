//! The folders of /var, which is in memory on the card: systemd-tmpfiles makes anew at every start what packages have
//! there, so that their programs find it and `dpkg -V` misses nothing. Knows no package by name.

use std::{collections::BTreeSet, fmt::Write as _};

use pilotlight_tree::{Kind, Tree, TreePath};

use crate::{Error, files};

const VAR: &str = "var";
const FOLDER: &str = "usr/lib/tmpfiles.d";
/// What other files of the folder say, it does not repeat: systemd-tmpfiles would complain of two lines for one path.
const FILE: &str = "usr/lib/tmpfiles.d/packages.conf";
const HEAD: &str = "# What packages have in /var, which is in memory and filled anew on every start.\n";
/// The types of tmpfiles.d(5) that make a folder or a link.
const MAKING: [char; 6] = ['d', 'D', 'v', 'q', 'Q', 'L'];

/// Writes a line for each folder and link in /var that no other file of tmpfiles.d makes; gives the file's path.
pub(crate) fn write(tree: &mut Tree, mtime: u32) -> Result<TreePath, Error> {
    let made = made_by_others(tree)?;
    let var = TreePath::literal(VAR);
    let mut text = HEAD.to_owned();
    for (path, node) in tree.iter().filter(|(path, _)| path.is_at_or_beneath(&var)) {
        if made.contains(&path.to_string()) {
            continue;
        }
        match &node.kind {
            Kind::Directory => {
                let meta = node.meta;
                _ = writeln!(text, "d {path} {:04o} {} {} -", meta.mode, meta.uid, meta.gid);
            }
            Kind::Symlink(target) => {
                _ = writeln!(text, "L {path} - - - - {}", String::from_utf8_lossy(target));
            }
            _ => {}
        }
    }
    files::put_file(tree, TreePath::literal(FILE), text, 0o644, mtime);
    Ok(TreePath::literal(FILE))
}

fn made_by_others(tree: &Tree) -> Result<BTreeSet<String>, Error> {
    let mut made = BTreeSet::new();
    for (name, path, _) in files::entries_of(tree, &TreePath::literal(FOLDER)) {
        if !name.ends_with(".conf") || files::content(tree, path).is_none() {
            continue;
        }
        for line in files::text(tree, path)?.lines() {
            let mut words = line.split_whitespace();
            if words.next().is_some_and(|kind| kind.starts_with(MAKING)) {
                made.extend(words.next().map(str::to_owned));
            }
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use pilotlight_tree::{Meta, Node};

    use super::*;

    #[test]
    fn folders_and_links_that_nobody_else_makes() {
        let mut tree = Tree::new(Meta::root(0o755, 0));
        let conf =
            "# d /var/a\nq /var 0755 - - -\nd$ /var/lib 0755 root root -\nz /var/log/journal 2755 - -\n";
        files::put_file(&mut tree, TreePath::literal("usr/lib/tmpfiles.d/var.conf"), conf, 0o644, 0);
        for (path, mode, gid) in [("var/lib", 0o755, 0), ("var/mail", 0o2775, 8), ("var/a", 0o1777, 0)] {
            let meta = Meta { mode, uid: 0, gid, mtime: 0 };
            files::put(&mut tree, TreePath::literal(path), Node { meta, kind: Kind::Directory });
        }
        files::put_link(&mut tree, TreePath::literal("var/spool/mail"), "../mail", 0);
        files::put_file(&mut tree, TreePath::literal("var/log/wtmp"), "", 0o664, 0);
        let path = write(&mut tree, 0).unwrap();
        let expect = "d /var/a 1777 0 0 -\nd /var/log 0755 0 0 -\nd /var/mail 2775 0 8 -\nd /var/spool 0755 0 0 -\n\
                      L /var/spool/mail - - - - ../mail\n";
        assert_eq!(files::text(&tree, &path).unwrap(), format!("{HEAD}{expect}"));
    }
}
