//! Where archives are looked for: a setting, else the machine's apt configuration, else the default.
//!
//! A mirror is never trusted: whatever it gives must carry a pinned key's signature or a locked hash. So any
//! entry of apt's that looks like the right archive will do.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{deb822, spec::Spec};

/// The addresses of each archive by its name, in the order in which they are tried, without a trailing `/`.
pub type Mirrors = BTreeMap<String, Vec<String>>;

/// A text of apt's configuration.
#[derive(Debug, Clone)]
pub enum AptText {
    /// A `.list` file: one entry a line.
    OneLine(String),
    /// A `.sources` file: one entry a paragraph.
    Deb822(String),
}

/// A setting that names no mirror.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MirrorError {
    /// Neither http nor https.
    #[error("{0:?} is no http or https address: write http://HOST/PATH, or ARCHIVE=http://HOST/PATH")]
    Address(String),
    /// It is for an archive that there is not.
    #[error("{0:?} is for an archive that is not known; known are {1}")]
    Archive(String, String),
}

/// The mirrors to try for every archive of `spec`.
///
/// `settings` are what a person asked for: addresses, or `archive=address`. An address alone is for the archive
/// whose name its path ends in, else for `debian`. An archive that has a setting is looked for nowhere else; one
/// that has none is looked for where apt finds it and then at its default.
///
/// # Errors
/// A setting that is no address or names an unknown archive.
pub fn resolve(spec: &Spec, settings: &[String], apt: &[AptText]) -> Result<Mirrors, MirrorError> {
    let mut chosen = Mirrors::new();
    for setting in settings {
        let (archive, address) = read_setting(setting, spec)?;
        push(&mut chosen, &archive, address);
    }
    let mut found = Mirrors::new();
    for (address, suites) in apt.iter().flat_map(entries) {
        if let Some(archive) = archive_of_entry(&address, &suites) {
            push(&mut found, archive, &address);
        }
    }
    for (name, archive) in &spec.archives {
        push(&mut found, name, &archive.mirror);
    }
    found.retain(|name, _| spec.archives.contains_key(name));
    found.append(&mut chosen);
    Ok(found)
}

/// Where to look for what no mirror has any more: `settings` as for [`resolve`], or `none` for nowhere, else what the
/// spec says.
///
/// # Errors
/// A setting that is no address or names an unknown archive.
pub fn resolve_snapshots(spec: &Spec, settings: &[String]) -> Result<Mirrors, MirrorError> {
    if settings.iter().any(|setting| setting == "none") {
        return Ok(Mirrors::new());
    }
    let mut chosen = Mirrors::new();
    for setting in settings {
        let (archive, address) = read_setting(setting, spec)?;
        push(&mut chosen, &archive, address);
    }
    let mut found = spec.snapshots();
    found.append(&mut chosen);
    Ok(found)
}

/// Reads apt's configuration below `etc` (`/etc/apt`). What cannot be read counts as absent: it is a hint only.
pub fn read_apt(etc: &Path) -> Vec<AptText> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(etc.join("sources.list.d"))
        .map(|listing| listing.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.sort();
    files.insert(0, etc.join("sources.list"));
    let read = files.iter().filter_map(|path| {
        let wrap = match path.extension()?.to_str()? {
            "list" => AptText::OneLine,
            "sources" => AptText::Deb822,
            _ => return None,
        };
        std::fs::read_to_string(path).ok().map(wrap)
    });
    read.collect()
}

fn read_setting<'s>(setting: &'s str, spec: &Spec) -> Result<(String, &'s str), MirrorError> {
    let (archive, address) = match setting.split_once('=').filter(|(name, _)| !name.contains(['/', ':'])) {
        Some((name, address)) => (Some(name), address),
        None => (None, setting),
    };
    if !is_web(address) {
        return Err(MirrorError::Address(setting.into()));
    }
    let named = archive.unwrap_or_else(|| {
        let last = address.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        spec.archives.keys().map(String::as_str).find(|name| *name == last).unwrap_or("debian")
    });
    if spec.archives.contains_key(named) {
        Ok((named.to_owned(), address))
    } else {
        let known: Vec<_> = spec.archives.keys().map(String::as_str).collect();
        Err(MirrorError::Archive(setting.into(), known.join(", ")))
    }
}

fn push(mirrors: &mut Mirrors, archive: &str, address: &str) {
    let address = address.trim_end_matches('/').to_owned();
    let list = mirrors.entry(archive.to_owned()).or_default();
    if !list.contains(&address) {
        list.push(address);
    }
}

pub(crate) fn is_web(address: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| address.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
}

fn archive_of_entry(address: &str, suites: &[String]) -> Option<&'static str> {
    let path = address.trim_end_matches('/');
    if !is_web(path) {
        return None;
    }
    // A flat repository (its suite is a path) has no `dists/`.
    if suites.iter().any(|suite| suite.ends_with('/')) {
        return None;
    }
    let security = |suite: &String| suite.ends_with("-security") || suite.ends_with("/updates");
    // Raspberry Pi's archive lies at `/debian`, too.
    if path.contains("//archive.raspberrypi.") {
        Some("raspberrypi")
    } else if path.ends_with("/raspbian") {
        Some("raspbian")
    } else if path.ends_with("/debian-security") || (!suites.is_empty() && suites.iter().all(security)) {
        Some("debian-security")
    } else if path.ends_with("/debian") {
        Some("debian")
    } else {
        None
    }
}

/// Address and suites of every enabled binary entry.
fn entries(text: &AptText) -> Vec<(String, Vec<String>)> {
    match text {
        AptText::OneLine(text) => text.lines().filter_map(one_line).collect(),
        AptText::Deb822(text) => deb822::paragraphs(text).flat_map(sources).collect(),
    }
}

fn one_line(line: &str) -> Option<(String, Vec<String>)> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let mut rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t']))?.trim_start();
    if let Some(options) = rest.strip_prefix('[') {
        rest = options.split_once(']')?.1.trim_start();
    }
    let mut words = rest.split_whitespace();
    let address = words.next()?.to_owned();
    Some((address, vec![words.next()?.to_owned()]))
}

fn sources(paragraph: deb822::Paragraph<'_>) -> Vec<(String, Vec<String>)> {
    let words = |name: &str| -> Vec<String> {
        let lines = paragraph.get(name).unwrap_or_default().lines();
        lines
            .filter(|line| !line.starts_with('#'))
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect()
    };
    let disabled = paragraph.get("Enabled").is_some_and(|value| {
        ["no", "false", "without", "off", "disable", "0"].contains(&value.to_ascii_lowercase().as_str())
    });
    if disabled || !words("Types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    words("URIs").into_iter().map(|address| (address, words("Suites"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        let archive = |name: &str, suite: &str| {
            format!(
                "[archives.{name}]\nmirror = \"http://default.example/{name}\"\nsuites = [\"{suite}\"]\nkeys = [{{ \
                 fingerprint = \"{}\", file = \"k\" }}]\n",
                "A".repeat(40)
            )
        };
        let text = archive("debian", "trixie") + &archive("debian-security", "trixie-security");
        Spec::parse(
            &(text + "[sets.a]\nsuites = [\"trixie\"]\narchitectures = [\"amd64\"]\npackages = [\"a\"]\n"),
        )
        .unwrap()
    }

    #[test]
    fn raspberry_pi_s_archives_are_none_of_debian_s() {
        let of = |address: &str| archive_of_entry(address, &["trixie".to_owned()]);
        assert_eq!(of("http://archive.raspberrypi.com/debian/"), Some("raspberrypi"));
        assert_eq!(of("http://mirror.example/raspbian/raspbian/"), Some("raspbian"));
        assert_eq!(of("http://mirror.example/debian/"), Some("debian"));
    }

    fn check(settings: &[&str], apt: &[AptText], debian: &[&str], security: &[&str]) {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).into()).collect();
        let mirrors = resolve(&spec(), &settings, apt).unwrap();
        assert_eq!(mirrors["debian"], debian, "{settings:?} {apt:?}");
        assert_eq!(mirrors["debian-security"], security, "{settings:?} {apt:?}");
        assert_eq!(mirrors.len(), 2);
    }

    const DEFAULT: &str = "http://default.example/debian";
    const SECURITY: &str = "http://default.example/debian-security";

    #[test]
    fn the_default_comes_last() {
        check(&[], &[], &[DEFAULT], &[SECURITY]);
        let list = "# deb http://off.example/debian trixie main\n\
                    deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://a.example/debian/ trixie main # near\n\
                    deb-src http://src.example/debian trixie main\n\
                    deb cdrom:[Debian]/ trixie main\n\
                    deb mirror+file:/etc/mirrors/debian trixie main\n\
                    deb http://a.example/mirror trixie-security main\n\
                    deb https://third.example/node_20.x nodistro main\n\
                    deb http://flat.example/debian ./\n\
                    debug\n";
        check(
            &[],
            &[AptText::OneLine(list.into())],
            &["http://a.example/debian", DEFAULT],
            &["http://a.example/mirror", SECURITY],
        );
    }

    #[test]
    fn paragraphs_of_apt() {
        let text = "Types: deb deb-src\nURIs: http://a.example/debian\n https://b.example/debian/\nSuites: trixie \
                    trixie-updates\nSigned-By: /usr/share/keyrings/x.gpg\n\nTypes: deb\n# remark\nURIs: \
                    http://a.example/debian-security\nSuites: trixie-security\n\nEnabled: no\nTypes: deb\nURIs: \
                    http://off.example/debian\nSuites: trixie\n\nTypes: deb-src\nURIs: \
                    http://src.example/debian\nSuites: trixie\n";
        check(
            &[],
            &[AptText::Deb822(text.into())],
            &["http://a.example/debian", "https://b.example/debian", DEFAULT],
            &["http://a.example/debian-security", SECURITY],
        );
    }

    #[test]
    fn a_setting_stands_alone() {
        let apt = [AptText::OneLine("deb http://a.example/debian trixie main".into())];
        check(&["http://m.example/debian/"], &apt, &["http://m.example/debian"], &[SECURITY]);
        check(
            &["http://m.example:8080", "http://m.example/debian-security"],
            &apt,
            &["http://m.example:8080"],
            &["http://m.example/debian-security"],
        );
        check(
            &["debian-security=http://m.example/x", "http://1.example/debian", "http://2.example/debian"],
            &apt,
            &["http://1.example/debian", "http://2.example/debian"],
            &["http://m.example/x"],
        );
    }

    #[test]
    fn snapshots() {
        let check = |settings: &[&str], expect: &[(&str, &str)]| {
            let settings: Vec<String> = settings.iter().map(|setting| (*setting).into()).collect();
            let mut spec = spec();
            spec.archives.get_mut("debian").unwrap().snapshot =
                Some("http://s.example/archive/debian/".into());
            let found = resolve_snapshots(&spec, &settings).unwrap();
            let found: Vec<_> =
                found.iter().map(|(name, addresses)| (name.as_str(), addresses.join(" "))).collect();
            let expect: Vec<_> =
                expect.iter().map(|(name, address)| (*name, (*address).to_owned())).collect();
            assert_eq!(found, expect, "{settings:?}");
        };
        check(&[], &[("debian", "http://s.example/archive/debian")]);
        check(&["none"], &[]);
        check(
            &["http://t.example/archive/debian-security", "debian=http://t.example/x"],
            &[
                ("debian", "http://t.example/x"),
                ("debian-security", "http://t.example/archive/debian-security"),
            ],
        );
    }

    #[test]
    fn a_wrong_setting_is_refused() {
        let check = |setting: &str, expect: &str| {
            let message = resolve(&spec(), &[setting.into()], &[]).unwrap_err().to_string();
            assert!(message.contains(expect), "{message}");
        };
        check("ftp.debian.org", "no http or https address");
        check("file:///srv/debian", "no http or https address");
        check("ubuntu=http://a.example/", "debian, debian-security");
    }
}
