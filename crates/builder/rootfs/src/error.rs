//! What can be wrong with packages, overlay or root.toml.

use std::path::PathBuf;

use pilotlight_tree::{PathError, TreePath};

/// Why no root could be made. Messages name the package, the path, and what to add to root.toml.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// root.toml cannot be read.
    #[error("root.toml of the base is not well formed")]
    Spec(#[source] Box<toml::de::Error>),
    /// differences.toml cannot be read.
    #[error("differences.toml of the base is not well formed")]
    Differences(#[source] Box<toml::de::Error>),
    /// A line of differences.toml that could never explain anything.
    #[error("a line of differences.toml names no path, or nothing that may differ: \"{reason}\"")]
    IdleDifference {
        /// Which: its reason.
        reason: String,
    },
    /// The archive of the usual root cannot be read.
    #[error("the archive of the usual root cannot be read")]
    UsualArchive(#[source] std::io::Error),
    /// Something in the archive of the usual root has no place in a root.
    #[error("{path} in the archive of the usual root is {what}")]
    UsualEntry {
        /// Which.
        path: TreePath,
        /// What is the matter.
        what: &'static str,
    },
    /// A path in a package, in the overlay or in root.toml leaves the tree.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Two packages ship different files at one path.
    #[error("the packages {first} and {second} both ship {path}, and not the same")]
    Conflict {
        /// Where.
        path: TreePath,
        /// The package that came first.
        first: String,
        /// The package that came second.
        second: String,
    },
    /// A file that a step needs is not in the tree.
    #[error("{path} is needed, and no package ships it as a regular file")]
    Missing {
        /// Which file.
        path: TreePath,
    },
    /// A file that should be text is not.
    #[error("{path} is not UTF-8 text")]
    NotText {
        /// Which file.
        path: TreePath,
        /// Where it stops being text.
        source: std::str::Utf8Error,
    },
    /// A hard link whose target was left out or never shipped.
    #[error("{path} is a hard link to {target}, which is not in the root; leave out both or neither")]
    HardLink {
        /// The link.
        path: TreePath,
        /// What it points to.
        target: TreePath,
    },
    /// A package's control file has no such field.
    #[error("the control file of package {package} has no field `{field}`")]
    Control {
        /// Which package.
        package: String,
        /// Which field.
        field: &'static str,
    },
    /// A package has a script that nothing in packages.toml stands for.
    #[error(
        "package {package} has a {script} that packages.toml does not know: read it, then add \
         `[scripts.\"{package}\"]` with `why` and what has to be done in its place"
    )]
    UnknownScript {
        /// Which package.
        package: String,
        /// `postinst` or `triggers`.
        script: &'static str,
    },
    /// A line of a sysusers.d file is not understood.
    #[error("{path}, line {line}: {problem}")]
    Sysusers {
        /// Which file.
        path: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A user or group without a number.
    #[error(
        "{path} asks for `{name}` without a number: add `{name} = …` to [ids] in packages.toml, so that it never moves"
    )]
    NoId {
        /// Which file.
        path: String,
        /// Which user or group.
        name: String,
    },
    /// A user or group that is used and nowhere defined.
    #[error(
        "{what} names the user or group `{name}`, which neither base-passwd nor any sysusers.d file defines"
    )]
    UnknownOwner {
        /// Who names it.
        what: String,
        /// The name.
        name: String,
    },
    /// One number for two users, or one user with two numbers.
    #[error("{path}: {kind} `{name}` with number {id} clashes with {other}")]
    IdClash {
        /// Which file.
        path: String,
        /// `user` or `group`.
        kind: &'static str,
        /// Whose number.
        name: String,
        /// Which number.
        id: u32,
        /// What was there before.
        other: String,
    },
    /// A line of a master, preset or unit file is not understood.
    #[error("{path}: cannot make sense of `{line}`")]
    Line {
        /// Which file.
        path: String,
        /// Its text.
        line: String,
    },
    /// A kernel module cannot be read.
    #[error("the kernel module {path} cannot be read: {problem}")]
    Module {
        /// Which module.
        path: TreePath,
        /// What is wrong with it.
        problem: String,
    },
    /// The board asks for a module that this kernel has neither as a file nor built in.
    #[error("kernel {release} has no module `{name}`, neither as a file nor built in")]
    UnknownModule {
        /// The kernel.
        release: String,
        /// The name.
        name: String,
    },
    /// The board keeps modules that this kernel has neither as files nor built in.
    #[error(
        "kernel {release} has nothing at `{prefix}`, neither as a file nor built in: take it out of the board's modules"
    )]
    NothingToKeep {
        /// The kernel.
        release: String,
        /// What the board says.
        prefix: String,
    },
    /// Modules that depend on each other in a circle.
    #[error("the kernel module `{name}` depends on itself")]
    ModuleCycle {
        /// One of them.
        name: String,
    },
    /// No or more than one kernel among the packages.
    #[error(
        "one package has to ship a kernel, as /boot/vmlinuz-* or /usr/lib/modules/*/vmlinuz; found {found}"
    )]
    Kernel {
        /// How many were there.
        found: usize,
    },
    /// root.toml takes a file from a payload package that is not there.
    #[error(
        "root.toml takes {path} from package {package}, which is not among the payload or has no such file"
    )]
    Payload {
        /// Which package.
        package: String,
        /// Which file.
        path: String,
    },
    /// The overlay replaces a package's file, and root.toml does not say why.
    #[error(
        "the overlay replaces {path} of package {package}: add it with a reason to [[replaced]] in root.toml, \
         or use a drop-in"
    )]
    Replaces {
        /// Which file.
        path: TreePath,
        /// Whose.
        package: String,
    },
    /// Something is already where a file has to go.
    #[error("{path} comes from {what}, and something else already stands there")]
    Occupied {
        /// Where.
        path: TreePath,
        /// Who wanted to put a file there.
        what: String,
    },
    /// The overlay's folder cannot be read.
    #[error("cannot read {path} of the overlay")]
    Overlay {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The overlay holds something that is neither file, folder nor symbolic link.
    #[error("{path} of the overlay is neither a file, a folder nor a symbolic link")]
    OverlayKind {
        /// Which.
        path: PathBuf,
    },
    /// The initrd cannot be compressed.
    #[error("cannot compress the initrd")]
    Compress(#[source] std::io::Error),
}
