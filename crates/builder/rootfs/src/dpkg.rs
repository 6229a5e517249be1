//! dpkg's database: what is installed, with which files and sums, so that dpkg, debsums and vulnerability
//! scanners read the root as any other Debian. It lies in the read-only root, not in /var.
//!
//! A package's files that are left out of the root are left out of its list and sums as well: `dpkg -V` speaks up
//! for damage alone. Which ones they are, [`crate::LeftOut`] says.

use std::fmt::Write as _;

use md5::{Digest, Md5};
use pilotlight_tree::{Bytes, Kind, Meta, Node, Package, Tree, TreePath};

use crate::{Error, Inputs, Spec, assemble::UsrMerge, control::Paragraph, files};

/// Where the database lies.
pub const DATABASE: &str = "usr/lib/sysimage/dpkg";
/// Where dpkg looks for it.
const USUAL_PLACE: &str = "var/lib/dpkg";

/// Writes the database of `packages`, which are those of the inputs in their order. `own` are the files that no package ships.
pub(crate) fn write(
    tree: &mut Tree,
    packages: &[Package],
    inputs: &Inputs<'_>,
    own: &[TreePath],
    usr: &UsrMerge,
) -> Result<(), Error> {
    let Inputs { spec, architecture, version, epoch: mtime, .. } = *inputs;
    let usual = files::path(USUAL_PLACE)?;
    // The package dpkg ships the folder with an empty skeleton in it.
    tree.remove_all(&usual);
    files::put_link(tree, usual, format!("../../{DATABASE}"), mtime);
    let mut writer = Writer { tree, usr, mtime };
    let mut entries: Vec<(String, String, String)> = Vec::new();
    for package in packages {
        let control = package.control.get("control").ok_or(field(package, "Package"))?;
        let text = String::from_utf8_lossy(control).into_owned();
        let paragraph = Paragraph::parse(&text);
        let same = paragraph.get("Multi-Arch") == Some("same");
        let stem =
            if same { format!("{}:{}", package.name, package.architecture) } else { package.name.clone() };
        writer.package(package, &stem)?;
        let entry = writer.status(package, &paragraph)?;
        entries.push((package.name.clone(), package.architecture.clone(), entry));
    }
    entries.push(writer.own(spec, version, own)?);
    entries.sort();
    let status: Vec<String> = entries.into_iter().map(|(_, _, entry)| entry).collect();
    writer.file("status", status.join("\n"))?;
    let mut architectures = vec![architecture.to_owned()];
    for package in packages.iter().filter(|package| package.architecture != "all") {
        if !architectures.contains(&package.architecture) {
            architectures.push(package.architecture.clone());
        }
    }
    writer.file("arch", architectures.join("\n") + "\n")?;
    writer.file("arch-native", format!("{architecture}\n"))?;
    writer.file("info/format", "1\n")?;
    writer.file("diversions", "")?;
    for folder in ["parts", "triggers", "updates"] {
        let node = Node { meta: Meta::root(0o755, mtime), kind: Kind::Directory };
        files::put(writer.tree, files::path(&format!("{DATABASE}/{folder}"))?, node);
    }
    Ok(())
}

fn field(package: &Package, field: &'static str) -> Error {
    Error::Control { package: package.name.clone(), field }
}

struct Writer<'a> {
    tree: &'a mut Tree,
    usr: &'a UsrMerge,
    mtime: u32,
}

impl Writer<'_> {
    fn file(&mut self, name: &str, content: impl Into<Bytes>) -> Result<(), Error> {
        self.file_with(name, content, 0o644)
    }

    fn file_with(&mut self, name: &str, content: impl Into<Bytes>, mode: u16) -> Result<(), Error> {
        files::put_file(self.tree, files::path(&format!("{DATABASE}/{name}"))?, content, mode, self.mtime);
        Ok(())
    }

    fn has(&self, path: &TreePath) -> Result<bool, Error> {
        // What dpkg ships is the skeleton of what is being written here.
        Ok(path.is_at_or_beneath(&files::path(USUAL_PLACE)?)
            || self.tree.get(&self.usr.resolve(path)?).is_some())
    }

    /// The files of `info/`: the control files as they are, the list of what is there of the package, its sums.
    fn package(&mut self, package: &Package, stem: &str) -> Result<(), Error> {
        let kept = package.control.iter().filter(|(name, _)| !matches!(name.as_str(), "control" | "md5sums"));
        for (name, content) in kept {
            let script = matches!(name.as_str(), "preinst" | "postinst" | "prerm" | "postrm" | "config");
            self.file_with(
                &format!("info/{stem}.{name}"),
                content.clone(),
                if script { 0o755 } else { 0o644 },
            )?;
        }
        let mut list = String::new();
        for (path, _) in &package.data {
            if path.is_root() {
                list.push_str("/.\n");
            } else if self.has(path)? {
                _ = writeln!(list, "{path}");
            }
        }
        self.file(&format!("info/{stem}.list"), list)?;
        let mut sums = String::new();
        let shipped = package.control.get("md5sums").map(|sums| String::from_utf8_lossy(sums));
        for line in shipped.as_deref().unwrap_or_default().lines() {
            let path = line.split_once("  ").map_or(line, |(_, path)| path);
            if self.has(&files::path(path)?)? {
                _ = writeln!(sums, "{line}");
            }
        }
        if shipped.is_none() {
            let mut there = Vec::new();
            for (path, node) in &package.data {
                if self.has(path)? {
                    there.push((path.clone(), node.clone()));
                }
            }
            sums = md5sums(&there);
        }
        self.file(&format!("info/{stem}.md5sums"), sums)
    }

    /// The package's paragraph of the status file.
    fn status(&self, package: &Package, paragraph: &Paragraph<'_>) -> Result<String, Error> {
        for name in ["Package", "Version", "Architecture", "Maintainer", "Description"] {
            paragraph.get(name).ok_or(field(package, name))?;
        }
        let mut entry = String::new();
        for (name, value) in paragraph.fields() {
            _ = writeln!(
                entry,
                "{name}:{}{value}",
                if value.starts_with('\n') || value.is_empty() { "" } else { " " }
            );
            if name == "Package" {
                entry.push_str("Status: install ok installed\n");
            }
        }
        let list = package.control.get("conffiles").map(|list| String::from_utf8_lossy(list));
        let mut lines = String::new();
        for path in
            list.as_deref().unwrap_or_default().lines().map(str::trim).filter(|line| line.starts_with('/'))
        {
            let at = files::path(path)?;
            if !self.has(&at)? {
                continue;
            }
            let shipped = package.data.iter().find_map(|(other, node)| match &node.kind {
                Kind::File(content) if *other == at => Some(content),
                _ => None,
            });
            let content = shipped.ok_or_else(|| Error::Missing { path: at.clone() })?;
            _ = writeln!(lines, " {path} {}", md5(content));
        }
        if !lines.is_empty() {
            _ = write!(entry, "Conffiles:\n{lines}");
        }
        Ok(entry)
    }

    /// The builder's own entry: the overlay, the services, the payload.
    fn own(
        &mut self,
        spec: &Spec,
        version: &str,
        own: &[TreePath],
    ) -> Result<(String, String, String), Error> {
        let about = &spec.raw.own;
        let mut list = "/.\n".to_owned();
        let mut shipped = Vec::new();
        for path in own {
            _ = writeln!(list, "{path}");
            shipped.extend(self.tree.get(path).map(|node| (path.clone(), node.clone())));
        }
        self.file(&format!("info/{}.list", about.package), list)?;
        self.file(&format!("info/{}.md5sums", about.package), md5sums(&shipped))?;
        let mut entry = format!(
            "Package: {}\nStatus: install ok installed\nPriority: optional\nSection: admin\nMaintainer: {}\n\
             Architecture: all\nMulti-Arch: foreign\nVersion: {version}\n",
            about.package, about.maintainer
        );
        if !about.provides.is_empty() {
            _ = writeln!(entry, "Provides: {}", about.provides.join(", "));
        }
        _ = writeln!(entry, "Description: {}", about.description);
        Ok((about.package.clone(), "all".to_owned(), entry))
    }
}

/// The lines of an `md5sums` file.
fn md5sums(data: &[(TreePath, Node)]) -> String {
    let mut sums = String::new();
    for (path, node) in data {
        if let Kind::File(content) = &node.kind {
            _ = writeln!(sums, "{}  {}", md5(content), String::from_utf8_lossy(path.as_bytes()));
        }
    }
    sums
}

fn md5(content: &[u8]) -> String {
    let mut text = String::with_capacity(32);
    for byte in Md5::digest(content) {
        _ = write!(text, "{byte:02x}");
    }
    text
}
