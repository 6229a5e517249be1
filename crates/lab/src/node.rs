//! A machine known by name: what the lab says of it, with what it has from its group.

use std::{collections::BTreeMap, net::Ipv4Addr};

use crate::{Identity, LOCAL_DISK, MacAddr, Power, Variable, words::words};

/// A machine known by name. What its group says is in it already; its own words count more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its host name: one DNS label, RFC 1123 § 2.1.
    pub name: String,
    /// The hardware address that it boots from. Where the lab knows the machine by something else it is
    /// [`MacAddr::UNKNOWN`] until who serves puts in what is known.
    pub mac: MacAddr,
    /// What the lab knows the machine by where that is not its hardware address.
    pub identity: Option<Identity>,
    /// The address reserved for it. Where another server gives out the addresses, the one that it is known to get, if
    /// any.
    pub address: Option<Ipv4Addr>,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// What it does in the cluster.
    pub role: Option<Role>,
    /// The key of what it boots in [`Lab::profiles`](crate::Lab::profiles); none means the menu.
    pub profile: Option<String>,
    /// The channel of its profile's system that it follows; none means the profile's own.
    pub channel: Option<String>,
    /// The key of how it is configured in [`Lab::configs`](crate::Lab::configs); none means what its system gets by
    /// itself.
    pub config: Option<String>,
    /// What templates may use besides what the lab says anyway.
    pub variables: BTreeMap<String, Variable>,
    /// The public SSH keys that open it: the lab's, its groups' and its own, each once.
    pub ssh_keys: Vec<String>,
    /// What switches it on and off.
    pub power: Option<Power>,
    /// The disks that it may use while it runs.
    pub disks: Disks,
    /// The boot loader it is given.
    pub loader: Loader,
    /// The one disk that its profile may write to, as a path in `/dev`. Without it nothing is ever written.
    pub install_to: Option<String>,
    /// Whether it was given what it needs to be installed on that disk. No lab says this: who serves puts in what is
    /// known.
    pub installed: bool,
}

impl Node {
    /// Whether its hardware address is known.
    pub fn is_met(&self) -> bool {
        self.mac != MacAddr::UNKNOWN
    }

    /// The profile that it boots by itself: its own, or once that was installed, its disk; none means the menu.
    pub fn boots(&self) -> Option<&str> {
        if self.installed { Some(LOCAL_DISK) } else { self.profile.as_deref() }
    }
}

/// What a node does in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It holds the cluster's state (etcd) and API.
    Controller,
    /// It runs what the cluster is asked to run.
    Worker,
}

words!(Role { Controller = "controller", Worker = "worker" });

/// The disks of a node that its system may use, each by the serial number that the disk reports. They are formatted
/// only when blank, or when they were made so before; any other disk is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disks {
    /// What may be lost at any time: containers and their images.
    pub scratch: Option<String>,
    /// What has to stay: the state of etcd.
    pub state: Option<String>,
}

impl Disks {
    /// Those that are named: what each is for, and its serial number.
    pub fn named(&self) -> Vec<(&'static str, &str)> {
        let both = [("state", &self.state), ("scratch", &self.scratch)];
        both.into_iter().filter_map(|(purpose, serial)| Some((purpose, serial.as_deref()?))).collect()
    }
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

words!(Loader { Ipxe = "ipxe", Undionly = "undionly", Pxelinux = "pxelinux", Lpxelinux = "lpxelinux", Grub = "grub" });
