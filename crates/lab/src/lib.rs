//! The vocabulary of a lab: `lab.toml` read into a [`Lab`] that no later code can doubt.
//!
//! The same code serves `cargo xtask check` on the desk, `init` and the services on the Pi. This crate does no
//! I/O and asks no clock.

mod check;
mod cluster;
mod config;
mod identity;
mod mac;
mod node;
mod parse;
pub mod paths;
mod power;
mod problem;
mod profile;
pub mod registry;
mod schema;
mod section;
mod state;
pub mod users;
mod value;
mod versions;
mod words;

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

pub use cluster::{Image, Kubernetes, Prefix, Supplies, Url};
pub use config::{Config, ConfigKind};
pub use identity::{Identity, Marks, Recognised, Uuid, UuidError};
pub use mac::{MacAddr, MacError};
pub use node::{Disks, Loader, Node, Role};
pub use parse::{MAX_LENGTH, parse};
pub use power::{DeviceKind, Power, PowerDevice};
pub use problem::{Problem, Problems};
pub use profile::{Architecture, Arming, Files, LOCAL_DISK, Mirror, Profile, ProfileKind, Release, System};
pub use schema::schema;
pub use state::{Chosen, LabState, NoChoice, StateError};
pub use value::Variable;
pub use versions::{IndexError, Versions};

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
    /// How nodes are configured, by name: what [`Node::config`] names.
    pub configs: BTreeMap<String, Config>,
    /// The cluster that the nodes are to form, if any.
    pub kubernetes: Option<Kubernetes>,
    /// What the Pi has to have for its nodes besides the systems that they boot.
    pub supplies: Supplies,
    /// What switches machines on and off, by name.
    pub power: BTreeMap<String, PowerDevice>,
    /// Who may log in to the Pi and change it; with nobody, there is no login.
    pub operators: Vec<Operator>,
    /// The versions that the Pi has. No lab says this: a file that was read has none, and who serves puts in what is
    /// there.
    pub versions: Versions,
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
    /// The time servers that the Pi sets its own clock by, up to eight names or addresses: Debian's pool where the lab
    /// names none and has an `upstream`; none on an isolated wire.
    pub upstream_time: Vec<String>,
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

impl Lab {
    /// The node with this hardware address; none has [`MacAddr::UNKNOWN`].
    pub fn node_by_mac(&self, mac: MacAddr) -> Option<&Node> {
        self.nodes.iter().find(|node| node.is_met() && node.mac == mac)
    }

    /// The node that this address is reserved for.
    pub fn node_by_address(&self, address: Ipv4Addr) -> Option<&Node> {
        self.nodes.iter().find(|node| node.address == Some(address))
    }

    /// The node with this name.
    pub fn node_by_name(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The system that the node's profile boots, and the channel of it that the node follows; none where that has no
    /// channels.
    pub fn followed<'a>(&'a self, node: &'a Node) -> Option<(&'a Release, &'a str)> {
        match &self.profiles.get(node.profile.as_deref()?)?.kind {
            ProfileKind::Release(release) => {
                Some((release, node.channel.as_deref().unwrap_or(&release.channel)))
            }
            _ => None,
        }
    }

    /// Whether the Pi looks by itself for what the lab's channels have now: where it has an upstream, unless the lab says
    /// otherwise.
    pub fn refreshes(&self) -> bool {
        self.supplies.refresh.unwrap_or(!self.network.upstream.is_empty())
    }

    /// Whether the node is given certificates: it has a part in the lab's cluster, and an address to be known by.
    pub fn is_enrolled(&self, node: &Node) -> bool {
        self.kubernetes.is_some() && node.role.is_some() && node.address.is_some()
    }

    /// The disk that is erased when the node's profile is installed, which nobody is asked about; none where nothing is
    /// installed so.
    pub fn erased<'a>(&self, node: &'a Node) -> Option<&'a str> {
        let profile = self.profiles.get(node.profile.as_deref()?)?;
        let is_installer = matches!(profile.kind, ProfileKind::DebianInstaller { .. });
        node.install_to.as_deref().filter(|_| is_installer)
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
