//! dpkg's database: what is installed, with which files and sums, so that dpkg, debsums and vulnerability
//! scanners read the root as any other Debian. It lies in the read-only root, not in /var.

use std::fmt::Write as _;

use md5::{Digest, Md5};
use pilotlight_tree::{Bytes, Kind, Meta, Node, Package, Tree, TreePath};

use crate::{Error, Spec, control::Paragraph, files};

/// Where the database lies.
pub const DATABASE: &str = "usr/lib/sysimage/dpkg";
/// Where dpkg looks for it.
const USUAL_PLACE: &str = "var/lib/dpkg";

/// Writes the database. `own` are the files that no package ships.
pub(crate) fn write(
    tree: &mut Tree,
    packages: &[Package],
    spec: &Spec,
    version: &str,
    own: &[TreePath],
    mtime: u32,
) -> Result<(), Error> {
    let mut writer = Writer { tree, mtime };
    let mut entries: Vec<(String, String, String)> = Vec::new();
    for package in packages {
        let control = package.control.get("control").ok_or(field(package, "Package"))?;
        let text = String::from_utf8_lossy(control).into_owned();
        let paragraph = Paragraph::parse(&text);
        let same = paragraph.get("Multi-Arch") == Some("same");
        let stem =
            if same { format!("{}:{}", package.name, package.architecture) } else { package.name.clone() };
        writer.package(package, &stem)?;
        let entry = status(package, &paragraph)?;
        entries.push((package.name.clone(), package.architecture.clone(), entry));
    }
    entries.push(writer.own(spec, version, own)?);
    entries.sort();
    let status: Vec<String> = entries.into_iter().map(|(_, _, entry)| entry).collect();
    writer.file("status", status.join("\n"))?;
    let mut architectures = vec![spec.raw.architecture.clone()];
    for package in packages.iter().filter(|package| package.architecture != "all") {
        if !architectures.contains(&package.architecture) {
            architectures.push(package.architecture.clone());
        }
    }
    writer.file("arch", architectures.join("\n") + "\n")?;
    writer.file("arch-native", format!("{}\n", spec.raw.architecture))?;
    writer.file("info/format", "1\n")?;
    for empty in ["available", "diversions", "statoverride"] {
        writer.file(empty, "")?;
    }
    for folder in ["parts", "triggers", "updates"] {
        let node = Node { meta: Meta::root(0o755, mtime), kind: Kind::Directory };
        files::put(writer.tree, files::path(&format!("{DATABASE}/{folder}"))?, node);
    }
    let usual = files::path(USUAL_PLACE)?;
    // The package dpkg ships the folder with an empty skeleton in it.
    writer.tree.remove_all(&usual);
    files::put_link(writer.tree, usual, format!("/{DATABASE}"), mtime);
    Ok(())
}

fn field(package: &Package, field: &'static str) -> Error {
    Error::Control { package: package.name.clone(), field }
}

struct Writer<'a> {
    tree: &'a mut Tree,
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

    /// The files of `info/`: the control files as they are, and the list of what the package ships.
    fn package(&mut self, package: &Package, stem: &str) -> Result<(), Error> {
        for (name, content) in package.control.iter().filter(|(name, _)| *name != "control") {
            let script = matches!(name.as_str(), "preinst" | "postinst" | "prerm" | "postrm" | "config");
            self.file_with(
                &format!("info/{stem}.{name}"),
                content.clone(),
                if script { 0o755 } else { 0o644 },
            )?;
        }
        if !package.control.contains_key("md5sums") {
            self.file(&format!("info/{stem}.md5sums"), md5sums(&package.data))?;
        }
        let mut list = String::new();
        for (path, _) in &package.data {
            list.push_str(if path.is_root() { "/." } else { "" });
            if !path.is_root() {
                _ = write!(list, "{path}");
            }
            list.push('\n');
        }
        self.file(&format!("info/{stem}.list"), list)
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

/// The package's paragraph of the status file.
fn status(package: &Package, paragraph: &Paragraph<'_>) -> Result<String, Error> {
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
    if let Some(list) = package.control.get("conffiles") {
        let list = String::from_utf8_lossy(list);
        let conffiles = list.lines().map(str::trim).filter(|line| line.starts_with('/'));
        let mut lines = String::new();
        for path in conffiles {
            let at = files::path(path)?;
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
    }
    Ok(entry)
}
