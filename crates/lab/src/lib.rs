//! The vocabulary of a lab: `lab.toml` read into a [`Lab`] that no later code can doubt.
//!
//! The same code serves `cargo xtask check` on the desk, `init` and the services on the Pi. This crate does no
//! I/O and asks no clock.

mod check;
mod mac;
mod parse;
pub mod paths;
mod problem;
mod section;

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

pub use mac::{MacAddr, MacError};
pub use parse::{MAX_LENGTH, parse};
pub use problem::{Problem, Problems};

/// The Pi's own name in the lab's domain.
pub const SERVER_NAME: &str = "pilotlight";

/// A checked lab: every name refers to something that exists, every address lies in the network, nothing is
/// given twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lab {
    /// The wire that the Pi serves.
    pub network: Network,
    /// How files are sent by TFTP.
    pub tftp: Tftp,
    /// The machines that are known by name, in the order of the file.
    pub nodes: Vec<Node>,
    /// What a machine can be asked to boot, by name.
    pub profiles: BTreeMap<String, Profile>,
    /// Who may log in to the Pi and change it; with nobody, there is no login.
    pub operators: Vec<Operator>,
}

/// How files are sent by TFTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tftp {
    /// Whether transfers leave from the port for requests, 69, as some firewalls and translators of addresses need it;
    /// RFC 1350 has a port for each.
    pub single_port: bool,
}

/// Somebody who may log in to the Pi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// A name for the records: one label, like a host's.
    pub name: String,
    /// The public SSH key that opens the door: one line of `authorized_keys`, without options.
    pub key: String,
}

/// The wire that the Pi serves, and the Pi's place on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The Pi's interface, `eth0` unless told otherwise.
    pub interface: String,
    /// The Pi's own address.
    pub address: Ipv4Addr,
    /// Length of the network prefix in bits, 8 to 30.
    pub prefix: u8,
    /// Whether the Pi gives out the addresses of this wire.
    pub mode: Mode,
    /// The domain of the lab's names.
    pub domain: String,
    /// The Pi's own way out, which machines are told as well where it gives them their addresses; none on an isolated
    /// wire.
    pub router: Option<Ipv4Addr>,
    /// The name servers given to clients: the Pi, unless told otherwise.
    pub dns: Vec<Ipv4Addr>,
    /// The name servers that the Pi asks for what is not the lab's; none on an isolated wire.
    pub upstream: Vec<Ipv4Addr>,
    /// Addresses for machines that are not named; none means that only named machines are served.
    pub pool: Option<Pool>,
    /// How long a lease lasts, from 2 minutes to 7 days.
    pub lease: Duration,
    /// Whether to listen for another DHCP server first, and stay silent while one answers. The default lab
    /// says yes, because the card's owner has not said yet which network it is on.
    pub probe_first: bool,
}

/// Who gives the machines of the wire their addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The Pi.
    #[default]
    Server,
    /// Another DHCP server, which knows nothing of booting; the Pi adds where to boot from (PXE 2.1 § 2.2: proxyDHCP).
    Proxy,
}

/// A range of addresses for machines without a reservation. Reserved addresses may lie inside: they are never
/// given to anyone else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// The first address.
    pub first: Ipv4Addr,
    /// The last address, not below the first.
    pub last: Ipv4Addr,
}

/// A machine known by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its host name: one DNS label, RFC 1123 § 2.1.
    pub name: String,
    /// The hardware address that it boots from.
    pub mac: MacAddr,
    /// The address reserved for it. Where another server gives out the addresses, the one that it is known to get, if
    /// any.
    pub address: Option<Ipv4Addr>,
    /// The key of what it boots in [`Lab::profiles`]; none means the menu.
    pub profile: Option<String>,
    /// The boot loader it is given.
    pub loader: Loader,
    /// The one disk that its profile may write to, as a path in `/dev`. Without it nothing is ever written.
    pub install_to: Option<String>,
}

/// The boot loader that a node's firmware is given. One that does not exist for a firmware leaves it with iPXE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loader {
    /// iPXE, for BIOS and UEFI alike; an iPXE that is in the firmware already goes straight to its script.
    #[default]
    Ipxe,
    /// iPXE upon the network card's own driver, for a BIOS machine whose iPXE in the ROM has one that fails.
    Undionly,
    /// PXELINUX, for a BIOS: through the iPXE in the ROM where there is one.
    Pxelinux,
    /// PXELINUX with a TCP of its own, for a BIOS: it needs nothing of an iPXE below it.
    Lpxelinux,
    /// shim and GRUB as they are signed, for UEFI on 64-bit x86: what starts where Secure Boot is on.
    Grub,
}

impl Loader {
    /// All of them, by what they are called in `lab.toml`.
    pub const NAMES: [(&str, Self); 5] = [
        ("ipxe", Self::Ipxe),
        ("undionly", Self::Undionly),
        ("pxelinux", Self::Pxelinux),
        ("lpxelinux", Self::Lpxelinux),
        ("grub", Self::Grub),
    ];
}

/// What a machine can be asked to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// One line for the menus.
    pub title: String,
    /// What kind of system it is.
    pub kind: ProfileKind,
}

/// The kinds of system that can be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileKind {
    /// The Debian installer from the network.
    DebianInstaller {
        /// The Debian release's number, such as `13`.
        release: u32,
        /// The installer's architecture, such as `amd64`.
        architecture: String,
        /// More arguments for the installer's kernel.
        arguments: Vec<String>,
        /// The Debian mirror that the installer is told to use; none lets it ask.
        mirror: Option<Mirror>,
        /// The SSH keys that open the account on what it installs, as lines of `authorized_keys`; with none,
        /// the installer asks for a password at the machine.
        authorized_keys: Vec<String>,
    },
    /// The machine's own disk.
    LocalDisk,
}

/// A Debian mirror, reached by plain HTTP: the installer checks its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Its host, with `:port` where that is not 80.
    pub host: String,
    /// The archive's directory, with a leading and without a trailing slash, as in `/debian`.
    pub directory: String,
}

impl Lab {
    /// The node with this hardware address.
    pub fn node_by_mac(&self, mac: MacAddr) -> Option<&Node> {
        self.nodes.iter().find(|node| node.mac == mac)
    }

    /// The node that this address is reserved for.
    pub fn node_by_address(&self, address: Ipv4Addr) -> Option<&Node> {
        self.nodes.iter().find(|node| node.address == Some(address))
    }

    /// The node with this name.
    pub fn node_by_name(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

impl Network {
    /// The subnet mask.
    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0))
    }

    /// The broadcast address.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask().to_bits())
    }

    /// Whether machines on this wire have no way out that anyone would know of.
    pub fn isolated(&self) -> bool {
        self.mode == Mode::Server && self.router.is_none()
    }

    /// Whether `address` lies in this network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.address.to_bits()) & self.mask().to_bits() == 0
    }
}
