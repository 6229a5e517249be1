//! What our boot is measured against: a stock Debian root with dnsmasq and nginx, made by `mmdebstrap` and booted
//! once, so that its first-boot work is done. A developer's tool: nothing else here needs it.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use pilotlight_card::{Toolset, Workshop};
use pilotlight_emulator::{Qemu, Serial, asker, console::NotHeard, counted::Counted, hub::Hub, pi::MAC};

use crate::{
    BOARD,
    foreign::{Architecture, in_own_namespace, on_path},
};

const SCRIPT: &str = include_str!("peer.sh");
/// The set whose packages the peer has, besides dnsmasq and nginx.
const SET: &str = "root";
const ARCHIVE: &str = "debian";

/// A peer, ready to be measured.
#[derive(Debug)]
pub(crate) struct Peer {
    folder: PathBuf,
}

/// What its kernel is told.
pub(crate) const COMMAND_LINE: &str = "root=/dev/vda rw console=ttyAMA0 net.ifnames=0 quiet";

impl Peer {
    pub(crate) fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    pub(crate) fn initrd(&self) -> PathBuf {
        self.folder.join("initrd.img")
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// The peer as it was made before, or a new one.
    ///
    /// # Errors
    /// `mmdebstrap` or what it needs is not on this machine, or does not succeed.
    pub(crate) fn ready(
        workshop: &Workshop,
        qemu: &Qemu,
        architecture: Architecture,
    ) -> anyhow::Result<Self> {
        let lock = workshop.lock();
        let locked = lock.sets.get(SET).with_context(|| format!("the lock has no set {SET}"))?;
        let (board, _) = workshop.board(BOARD)?;
        let kernels = lock.sets.get(&board.kernel.set).context("the lock has no kernels")?;
        let kernel = kernels.packages.iter().find(|package| package.name.starts_with("linux-image-6"));
        let kernel = kernel.context("the lock has no kernel")?;
        let name = format!("{}-{}-{}", architecture.name(), locked.spec, &kernel.sha256.to_string()[..16]);
        let folder = workshop.target().join("peer").join(name);
        let peer = Self { folder };
        if peer.disk().is_file() {
            return Ok(peer);
        }
        let suite = &kernel.origin.suite;
        let (emulator, magic, mask) = architecture.emulation();
        let emulator = on_path(emulator)?;
        on_path("mmdebstrap")?;
        // The same packages by name, in the versions that the mirror has now; the kernel itself is ours.
        let packages: Vec<&str> = locked.packages.iter().map(|package| package.name.as_str()).collect();
        workshop.fetch(&[SET, &board.kernel.set])?;
        let object = workshop.archives().cache().object(&kernel.sha256);
        let scratch = peer.folder.with_extension("new");
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
        let mirror = workshop.mirrors().get(ARCHIVE).and_then(|mirrors| mirrors.first());
        let tools = workshop.toolbox(Toolset::Checkers)?;
        eprintln!("{:>12} the peer with mmdebstrap, which takes minutes", "Making");
        let log = scratch.join("make.log");
        let output = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--mount", "sh", "-c", SCRIPT])
            .env("FOLDER", &scratch)
            .env("ARCHITECTURE", architecture.name())
            .env("EMULATOR", emulator)
            .env("MAGIC", magic)
            .env("MASK", mask)
            .env("MIRROR", mirror.context("no mirror is known")?)
            .env("SUITE", suite)
            .env("KEYS", crate::ui::workspace()?.join("bases/debian/keys"))
            .env("PACKAGES", packages.join(","))
            .env("KERNEL", &object)
            .env("MKE2FS", tools.program("mke2fs")?)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output);
        in_own_namespace(&mut command)
            .with_context(|| {
            let log = log.display();
            format!(
                "mmdebstrap made no peer; {log} says why (if the mirror's armhf index is not the one that was signed: \
                 --peer-architecture arm64)"
            )
        })?;
        first_boot(&Self { folder: scratch.clone() }, qemu)?;
        fs::rename(&scratch, &peer.folder).with_context(|| format!("cannot rename {}", scratch.display()))?;
        Ok(peer)
    }
}

/// Boots it once to the end and switches it off in good order.
fn first_boot(peer: &Peer, qemu: &Qemu) -> anyhow::Result<()> {
    /// For a desk with other things to do; an idle one takes two minutes.
    const PATIENCE: Duration = Duration::from_secs(1200);
    let sockets = tempfile::tempdir().context("cannot make a folder for the wire's socket")?;
    let hub = Hub::start(&sockets.path().join("hub"), None).context("cannot start the wire")?;
    let shell = "systemd.mask=serial-getty@ttyAMA0.service systemd.debug_shell=ttyAMA0";
    let guest = Counted {
        name: "first-boot",
        kernel: &peer.kernel(),
        initrd: &peer.initrd(),
        command_line: &format!("{COMMAND_LINE} {shell}"),
        disk: &peer.disk(),
        wire: (hub.path(), MAC),
        counter: None,
    };
    eprintln!("{:>12} the peer for the first time", "Booting");
    let mut machine = guest.start(qemu, &Serial::Captured(peer.folder.clone()))?;
    asker::first_offer(hub.path(), PATIENCE).context("the peer's first boot")?;
    machine.type_text("\nsystemctl is-system-running --wait; systemctl poweroff\n")?;
    let console = machine.console().context("the peer has no console")?;
    match console.wait(PATIENCE, |_| None::<()>) {
        Err(NotHeard::Ended) => Ok(()),
        _ => bail!("the peer was not switched off within {} s", PATIENCE.as_secs()),
    }
}
