//! What making our image is measured against: the same packages through `mmdebstrap`, `mksquashfs` and `mkfs`, put
//! together with `dd`. It gets its packages from our cache, so that only indexes are fetched, and has neither our
//! services nor the boot ROM's files to make. A developer's tool: nothing else here needs it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use pilotlight_card::{Toolset, Workshop};

use super::peer::{self, Architecture};
use crate::ui;

const SCRIPT: &str = include_str!("usual.sh");
/// The sets whose packages it has.
const SETS: &[&str] = &["root", "payload"];
const ARCHIVE: &str = "debian";

/// What is not on this machine of what the usual way needs; none when all is there.
pub(crate) fn lacks(architecture: Architecture) -> Option<String> {
    ["mmdebstrap", architecture.emulation().0].iter().find_map(|program| {
        peer::on_path(program)
            .is_err()
            .then(|| format!("{program} is not on this machine: apt install mmdebstrap qemu-user-static"))
    })
}

/// Makes the image once in `scratch`, and says how long it took.
///
/// # Errors
/// A step does not succeed; its log is kept in the folder of targets.
pub(crate) fn make(
    workshop: &Workshop,
    architecture: Architecture,
    scratch: &Path,
) -> anyhow::Result<Duration> {
    let debs = scratch.join("debs");
    fs::create_dir_all(&debs).with_context(|| format!("cannot make {}", debs.display()))?;
    workshop.fetch(SETS)?;
    let cache = workshop.archives().cache();
    let (mut names, mut kernel) = (Vec::new(), None);
    for set in SETS {
        for package in workshop.archives().locked(workshop.lock(), set)? {
            let object = cache.object(&package.sha256);
            if let Some(rest) = package.name.strip_prefix("linux-image-") {
                // One without a version only names the newest.
                if rest.starts_with(|c: char| c.is_ascii_digit()) {
                    kernel = Some((object, &package.origin.suite));
                }
                continue;
            }
            let file = Path::new(&package.path).file_name().context("a package without a file name")?;
            fs::copy(&object, debs.join(file))
                .with_context(|| format!("cannot copy {}", object.display()))?;
            names.push(package.name.clone());
        }
    }
    let (kernel, suite) = kernel.context("the lock has no kernel")?;
    let (emulator, magic, mask) = architecture.emulation();
    let mirror = workshop.mirrors().get(ARCHIVE).and_then(|mirrors| mirrors.first());
    let tools = workshop.toolbox(Toolset::Checkers)?;
    let log = workshop.target().join("usual.log");
    let output = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new("unshare");
    command.args(["--user", "--mount", "sh", "-c", SCRIPT]);
    for (variable, program) in [
        ("MKSQUASHFS", "mksquashfs"),
        ("MKFS_FAT", "mkfs.fat"),
        ("MCOPY", "mcopy"),
        ("MKE2FS", "mke2fs"),
        ("SFDISK", "sfdisk"),
    ] {
        command.env(variable, tools.program(program)?);
    }
    command
        .env("FOLDER", scratch)
        .env("ARCHITECTURE", architecture.name())
        .env("EMULATOR", peer::on_path(emulator)?)
        .env("MAGIC", magic)
        .env("MASK", mask)
        .env("MIRROR", mirror.context("no mirror is known")?)
        .env("SUITE", suite)
        .env("KEYS", ui::workspace()?.join("bases/debian/keys"))
        .env("PACKAGES", names.join(","))
        .env("KERNEL", kernel)
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(output);
    let start = Instant::now();
    peer::in_own_namespace(&mut command).with_context(|| {
        format!(
            "the usual way made no image; {} says why (if the mirror's armhf index is not the one that was signed: \
             --peer-architecture arm64)",
            log.display()
        )
    })?;
    Ok(start.elapsed())
}
