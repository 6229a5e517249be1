//! What a lab's machines may ask the Pi for and the builder does not make itself.

use std::collections::BTreeSet;

use pilotlight_lab::{Architecture, Lab, ProfileKind, Release, System};

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

/// The processors of the machines that the lab starts by itself.
pub(crate) fn architectures(lab: &Lab) -> BTreeSet<Architecture> {
    let profiles = lab.nodes.iter().filter_map(|node| lab.profiles.get(node.boots()?));
    let found: BTreeSet<_> = profiles.filter_map(|profile| profile.architecture()).collect();
    if found.is_empty() { BTreeSet::from([Architecture::default()]) } else { found }
}
