//! A root made the usual way: `mmdebstrap` with the very packages that the lock names, out of our cache. A developer's
//! tool: nothing else needs it, and a build never does.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context as _;
use pilotlight_card::{Installable, Selection};
use sha2::{Digest as _, Sha256};

use crate::foreign::{ARCHITECTURE, EMULATOR, MAGIC, MASK, in_own_namespace, on_path};

/// What comes before every script: it makes ready what they need.
const PRELUDE: &str = include_str!("prelude.sh");

/// What is not on this machine of what the usual way needs; none when all is there.
pub(crate) fn lacks() -> Option<String> {
    ["mmdebstrap", EMULATOR].iter().find_map(|program| {
        on_path(program)
            .is_err()
            .then(|| format!("{program} is not on this machine: apt install mmdebstrap qemu-user-static"))
    })
}

/// A short name for what is made of a selection by a script and whatever else decides what comes out.
pub(crate) fn key(selection: &Selection, parts: &[&str]) -> String {
    let provided = selection.provided.join(", ");
    let digests = selection.packages.iter().map(|package| package.sha256.as_str());
    let mut hash = Sha256::new();
    for part in digests.chain([PRELUDE, &provided]).chain(parts.iter().copied()) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()[..8].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A command for [`run`]: `script`, behind the prelude, in `folder`, which gets a repository of the packages selected.
///
/// # Errors
/// A program that is not on this machine; a folder that cannot be written to.
pub(crate) fn command(selection: &Selection, folder: &Path, script: &str) -> anyhow::Result<Command> {
    let emulator = on_path(EMULATOR)?;
    on_path("mmdebstrap")?;
    // Another user reads in it: the root of the namespace.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot open {} to others", folder.display()))?;
    let Selection { packages, provided } = selection;
    repository(packages, &folder.join("repository"))?;
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut architectures = vec![ARCHITECTURE];
    for package in packages.iter().filter(|package| package.architecture != "all") {
        if !architectures.contains(&package.architecture.as_str()) {
            architectures.push(&package.architecture);
        }
    }
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--mount", "--net", "--pid", "--fork", "--kill-child"])
        .args(["sh", "-c", &format!("{PRELUDE}{script}")])
        .env("FOLDER", folder)
        .env("ARCHITECTURES", architectures.join(","))
        .env("EMULATOR", emulator)
        .env("MAGIC", MAGIC)
        .env("MASK", MASK)
        .env("PACKAGES", names.join(","))
        .env("PROVIDED", provided.join(", "));
    Ok(command)
}

/// Runs a command of [`command`] to its end. What it says goes to the file `log`.
///
/// # Errors
/// It does not succeed.
pub(crate) fn run(mut command: Command, log: &Path) -> anyhow::Result<()> {
    let output = fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
    in_own_namespace(&mut command)
        .with_context(|| format!("the usual way led nowhere; {} says why", log.display()))
}

/// A folder of packages with an index, as apt reads it.
fn repository(packages: &[Installable], folder: &Path) -> anyhow::Result<()> {
    fs::create_dir(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut index = String::new();
    for package in packages {
        let name = format!("{}.deb", package.sha256);
        fs::copy(&package.path, folder.join(&name))
            .with_context(|| format!("cannot copy {} to {}", package.path.display(), folder.display()))?;
        let (control, size, sha256) = (package.control.trim_end(), package.size, &package.sha256);
        _ = writeln!(index, "{control}\nFilename: ./{name}\nSize: {size}\nSHA256: {sha256}\n");
    }
    let path = folder.join("Packages");
    fs::write(&path, index).with_context(|| format!("cannot write {}", path.display()))
}
