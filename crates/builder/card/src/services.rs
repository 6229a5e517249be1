//! The Pi's own programs: built with the locked toolchain, and built again only when their sources changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use pilotlight_archive::{Keep, LockedPackage};
use pilotlight_lab::Architecture;
use pilotlight_tools::{Cross, CrossRequest, Machine, Toolbox};
use pilotlight_tree::{Kind, Meta, Node, Package, TreePath};
use sha2::{Digest as _, Sha256};

use crate::{Toolset, Workshop, files};

/// A program of ours.
struct Program {
    /// Its package in the workspace.
    package: &'static str,
    /// Its name.
    name: &'static str,
    /// The folder that it lies in; none is for the initrd.
    folder: Option<&'static str>,
}

const PROGRAMS: &[Program] = &[
    Program { package: "pilotlight-dhcp", name: "pilotlight-dhcpd", folder: Some("usr/lib/pilotlight") },
    Program { package: "pilotlight-dns", name: "pilotlight-dnsd", folder: Some("usr/lib/pilotlight") },
    Program { package: "pilotlight-ntp", name: "pilotlight-ntpd", folder: Some("usr/lib/pilotlight") },
    Program { package: "pilotlight-tftp", name: "pilotlight-tftpd", folder: Some("usr/lib/pilotlight") },
    Program { package: "pilotlight-http", name: "pilotlight-httpd", folder: Some("usr/lib/pilotlight") },
    Program {
        package: "pilotlight-lab-state",
        name: "pilotlight-lab-stated",
        folder: Some("usr/lib/pilotlight"),
    },
    Program { package: "pilotlight-pki", name: "pilotlight-pkid", folder: Some("usr/lib/pilotlight") },
    Program { package: "pilotlight-power", name: "pilotlight-powerd", folder: Some("usr/lib/pilotlight") },
    Program { package: "pilotlight-refresh", name: "pilotlight-refresh", folder: Some("usr/lib/pilotlight") },
    Program { package: "pilotlight-update", name: "pilotlight-updated", folder: Some("usr/lib/pilotlight") },
    Program { package: "pilotlight-ctl", name: "pilotctl", folder: Some("usr/bin") },
    Program { package: "pilotlight-init", name: "pilotlight-init", folder: None },
];

/// What a program is made of, relative to the workspace.
const SOURCES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "crates/lab",
    "crates/disk",
    "crates/fetch",
    "crates/mirror",
    "crates/services",
];

/// Changes when what is kept of the programs does.
const LAYOUT: &str = "services 3";
/// The list of linked crates beside the programs: a line each, name and version.
const CRATES: &str = "crates";
/// The Pi's user land, as Debian names it.
pub(crate) const ARCHITECTURE: &str = "armhf";
/// The packages of the toolchain that are linked into the programs: Rust's standard library.
const LIBRARIES: &[(&str, &str)] = &[("libstd-rust-web-dev", ARCHITECTURE)];

/// The finished programs.
pub(crate) struct Services {
    /// Path in the root and content.
    pub(crate) programs: Vec<(String, Bytes)>,
    /// The initrd's `/init`.
    pub(crate) init: Bytes,
    /// Name and version of every crate that is linked into them, sorted.
    pub(crate) crates: Vec<(String, String)>,
    /// The toolchain's packages that are linked into them, without their content but for the copyright.
    pub(crate) libraries: Vec<Package>,
}

/// Builds what is not built yet, and gives it.
pub(crate) fn build(workshop: &Workshop) -> anyhow::Result<Services> {
    let folder = built(workshop, Said::All)?;
    let mut files: BTreeMap<&str, Bytes> = BTreeMap::new();
    for program in PROGRAMS {
        let path = folder.join(program.name);
        let content =
            fs::read(&path).with_context(|| format!("cannot read the program {}", path.display()))?;
        files.insert(program.name, content.into());
    }
    let init = files.get("pilotlight-init").cloned().unwrap_or_default();
    let installed = PROGRAMS.iter().filter_map(|program| {
        Some((format!("{}/{}", program.folder?, program.name), files.get(program.name)?.clone()))
    });
    let path = folder.join(CRATES);
    let crates = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let crates = crates.lines().filter_map(|line| line.split_once(' '));
    let crates = crates.map(|(name, version)| (name.to_owned(), version.to_owned())).collect();
    let libraries = libraries(workshop)?;
    let libraries =
        libraries.iter().map(|library| read_library(&folder, library)).collect::<Result<_, _>>()?;
    Ok(Services { programs: installed.collect(), init, crates, libraries })
}

/// What is told of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// What cargo tells.
    All,
    /// Nothing but what went wrong.
    Faults,
}

/// Builds what is not built yet, and gives the folder of it.
pub(crate) fn built(workshop: &Workshop, said: Said) -> anyhow::Result<PathBuf> {
    let toolbox = workshop.toolbox(Toolset::Toolchain)?;
    let key = key(workshop, &toolbox)?;
    let folder = workshop.target().join("services").join("done").join(&key);
    if !folder.is_dir() {
        // Another builder may be at it, and each removes what is older than its own.
        let _alone = alone(&workshop.target().join("services"))?;
        if !folder.is_dir() {
            compile(workshop, &toolbox, &folder, said)?;
        }
    }
    Ok(folder)
}

/// The `/init` of the initrd that other machines fetch: the same program, for them.
pub(crate) fn init_for(workshop: &Workshop, architecture: Architecture) -> anyhow::Result<Bytes> {
    const PROGRAM: &str = "pilotlight-init";
    let (tools, machine) = match architecture {
        Architecture::Amd64 => (Toolset::Toolchain, Machine::Amd64),
        Architecture::Arm64 => (Toolset::ToolchainArm64, Machine::Arm64),
    };
    let toolbox = workshop.toolbox(tools)?;
    let target = workshop.target().join("services");
    let path = target.join(format!("done-{architecture}")).join(key(workshop, &toolbox)?);
    if !path.is_file() {
        let _alone = alone(&target)?;
        let request = CrossRequest {
            workspace: &workshop.workspace,
            target: &target,
            cargo_home: &workshop.archives.cache().root().join("cargo"),
            packages: &[PROGRAM],
            machine,
            static_libc: true,
        };
        let cross = Cross::prepare(&toolbox, request)?;
        run(cross.command(), Said::All)?;
        let parent = path.parent().unwrap_or(&target);
        let _ = fs::remove_dir_all(parent);
        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        let half = path.with_extension("new");
        fs::copy(cross.programs().join(PROGRAM), &half)
            .and_then(|_| fs::rename(&half, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?.into())
}

/// Compiles.
fn run(mut command: Command, said: Said) -> anyhow::Result<()> {
    if said == Said::Faults {
        command.arg("--quiet");
    }
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("the services do not compile: {status}\nthe command was {command:?}");
    }
    Ok(())
}

/// What the lock says of the packages in [`LIBRARIES`].
fn libraries(workshop: &Workshop) -> anyhow::Result<Vec<LockedPackage>> {
    let locked = workshop.archives.locked(&workshop.lock, Toolset::Toolchain.set())?;
    let is_one = |one: &&LockedPackage| LIBRARIES.contains(&(one.name.as_str(), one.architecture.as_str()));
    Ok(locked.iter().filter(is_one).cloned().collect())
}

/// Keeps of the linked packages what [`read_library`] reads, so that nobody has to fetch them for it.
fn keep_libraries(workshop: &Workshop, folder: &Path) -> anyhow::Result<()> {
    let locked = libraries(workshop)?;
    workshop.archives.fetch_packages(&locked)?;
    for package in workshop.archives.unpack(&locked, Keep::No)? {
        let control = package.control.get("control").cloned().unwrap_or_default();
        let path = copyright(&package.name)?;
        let copyright = package.data.iter().find_map(|(other, node)| match &node.kind {
            Kind::File(content) if *other == path => Some(content.clone()),
            _ => None,
        });
        for (ending, content) in [("control", control), ("copyright", copyright.unwrap_or_default())] {
            let path = folder.join(format!("{}.{ending}", package.name));
            files::write(&path, content)?;
        }
    }
    Ok(())
}

fn read_library(folder: &Path, locked: &LockedPackage) -> anyhow::Result<Package> {
    let read = |ending: &str| {
        let path = folder.join(format!("{}.{ending}", locked.name));
        fs::read(&path).map(Bytes::from).with_context(|| format!("cannot read {}", path.display()))
    };
    let node = Node { meta: Meta::root(0o644, 0), kind: Kind::File(read("copyright")?) };
    Ok(Package {
        name: locked.name.clone(),
        version: locked.version.clone(),
        architecture: locked.architecture.clone(),
        control: BTreeMap::from([("control".to_owned(), read("control")?)]),
        data: vec![(copyright(&locked.name)?, node)],
    })
}

fn copyright(package: &str) -> anyhow::Result<TreePath> {
    Ok(TreePath::parse(format!("usr/share/doc/{package}/copyright"))?)
}

/// Waits until no other builder compiles in `folder`; none begins before the result is dropped.
fn alone(folder: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Compiles all programs and puts them into `folder`, which appears only when it is whole.
fn compile(workshop: &Workshop, toolbox: &Toolbox, folder: &Path, said: Said) -> anyhow::Result<()> {
    let target = workshop.target().join("services");
    let cargo_home = workshop.archives.cache().root().join("cargo");
    let parent = folder.parent().unwrap_or(&target);
    fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
    // Only the newest is kept: an older one is built again in seconds.
    let work =
        tempfile::tempdir_in(parent).with_context(|| format!("cannot write in {}", parent.display()))?;
    let mut crates = BTreeSet::new();
    for in_initrd in [false, true] {
        let programs: Vec<&Program> =
            PROGRAMS.iter().filter(|program| program.folder.is_none() == in_initrd).collect();
        let packages: Vec<&str> = programs.iter().map(|program| program.package).collect();
        let request = CrossRequest {
            workspace: &workshop.workspace,
            target: &target,
            cargo_home: &cargo_home,
            packages: &packages,
            machine: Machine::Pi,
            static_libc: in_initrd,
        };
        let cross = Cross::prepare(toolbox, request)?;
        run(cross.command(), said)?;
        crates.extend(linked(&cross)?);
        for program in programs {
            let from = cross.programs().join(program.name);
            fs::copy(&from, work.path().join(program.name))
                .with_context(|| format!("cargo made no {}", from.display()))?;
        }
    }
    let crates: Vec<String> = crates.into_iter().collect();
    files::write(&work.path().join(CRATES), crates.join("\n"))?;
    keep_libraries(workshop, work.path())?;
    for old in fs::read_dir(parent).into_iter().flatten().flatten() {
        if old.path() != work.path() {
            let _ = fs::remove_dir_all(old.path());
        }
    }
    fs::rename(work.path(), folder).with_context(|| format!("cannot name {}", folder.display()))
}

/// The crates that are linked into the programs, as `name version`.
fn linked(cross: &Cross<'_>) -> anyhow::Result<BTreeSet<String>> {
    let mut command = cross.linked();
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "the crates of the services cannot be listed: {}\nthe command was {command:?}\n{said}",
            output.status
        );
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?.strip_prefix('v')?))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// What the programs depend on, as one digest: every source file's path and content, and the toolchain.
fn key(workshop: &Workshop, toolbox: &Toolbox) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        list(&workshop.workspace.join(source), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    hash.update(LAYOUT);
    hash.update(toolbox.folder().file_name().unwrap_or_default().as_encoded_bytes());
    for path in files {
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(&workshop.workspace).unwrap_or(&path);
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    Ok(crate::hex(&hash.finalize()[..8]))
}

/// Adds `path`, or every file beneath it, to `files`.
pub(crate) fn list(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        list(&entry.with_context(|| format!("cannot list {}", path.display()))?.path(), files)?;
    }
    Ok(())
}
