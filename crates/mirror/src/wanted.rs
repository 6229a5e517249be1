//! What a lab's machines may ask the Pi for and the builder does not make itself.

use std::collections::BTreeSet;

use pilotlight_fetch::Digest;
use pilotlight_lab::{Architecture, Lab, ProfileKind, Release, System};

use crate::Sources;

/// A system in one channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Which one.
    pub system: System,
    /// The processor that it is for.
    pub architecture: Architecture,
    /// The channel.
    pub channel: String,
    /// The version at which the lab holds the channel.
    pub held: Option<String>,
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { system, architecture, channel, held } = self;
        write!(out, "{} {channel} for {architecture}", system.title())?;
        held.as_ref().map_or(Ok(()), |version| write!(out, " (held at {version})"))
    }
}

/// Each system of the lab with each channel that a machine may start of it: the profile's own, those of its nodes, and
/// those that are held at a version.
pub fn systems(lab: &Lab) -> BTreeSet<Wanted> {
    let releases = lab.profiles.iter().filter_map(|(name, profile)| match &profile.kind {
        ProfileKind::Release(release) => Some((name, release)),
        _ => None,
    });
    releases
        .flat_map(|(name, release)| {
            let nodes = lab.nodes.iter().filter(move |node| node.profile.as_ref() == Some(name));
            let channels = nodes.filter_map(|node| node.channel.as_deref());
            let held = release.versions.keys().map(String::as_str);
            [release.channel.as_str()]
                .into_iter()
                .chain(channels)
                .chain(held)
                .map(move |channel| wanted(release, channel))
        })
        .collect()
}

fn wanted(release: &Release, channel: &str) -> Wanted {
    Wanted {
        system: release.system,
        architecture: release.architecture,
        channel: channel.to_owned(),
        held: release.versions.get(channel).cloned(),
    }
}

/// A file that is no part of a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Supply {
    /// Where it is served beneath `/assets/`.
    pub(crate) path: String,
    /// Where it comes from.
    pub(crate) url: String,
    /// Its digest, where the lab says it; else it lies beside the file.
    pub(crate) sha256: Option<Digest>,
}

impl Supply {
    /// What its maker calls it.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// Kubernetes' programs that a node or a person may want.
const PROGRAMS: [&str; 7] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubeadm",
    "kubectl",
    "kubelet",
];

/// Kubernetes' programs, the CNI plugins and what the lab names by its address.
pub(crate) fn supplies(lab: &Lab, sources: &Sources) -> Vec<Supply> {
    let architectures = architectures(lab);
    let mut supplies = Vec::new();
    if let Some(version) = lab.kubernetes.as_ref().and_then(|cluster| cluster.version.as_ref()) {
        let releases = &sources.kubernetes.releases;
        supplies.extend(architectures.iter().flat_map(|architecture| {
            PROGRAMS.map(|name| Supply {
                path: format!("kubernetes/{version}/{architecture}/{name}"),
                url: format!("{releases}/{version}/bin/linux/{architecture}/{name}"),
                sha256: None,
            })
        }));
    }
    if let Some(version) = &lab.supplies.cni_plugins {
        supplies.extend(architectures.iter().map(|architecture| {
            let name = format!("cni-plugins-linux-{architecture}-{version}.tgz");
            let url = format!("{}/{version}/{name}", sources.cni_plugins.releases);
            Supply { path: format!("cni-plugins/{name}"), url, sha256: None }
        }));
    }
    // No lab has a digest that cannot be read.
    let own = lab.supplies.urls.iter().filter_map(|file| Some((file, file.sha256.parse().ok()?)));
    supplies.extend(own.map(|(file, sha256)| Supply {
        path: format!("files/{}", file.path),
        url: file.url.clone(),
        sha256: Some(sha256),
    }));
    supplies
}

/// The same by their names, sorted.
pub(crate) fn names_of_architectures(lab: &Lab) -> Vec<String> {
    architectures(lab).into_iter().map(|architecture| architecture.to_string()).collect()
}

/// The processors of the machines that the lab starts by itself.
pub(crate) fn architectures(lab: &Lab) -> BTreeSet<Architecture> {
    let profiles = lab.nodes.iter().filter_map(|node| lab.profiles.get(node.boots()?));
    let found: BTreeSet<_> = profiles.filter_map(|profile| profile.architecture()).collect();
    if found.is_empty() { BTreeSet::from([Architecture::default()]) } else { found }
}
