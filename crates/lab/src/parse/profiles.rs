//! `[profiles]`: what machines can be asked to boot.

use std::collections::BTreeMap;

use super::named::Named;
use crate::{
    Architecture, Arming, LOCAL_DISK, Profile, ProfileKind, Release, System, check,
    problem::meant,
    section::{Refused, Report, Section, kind},
};

const DEFAULT_RELEASE: u32 = 13;
const LOCAL_DISK_TITLE: &str = "Boot from the disk of this machine";
/// The channel of Talos that nodes follow which name none: the one that its documentation was read for.
const DEFAULT_TALOS: &str = "v1.11";
/// The most initrds of a kernel.
const MAX_INITRDS: usize = 4;

/// A kind as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Installer,
    Release(System),
    Live,
    Custom,
    LocalDisk,
}

const KINDS: [(&str, Kind); 8] = [
    ("debian-installer", Kind::Installer),
    ("debian-ram", Kind::Release(System::DebianRam)),
    ("debian-live", Kind::Live),
    ("flatcar", Kind::Release(System::Flatcar)),
    ("fedora-coreos", Kind::Release(System::FedoraCoreos)),
    ("talos", Kind::Release(System::Talos)),
    ("custom", Kind::Custom),
    (LOCAL_DISK, Kind::LocalDisk),
];

/// Reads the profiles. Every lab has two without writing them; one of the same name in the file takes its place.
pub(super) fn profiles(section: Option<Section<'_>>, report: &mut Report<'_>) -> Named<Profile> {
    let mut profiles = Named::read(section, "profile", report, profile);
    for (name, profile) in built_in() {
        profiles.checked.entry(name).or_insert(profile);
    }
    profiles
}

fn built_in() -> [(String, Profile); 2] {
    let installer = ProfileKind::DebianInstaller {
        release: DEFAULT_RELEASE,
        architecture: Architecture::default(),
        mirror: None,
        authorized_keys: Vec::new(),
    };
    let profile =
        |title: String, kind| Profile { title, kind, arguments: Vec::new(), arming: Arming::default() };
    [
        (
            "debian-installer".to_owned(),
            profile(installer_title(DEFAULT_RELEASE, Architecture::default()), installer),
        ),
        (LOCAL_DISK.to_owned(), profile(LOCAL_DISK_TITLE.to_owned(), ProfileKind::LocalDisk)),
    ]
}

fn installer_title(release: u32, architecture: Architecture) -> String {
    format!("Install Debian {release} ({architecture})")
}

fn profile(name: &str, mut section: Section<'_>, report: &mut Report<'_>) -> Option<Profile> {
    let example = if name == LOCAL_DISK { "\"local-disk\"" } else { "\"debian-installer\"" };
    let kind = section.needed(report, "kind", example, |text| {
        let kind = check::choice(text, "kind of profile", &KINDS)?;
        if name == LOCAL_DISK && kind != Kind::LocalDisk {
            let fault = Refused::new("a profile with the name local-disk can only boot the local disk");
            return Err(fault.hint("choose another name"));
        }
        Ok(kind)
    });
    let title = section.checked(report, "title", check::title).map(|at| at.value);
    // A kind that was refused is read as the one with the most keys, so that these are checked too.
    let read = kind.as_ref().map_or(Kind::Installer, |at| at.value);
    if read == Kind::LocalDisk {
        section.finish(report);
        return Some(Profile {
            title: title.unwrap_or(LOCAL_DISK_TITLE.to_owned()),
            kind: ProfileKind::LocalDisk,
            arguments: Vec::new(),
            arming: Arming::default(),
        });
    }
    let arguments = section.checked_list(report, "arguments", check::argument);
    if let Some(at) = arguments.get(Profile::MAX_ARGUMENTS) {
        report.refuse(at, Refused::new(format!("{} arguments are the most", Profile::MAX_ARGUMENTS)));
    }
    let arming = match read {
        Kind::Installer => None,
        _ => section.checked(report, "arm", |text| check::choice(text, "way to arm a node", &Arming::NAMES)),
    };
    let read = match read {
        Kind::Installer | Kind::LocalDisk => installer(&mut section, report),
        Kind::Release(system) => release(&mut section, system, report),
        Kind::Live => custom(&mut section, name, true, report),
        Kind::Custom => custom(&mut section, name, false, report),
    };
    section.finish(report);
    kind?;
    let (usual_title, kind) = read?;
    Some(Profile {
        title: title.unwrap_or(usual_title),
        kind,
        arguments: arguments.into_iter().map(|at| at.value).collect(),
        arming: arming.map_or(Arming::default(), |at| at.value),
    })
}

fn architecture(section: &mut Section<'_>, report: &mut Report<'_>) -> Architecture {
    let known = |text: &str| check::choice(text, "architecture", &Architecture::NAMES);
    section.checked(report, "architecture", known).map_or(Architecture::default(), |at| at.value)
}

fn installer(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<(String, ProfileKind)> {
    let release = section.integer(report, "release");
    let release = release.and_then(|at| at.read(report, |number| check::release(*number)));
    let architecture = architecture(section, report);
    let mirror = section.checked(report, "mirror", check::mirror);
    let keys = section.checked_list(report, "authorized-keys", check::ssh_key);
    let release = release.map_or(DEFAULT_RELEASE, |at| at.value);
    let kind = ProfileKind::DebianInstaller {
        release,
        architecture,
        mirror: mirror.map(|at| at.value),
        authorized_keys: keys.into_iter().map(|at| at.value).collect(),
    };
    Some((installer_title(release, architecture), kind))
}

fn release(
    section: &mut Section<'_>,
    system: System,
    report: &mut Report<'_>,
) -> Option<(String, ProfileKind)> {
    let architecture = architecture(section, report);
    let channel = section.checked(report, "channel", |text| channel(system, text));
    let channel =
        channel.map_or(system.channels().first().copied().unwrap_or(DEFAULT_TALOS).to_owned(), |at| at.value);
    let versions = section.section(report, "versions").map(|section| versions(section, system, report));
    let kind = Release { system, architecture, channel, versions: versions.unwrap_or_default() };
    Some((format!("{} ({architecture})", system.title()), ProfileKind::Release(kind)))
}

fn versions(section: Section<'_>, system: System, report: &mut Report<'_>) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for (name, at) in section.values() {
        let name = name.read(report, |text| channel(system, text));
        let version = at.read(report, |value| match value.as_str() {
            Some(text) => check::version(text),
            None => Err(Refused::new(format!("a version in quotes is wanted here, not {}", kind(value)))),
        });
        versions.extend(name.and_then(|name| Some((name.value, version?.value))));
    }
    versions
}

/// The name of a channel that a system has.
pub(super) fn channel(system: System, text: &str) -> Result<String, Refused> {
    let channels = system.channels();
    if channels.is_empty() {
        let numbers = text.strip_prefix('v').and_then(|text| text.split_once('.'));
        let number = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
        return match numbers {
            Some((major, minor)) if number(major) && number(minor) => Ok(text.to_owned()),
            _ => Err(Refused::new(format!("{text:?} is no channel of {}", system.title()))
                .hint(format!("write a minor version, as in \"{DEFAULT_TALOS}\""))),
        };
    }
    if channels.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(Refused::new(format!("{text:?} is no channel of {}", system.title()))
        .hint(meant(text, channels.iter().copied())))
}

fn custom(
    section: &mut Section<'_>,
    name: &str,
    live: bool,
    report: &mut Report<'_>,
) -> Option<(String, ProfileKind)> {
    let linux = section.needed(report, "linux", "\"files/vmlinuz\"", check::asset);
    let initrd = section.checked_list(report, "initrd", check::asset);
    if let Some(at) = initrd.get(MAX_INITRDS) {
        report.refuse(at, Refused::new(format!("{MAX_INITRDS} initrds are the most")));
    }
    let root = match live {
        true => Some(section.needed(report, "root", "\"files/filesystem.squashfs\"", check::asset)),
        false => None,
    };
    let kind = ProfileKind::Custom {
        linux: linux?.value,
        initrd: initrd.into_iter().map(|at| at.value).collect(),
        live: match root {
            Some(root) => Some(root?.value),
            None => None,
        },
    };
    Some((name.to_owned(), kind))
}
