//! Licences out of Debian's machine-readable copyright files (DEP-5), as SPDX names them where SPDX does.

use std::collections::BTreeSet;

use pilotlight_archive::deb822;
use pilotlight_tree::{Kind, Package, TreePath};

/// A licence as found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Licence {
    /// An identifier of SPDX's list.
    Spdx(&'static str),
    /// Debian's own short name for it, or an expression of such.
    Named(String),
}

/// Debian's short name, SPDX's identifier. Either is taken, in upper or lower case.
const SPDX: &[(&str, &str)] = &[
    ("0BSD", "0BSD"),
    ("AGPL-3", "AGPL-3.0-only"),
    ("AGPL-3+", "AGPL-3.0-or-later"),
    ("Apache-2", "Apache-2.0"),
    ("BSD-2-clause", "BSD-2-Clause"),
    ("BSD-3-clause", "BSD-3-Clause"),
    ("BSD-4-clause", "BSD-4-Clause"),
    ("Beerware", "Beerware"),
    ("BSL-1.0", "BSL-1.0"),
    ("CC0-1.0", "CC0-1.0"),
    ("Expat", "MIT"),
    ("FSFAP", "FSFAP"),
    ("FSFULLR", "FSFULLR"),
    ("GFDL-1.3+", "GFDL-1.3-or-later"),
    ("GPL-1+", "GPL-1.0-or-later"),
    ("GPL-2", "GPL-2.0-only"),
    ("GPL-2.0", "GPL-2.0-only"),
    ("GPL-2+", "GPL-2.0-or-later"),
    ("GPL-3", "GPL-3.0-only"),
    ("GPL-3+", "GPL-3.0-or-later"),
    ("ISC", "ISC"),
    ("Latex2e", "Latex2e"),
    ("LGPL-2", "LGPL-2.0-only"),
    ("LGPL-2+", "LGPL-2.0-or-later"),
    ("LGPL-2.1", "LGPL-2.1-only"),
    ("LGPL-2.1+", "LGPL-2.1-or-later"),
    ("LGPL-3", "LGPL-3.0-only"),
    ("LGPL-3+", "LGPL-3.0-or-later"),
    ("MIT-0", "MIT-0"),
    ("MPL-2.0", "MPL-2.0"),
    ("SunPro", "SunPro"),
    ("Unicode-DFS-2016", "Unicode-DFS-2016"),
    ("Unlicense", "Unlicense"),
    ("X11", "X11"),
    ("Zlib", "Zlib"),
];

/// The licences that the copyright file of `package` names, sorted; empty when it is not machine-readable. Its
/// documentation may be a link to that of another of `packages`.
pub(crate) fn licences(package: &Package, packages: &[&Package]) -> Vec<Licence> {
    let text = copyright(package, packages).unwrap_or_default();
    let mut paragraphs = deb822::paragraphs(&text).peekable();
    let header = paragraphs.peek().and_then(|header| header.get("Format"));
    if !header.is_some_and(|format| format.contains("copyright-format/1")) {
        return Vec::new();
    }
    let names = paragraphs.filter_map(|paragraph| {
        // A paragraph without files only spells out a licence that others name.
        paragraph.get("Files")?;
        let name = paragraph.get("License")?.lines().next()?.trim();
        (!name.is_empty()).then(|| name.to_owned())
    });
    let names: BTreeSet<String> = names.collect();
    let mut found: Vec<Licence> = names.into_iter().map(named).collect();
    found.sort();
    found.dedup();
    found
}

fn named(name: String) -> Licence {
    let same = |other: &str| other.eq_ignore_ascii_case(&name);
    match SPDX.iter().find(|(debian, spdx)| same(debian) || same(spdx)) {
        Some((_, spdx)) => Licence::Spdx(spdx),
        None => Licence::Named(name),
    }
}

fn copyright(package: &Package, packages: &[&Package]) -> Option<String> {
    let folder = TreePath::parse(format!("usr/share/doc/{}", package.name)).ok()?;
    let file = folder.join("copyright").ok()?;
    for (path, node) in &package.data {
        match &node.kind {
            Kind::File(content) if *path == file => {
                return Some(String::from_utf8_lossy(content).into_owned());
            }
            Kind::Symlink(target) if *path == folder || *path == file => {
                let target = String::from_utf8_lossy(target).into_owned();
                let name = target.trim_end_matches("/copyright").rsplit('/').next()?.to_owned();
                let other = packages.iter().find(|other| other.name == name && other.name != package.name)?;
                return copyright(other, packages);
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pilotlight_tree::{Meta, Node};

    use super::*;

    fn package(name: &str, path: &str, kind: Kind) -> Package {
        let node = Node { meta: Meta::root(0o644, 0), kind };
        Package {
            name: name.to_owned(),
            version: "1".to_owned(),
            architecture: "all".to_owned(),
            control: BTreeMap::new(),
            data: vec![(TreePath::parse(path).unwrap(), node)],
        }
    }

    #[test]
    fn machine_readable_or_not() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
                    Files: *\nCopyright: x\nLicense: GPL-2+\n text\n .\n more\n\n\
                    Files: a\nLicense: mit\n\nFiles: b\nLicense: GPL-2+ or Artistic\n\nLicense: BSD-4-clause\n text\n";
        let a = package("a", "usr/share/doc/a/copyright", Kind::File(text.into()));
        let b = package("b", "usr/share/doc/b", Kind::Symlink("a".into()));
        let prose = package("c", "usr/share/doc/c/copyright", Kind::File("It is free: really.\n".into()));
        let expect = [
            Licence::Spdx("GPL-2.0-or-later"),
            Licence::Spdx("MIT"),
            Licence::Named("GPL-2+ or Artistic".to_owned()),
        ];
        let all = [&a, &b, &prose];
        assert_eq!(licences(&a, &all), expect);
        assert_eq!(licences(&b, &all), expect);
        assert_eq!(licences(&prose, &all), []);
        assert_eq!(licences(&package("d", "usr/bin/d", Kind::Fifo), &all), []);
    }
}
