//! Writing a toolbox's folder.

use std::{
    fs, io,
    os::unix::fs::{OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
};

use pilotlight_tree::{Kind, Package, TreePath};
use rayon::prelude::*;

use crate::{ToolError, elf};

/// Where the dynamic loader of amd64's libc6 lies once `/lib` is merged into `/usr/lib`.
const LOADER: &str = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
/// Where the libraries lie; systemd's programs keep what they share in a folder of their own.
const LIBRARIES: &[&str] = &["usr/lib/x86_64-linux-gnu", "usr/lib", "usr/lib/x86_64-linux-gnu/systemd"];
/// Top-level folders that are links into `/usr` on a merged system; older packages still ship into them.
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib64"];

/// What no program reads.
const UNREAD: &[&str] =
    &["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"];

/// Unpacks `packages` so that they can be run at `folder`, by way of a temporary folder in `parent`.
pub(crate) fn write(packages: &[Package], parent: &Path, folder: &Path) -> Result<(), ToolError> {
    fs::create_dir_all(parent).map_err(fault(parent))?;
    let work = tempfile::Builder::new().prefix(".unpacking-").tempdir_in(parent).map_err(fault(parent))?;
    let root = work.path().join("root");
    fs::create_dir_all(root.join("usr")).map_err(fault(&root))?;
    for name in MERGED {
        let link = root.join(name);
        fs::create_dir_all(root.join("usr").join(name)).map_err(fault(&link))?;
        symlink(Path::new("usr").join(name), &link).map_err(fault(&link))?;
    }
    let scripts = Scripts::new(folder);
    packages.par_iter().try_for_each(|package| unpack(package, &root, &scripts))?;
    if !root.join(LOADER).is_file() {
        return Err(ToolError::NoLoader(LOADER));
    }
    name_programs(work.path())?;
    let work = work.keep();
    match fs::rename(&work, folder) {
        // Another builder was quicker: its folder has the same name, so it has the same content.
        Err(_) if folder.is_dir() => fs::remove_dir_all(&work).map_err(fault(&work)),
        other => other.map_err(fault(folder)),
    }
}

/// The scripts that stand in for programs. They name the folder's final place.
struct Scripts {
    root: PathBuf,
    start: String,
}

impl Scripts {
    fn new(folder: &Path) -> Self {
        let root = folder.join("root");
        let libraries: Vec<String> =
            LIBRARIES.iter().map(|path| root.join(path).to_string_lossy().into_owned()).collect();
        let start = format!(
            "exec {} --library-path {} --argv0 \"$0\"",
            quote(&root.join(LOADER).to_string_lossy()),
            quote(&libraries.join(":")),
        );
        Self { root, start }
    }

    fn for_program(&self, real: &Path) -> String {
        let real = self.root.join(real);
        format!("#!/bin/sh\n{} {} \"$@\"\n", self.start, quote(&real.to_string_lossy()))
    }
}

/// `text` as one word for a POSIX shell.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn unpack(package: &Package, root: &Path, scripts: &Scripts) -> Result<(), ToolError> {
    for (path, node) in &package.data {
        let place = merged(path);
        let target = root.join(&place);
        if path.is_root() || UNREAD.iter().any(|folder| place.starts_with(folder)) {
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(fault(parent))?;
        }
        match &node.kind {
            Kind::Directory => fs::create_dir_all(&target).map_err(fault(&target))?,
            Kind::File(content) if is_program(path, node.meta.mode, content) => {
                let real = hidden(&place);
                write_file(&root.join(&real), content, 0o755)?;
                write_file(&target, scripts.for_program(&real).as_bytes(), 0o755)?;
            }
            Kind::File(content) => {
                write_file(&target, content, if node.meta.mode & 0o111 != 0 { 0o755 } else { 0o644 })?;
            }
            Kind::Symlink(to) => replace(&target, || symlink(rebased(path, to), &target))?,
            Kind::HardLink(to) => {
                if !package.data.iter().any(|(other, _)| other == to) {
                    return Err(ToolError::DanglingHardLink {
                        package: package.name.clone(),
                        link: path.to_string(),
                        target: to.to_string(),
                    });
                }
                // A script takes its name from how it was called, so a link to it serves as the program does.
                let to = root.join(merged(to));
                replace(&target, || fs::hard_link(&to, &target))?;
            }
            // Devices need root, and no tool needs them.
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => {}
        }
    }
    Ok(())
}

/// The C library asks for a loader too, since it can be run to print its version: it stays what it is.
fn is_program(path: &TreePath, mode: u16, content: &[u8]) -> bool {
    let library = path.file_name().windows(3).any(|part| part == b".so");
    mode & 0o111 != 0 && !library && elf::is_dynamic_program(content)
}

/// Where `path` lies once the top-level folders are merged into `/usr`.
fn merged(path: &TreePath) -> PathBuf {
    let text = String::from_utf8_lossy(path.as_bytes()).into_owned();
    let first = text.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) { Path::new("usr").join(text) } else { PathBuf::from(text) }
}

/// The real program's name beside the script that starts it.
fn hidden(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    place.with_file_name(format!(".{name}.real"))
}

/// The target of the link at `path`, relative where it was absolute: the toolbox is not the machine's root.
fn rebased(path: &TreePath, to: &[u8]) -> PathBuf {
    let to = String::from_utf8_lossy(to).into_owned();
    let Some(inside) = to.strip_prefix('/') else { return PathBuf::from(to) };
    let inside = TreePath::parse(inside).map_or_else(|_| PathBuf::from(inside), |path| merged(&path));
    let depth = merged(path).components().count().saturating_sub(1);
    let mut up: PathBuf = std::iter::repeat_n("..", depth).collect();
    up.push(inside);
    up
}

fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), ToolError> {
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        io::Write::write_all(&mut file, content)
    };
    replace(path, write)
}

/// Runs `make`, which fails when `path` exists; then takes away what stands there and runs it again: the same
/// file of two architectures of one package, as in `/usr/share/doc`.
fn replace(path: &Path, make: impl Fn() -> io::Result<()>) -> Result<(), ToolError> {
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !path.is_dir() => {
            let _ = fs::remove_file(path);
            make().map_err(fault(path))
        }
        other => other.map_err(fault(path)),
    }
}

/// Fills `bin/` with a link for each program.
fn name_programs(work: &Path) -> Result<(), ToolError> {
    let bin = work.join("bin");
    fs::create_dir(&bin).map_err(fault(&bin))?;
    for folder in ["usr/sbin", "usr/bin"] {
        let full = work.join("root").join(folder);
        for entry in fs::read_dir(&full).map_err(fault(&full))? {
            let name = entry.map_err(fault(&full))?.file_name();
            if name.to_string_lossy().starts_with('.') {
                continue;
            }
            let link = bin.join(&name);
            let to = Path::new("../root").join(folder).join(&name);
            replace(&link, || symlink(&to, &link))?;
        }
    }
    Ok(())
}

fn fault(path: &Path) -> impl Fn(io::Error) -> ToolError {
    move |source| ToolError::Write { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_links_stay_inside() {
        let check = |path: &'static str, to: &str, expect: &str| {
            assert_eq!(
                rebased(&TreePath::literal(path), to.as_bytes()),
                PathBuf::from(expect),
                "{path} -> {to}"
            );
        };
        check("usr/lib64/ld.so", "/lib/x86_64-linux-gnu/ld.so", "../../usr/lib/x86_64-linux-gnu/ld.so");
        check("lib64/ld.so", "/lib/x86_64-linux-gnu/ld.so", "../../usr/lib/x86_64-linux-gnu/ld.so");
        check("usr/bin/cc", "gcc-12", "gcc-12");
    }

    #[test]
    fn shell_words_hold() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
