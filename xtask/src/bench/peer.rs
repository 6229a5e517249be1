//! What our boot is measured against: a stock Debian root with dnsmasq and nginx, made the usual way of the same packages
//! as the card and booted once, so that its first-boot work is done. A developer's tool: nothing else here needs it.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use pilotlight_card::{Toolset, Workshop};
use pilotlight_emulator::{Qemu, Serial, asker, console::NotHeard, counted::Counted, hub::Hub, pi::MAC};

use crate::{BOARD, usual};

const SCRIPT: &str = include_str!("peer.sh");
/// The set of what the peer has besides the card's root and kernel.
const SET: &str = "boot-peer";

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
    pub(crate) fn ready(workshop: &Workshop, qemu: &Qemu) -> anyhow::Result<Self> {
        let (board, _) = workshop.board(BOARD)?;
        let selection = workshop.selection(&["root".to_owned(), SET.to_owned(), board.kernel.set])?;
        let parent = workshop.target().join("peer");
        let peer = Self { folder: parent.join(usual::key(&selection, &[SCRIPT])) };
        if peer.disk().is_file() {
            return Ok(peer);
        }
        fs::create_dir_all(&parent)
            .with_context(|| format!("cannot make the folder {}", parent.display()))?;
        let scratch =
            tempfile::tempdir_in(&parent).with_context(|| format!("cannot write in {}", parent.display()))?;
        let mut command = usual::command(&selection, scratch.path(), SCRIPT)?;
        command.env("MKE2FS", workshop.toolbox(Toolset::Checkers)?.program("mke2fs")?);
        eprintln!("{:>12} the peer with mmdebstrap, which takes minutes", "Making");
        usual::run(command, &parent.join("make.log"))?;
        let made = Self { folder: scratch.path().to_owned() };
        first_boot(&made, qemu)?;
        fs::create_dir_all(&peer.folder)
            .with_context(|| format!("cannot make the folder {}", peer.folder.display()))?;
        // The disk last: by it a whole peer is known.
        for (from, to) in
            [(made.kernel(), peer.kernel()), (made.initrd(), peer.initrd()), (made.disk(), peer.disk())]
        {
            fs::rename(&from, &to).with_context(|| format!("cannot name {}", to.display()))?;
        }
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
