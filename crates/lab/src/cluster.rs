//! The cluster that nodes are to form, and what the Pi has to have for it.

use std::{fmt, net::Ipv4Addr};

/// A Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// Its name in kubeconfigs.
    pub cluster: String,
    /// The version of its programs with a leading `v`; none where the Pi has none to serve.
    pub version: Option<String>,
    /// The addresses of pods.
    pub pods: Prefix,
    /// The addresses of services. The first is the API's own, the tenth the cluster's DNS.
    pub services: Prefix,
    /// The host that nodes and people reach the API at: a name or an address.
    pub api: String,
    /// More names and addresses that the API's certificate is good for.
    pub names: Vec<String>,
    /// Whether the controllers get a certificate authority of their own for the kubelets, so that these renew their
    /// certificates in the cluster and not with the Pi.
    pub delegate_signing: bool,
}

impl Kubernetes {
    /// The API's address among the services: the first.
    pub fn api_service(&self) -> Ipv4Addr {
        self.services.nth(1)
    }

    /// The cluster DNS's address among the services: the tenth.
    pub fn dns_service(&self) -> Ipv4Addr {
        self.services.nth(10)
    }
}

/// A block of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Its first address.
    pub base: Ipv4Addr,
    /// Its length in bits, 8 to 28.
    pub length: u8,
}

impl Prefix {
    /// The address `n` after the first.
    pub fn nth(self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits().saturating_add(n))
    }

    /// Whether any address is in both.
    pub fn overlaps(self, other: Self) -> bool {
        let bits = self.length.min(other.length);
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        (self.base.to_bits() ^ other.base.to_bits()) & mask == 0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.base, self.length)
    }
}

/// What the Pi has to have for its nodes besides the systems that they boot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Supplies {
    /// Files from anywhere, known by their digest.
    pub urls: Vec<Url>,
    /// Container images, known by their digest.
    pub images: Vec<Image>,
    /// The version of the CNI plugins with a leading `v`.
    pub cni_plugins: Option<String>,
    /// Whether the Pi looks for newer releases by itself, if the lab says so; see [`crate::Lab::refreshes`].
    pub refresh: Option<bool>,
}

/// A file from anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Where it is.
    pub url: String,
    /// Its SHA-256 in 64 small hexadecimal digits.
    pub sha256: String,
    /// Where it is served beneath `/assets/files/`.
    pub path: String,
}

impl fmt::Display for Image {
    /// As `lab.toml` has it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(out, ":{tag}"))?;
        write!(out, "@sha256:{}", self.sha256)
    }
}

/// A container image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The registry's host, with `:port` where there is one.
    pub registry: String,
    /// The repository in it.
    pub repository: String,
    /// A tag by which it may be asked for as well.
    pub tag: Option<String>,
    /// The SHA-256 of its manifest or index in 64 small hexadecimal digits.
    pub sha256: String,
}
