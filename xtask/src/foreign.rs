//! Running programs of the Pi's architecture on this machine, for roots that are made with maintainer scripts: in a
//! user namespace of their own, where `binfmt_misc` can be mounted without touching the machine's.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

/// The architecture of the card's user land. The kernel's programs are none that maintainer scripts run.
pub(crate) const ARCHITECTURE: &str = "armhf";
/// QEMU's program for it.
pub(crate) const EMULATOR: &str = "qemu-arm-static";
/// The first bytes of an ELF file by which the kernel knows to use it, and which of their bits count.
pub(crate) const MAGIC: &str = r"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00";
pub(crate) const MASK: &str =
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";

/// Where a program is that has to be installed.
pub(crate) fn on_path(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.with_context(|| {
        format!("the usual root is made with {program}, which is not on this machine; apt install mmdebstrap qemu-user-static")
    })
}

/// Runs a command that waits for a line of input as root of the user namespace it is in, with 65,536 users.
pub(crate) fn in_own_namespace(command: &mut Command) -> anyhow::Result<()> {
    let mut child = command.spawn().context("cannot start unshare")?;
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let own = fs::read_link("/proc/self/ns/user")?;
    // `unshare` becomes the shell once it is in its namespace.
    while fs::read_link(process.join("ns/user")).is_ok_and(|namespace| namespace == own) {
        std::thread::sleep(Duration::from_millis(10));
    }
    map(&process, "uid", rustix::process::getuid().as_raw(), child.id())?;
    map(&process, "gid", rustix::process::getgid().as_raw(), child.id())?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(b"go\n").context("cannot tell the script to go on")?;
    }
    let status = child.wait().context("cannot wait for the script")?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

/// Root may write the map itself; others ask `newuidmap` for the range that /etc/subuid gives them.
fn map(process: &Path, kind: &str, own: u32, child: u32) -> anyhow::Result<()> {
    if own == 0 {
        return fs::write(process.join(format!("{kind}_map")), "0 0 65536")
            .with_context(|| format!("cannot map {kind}s"));
    }
    let file = format!("/etc/sub{kind}");
    let user = std::env::var("USER").unwrap_or_default();
    let text = fs::read_to_string(&file).unwrap_or_default();
    let range = text.lines().find_map(|line| line.strip_prefix(&format!("{user}:"))?.split_once(':'));
    let Some((start, count)) = range else { bail!("{file} gives {user} no ids; see newuidmap(1)") };
    let status = Command::new(format!("new{kind}map"))
        .args([&child.to_string(), "0", &own.to_string(), "1", "1", start, count])
        .status()
        .with_context(|| format!("cannot run new{kind}map"))?;
    ensure!(status.success(), "new{kind}map ended with {status}");
    Ok(())
}
