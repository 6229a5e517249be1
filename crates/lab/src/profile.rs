//! What a machine can be asked to boot, and which channel of it.

use std::collections::BTreeMap;

use crate::{ConfigKind, check, section::Refused, words::words};

/// The name of the profile that every lab has: the machine's own disk.
pub const LOCAL_DISK: &str = "local-disk";

/// What a machine can be asked to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// One line for the menus.
    pub title: String,
    /// What kind of system it is.
    pub kind: ProfileKind,
    /// More arguments for its kernel.
    pub arguments: Vec<String>,
    /// How a node that boots it is armed: made ready to be given what it must keep secret.
    pub arming: Arming,
}

/// The kinds of system that can be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileKind {
    /// The Debian installer from the network.
    DebianInstaller {
        /// The Debian release's number, such as `13`.
        release: u32,
        /// The processor that the installer is for.
        architecture: Architecture,
        /// The Debian mirror that the installer is told to use; none lets it ask.
        mirror: Option<Mirror>,
        /// The SSH keys that open the account on what it installs, as lines of `authorized_keys`; with none,
        /// the installer asks for a password at the machine.
        authorized_keys: Vec<String>,
    },
    /// A system whose releases come in channels.
    Release(Release),
    /// A kernel and what it starts, by paths beneath `/assets/`.
    Custom {
        /// The kernel.
        linux: String,
        /// The initrds, in the order in which the kernel unpacks them.
        initrd: Vec<String>,
        /// The root of a Debian live system: a squashfs that its initrd fetches.
        live: Option<String>,
    },
    /// The machine's own disk.
    LocalDisk,
}

/// A system whose releases come in channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Which one.
    pub system: System,
    /// The processor that it is for.
    pub architecture: Architecture,
    /// The channel that nodes follow which name none.
    pub channel: String,
    /// The channels that are held at one version.
    pub versions: BTreeMap<String, String>,
}

/// The systems whose releases come in channels. Their names are the first part of their paths beneath `/assets/`, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// Flatcar Container Linux, which goes on where CoreOS Container Linux ended.
    Flatcar,
    /// Fedora CoreOS.
    FedoraCoreos,
    /// Talos Linux.
    Talos,
    /// Our own Debian that runs from memory: `cargo xtask node-image`.
    DebianRam,
}

words!(System { Flatcar = "flatcar", FedoraCoreos = "fedora-coreos", Talos = "talos", DebianRam = "debian-ram" });

impl System {
    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Flatcar => "Flatcar",
            Self::FedoraCoreos => "Fedora CoreOS",
            Self::Talos => "Talos",
            Self::DebianRam => "Debian in memory",
        }
    }

    /// Its channels, the usual one first. Talos has none of these names: there a channel is a minor version,
    /// such as `v1.11`.
    pub fn channels(self) -> &'static [&'static str] {
        match self {
            Self::Flatcar => &["stable", "beta", "alpha", "lts"],
            Self::FedoraCoreos => &["stable", "testing", "next"],
            Self::Talos => &[],
            Self::DebianRam => &["stable", "oldstable", "testing", "sid"],
        }
    }

    /// The files of a release that a machine is started with.
    pub fn files(self) -> Files {
        match self {
            Self::Flatcar => Files {
                linux: "flatcar_production_pxe.vmlinuz",
                initrd: "flatcar_production_pxe_image.cpio.gz",
                root: None,
            },
            Self::FedoraCoreos => {
                Files { linux: "kernel", initrd: "initramfs.img", root: Some("rootfs.img") }
            }
            Self::Talos => Files { linux: "vmlinuz", initrd: "initramfs.xz", root: None },
            Self::DebianRam => Files { linux: "linux", initrd: "initrd.img", root: Some("root.squashfs") },
        }
    }

    /// How its nodes can be configured, the usual way first. Flatcar's cloud-config is coreos-cloudinit's, an own
    /// dialect, so it is not in the list: Ignition does all that it did.
    pub fn provisioners(self) -> &'static [ConfigKind] {
        match self {
            Self::Flatcar | Self::FedoraCoreos => &[ConfigKind::Ignition, ConfigKind::Butane],
            Self::Talos => &[ConfigKind::Talos],
            Self::DebianRam => &[ConfigKind::CloudConfig, ConfigKind::Ignition, ConfigKind::Butane],
        }
    }

    /// Whether it mounts the disks that the lab names for a node.
    pub fn mounts_disks(self) -> bool {
        match self {
            Self::Flatcar | Self::FedoraCoreos | Self::DebianRam => true,
            // Its machine configuration says what it does with disks.
            Self::Talos => false,
        }
    }

    /// The highest version of Ignition's specification that every release of it takes which is still kept up, as
    /// `(major, minor)`. Debian's Ignition 2.14 takes 3.3; Flatcar has had 3.3 since 3227, and Fedora CoreOS 3.4
    /// since 38.
    pub fn ignition(self) -> Option<(u32, u32)> {
        match self {
            Self::Flatcar | Self::DebianRam => Some((3, 3)),
            Self::FedoraCoreos => Some((3, 4)),
            Self::Talos => None,
        }
    }
}

/// What of a system's release a machine is started with, by the names that the files have in the release's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    /// The kernel.
    pub linux: &'static str,
    /// The initrd.
    pub initrd: &'static str,
    /// The root, where it is a file of its own.
    pub root: Option<&'static str>,
}

/// The processors that a PC or server may have, as Debian calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Architecture {
    /// 64-bit x86.
    #[default]
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

words!(Architecture { Amd64 = "amd64", Arm64 = "arm64" });

impl std::fmt::Display for Architecture {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

/// When a node is made ready to be given what it must keep secret: its certificates' token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arming {
    /// When an operator says so, for one boot.
    #[default]
    Operator,
    /// When the Pi has switched it off and on by itself.
    PowerCycle,
    /// At every boot: for nodes in memory, which need it when nobody is there.
    Itself,
}

words!(Arming { Operator = "operator", PowerCycle = "power-cycle", Itself = "itself" });

/// A Debian mirror, reached by plain HTTP: the installer checks its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Its host, with `:port` where that is not 80.
    pub host: String,
    /// The archive's directory, with a leading and without a trailing slash, as in `/debian`.
    pub directory: String,
}

impl Profile {
    /// The processor that it is for; none where the lab alone knows, or any will do.
    pub fn architecture(&self) -> Option<Architecture> {
        match &self.kind {
            ProfileKind::DebianInstaller { architecture, .. } => Some(*architecture),
            ProfileKind::Release(release) => Some(release.architecture),
            ProfileKind::Custom { .. } | ProfileKind::LocalDisk => None,
        }
    }

    /// The most kernel arguments of its own: Linux stops at more than 32 that it does not know itself, and what the boot scripts
    /// add needs some of them.
    pub const MAX_ARGUMENTS: usize = 16;

    /// Whether a text can be one of them.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn argument(text: &str) -> Result<(), String> {
        check::argument(text).map(drop).map_err(Refused::into_message)
    }

    /// Whether what it starts mounts the disks that the lab names for a node.
    pub fn mounts_disks(&self) -> bool {
        matches!(&self.kind, ProfileKind::Release(release) if release.system.mounts_disks())
    }

    /// How its nodes can be configured, the usual way first; any way where the lab alone knows what it starts.
    pub fn provisioners(&self) -> &'static [ConfigKind] {
        match &self.kind {
            ProfileKind::Release(release) => release.system.provisioners(),
            ProfileKind::DebianInstaller { .. } => &[ConfigKind::Preseed],
            ProfileKind::Custom { .. } => &ConfigKind::ALL,
            ProfileKind::LocalDisk => &[],
        }
    }
}
