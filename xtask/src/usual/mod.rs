//! A root made the usual way: `mmdebstrap` with the very packages that the card's root is made of, out of our cache. A
//! developer's tool: nothing else needs it, and a build never does.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context as _;
use pilotlight_card::{RootPackage, Workshop};

use crate::foreign::{Architecture, in_own_namespace, on_path};

/// What comes before every script: it makes ready what they need.
pub(crate) const PRELUDE: &str = include_str!("prelude.sh");
/// That of the card's user land. The kernel's programs are none that maintainer scripts run.
const ARCHITECTURE: Architecture = Architecture::Armhf;

/// What is not on this machine of what the usual way needs; none when all is there.
pub(crate) fn lacks() -> Option<String> {
    ["mmdebstrap", ARCHITECTURE.emulation().0].iter().find_map(|program| {
        on_path(program)
            .is_err()
            .then(|| format!("{program} is not on this machine: apt install mmdebstrap qemu-user-static"))
    })
}

/// A command for [`run`]: `script`, behind the prelude, in `folder`, which gets a repository of the packages of the card
/// for `board`.
///
/// # Errors
/// A package that no mirror gives; a program that is not on this machine; a folder that cannot be written to.
pub(crate) fn command(
    workshop: &Workshop,
    board: &str,
    folder: &Path,
    script: &str,
) -> anyhow::Result<Command> {
    let (emulator, magic, mask) = ARCHITECTURE.emulation();
    let emulator = on_path(emulator)?;
    on_path("mmdebstrap")?;
    // Another user reads in it: the root of the namespace.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot open {} to others", folder.display()))?;
    let packages = workshop.root_packages(board)?;
    repository(&packages, &folder.join("repository"))?;
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut architectures = vec![ARCHITECTURE.name()];
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
        .env("MAGIC", magic)
        .env("MASK", mask)
        .env("PACKAGES", names.join(","))
        .env("PROVIDED", workshop.root_provided(board)?.join(", "));
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
fn repository(packages: &[RootPackage], folder: &Path) -> anyhow::Result<()> {
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
