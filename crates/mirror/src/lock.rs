//! What the Pi is to have, file by file: the text beside `lab.toml`.

use std::collections::{BTreeMap, BTreeSet};

use pilotlight_fetch::Digest;
use pilotlight_lab::{Architecture, Lab, System, Versions};
use serde::{Deserialize, Serialize};

use crate::{Sources, Wanted, wanted};

/// The form that is written and read.
const FORM: u32 = 1;

/// What the Pi is to have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    /// Releases of systems, sorted.
    pub releases: Vec<LockedRelease>,
    /// Container images, sorted.
    pub images: Vec<LockedImage>,
    /// Anything else, sorted by path beneath `/assets/`.
    pub files: Vec<LockedFile>,
}

/// A container image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedImage {
    /// What the lab calls it.
    pub name: String,
    /// The processors that it is there for.
    pub architectures: Vec<String>,
    /// Its manifests, configurations and layers, by path beneath `/assets/`. Images may share them.
    #[serde(rename = "file")]
    pub files: Vec<LockedFile>,
}

/// A release of a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedRelease {
    /// Which one.
    pub system: System,
    /// The processor that it is for.
    pub architecture: Architecture,
    /// Its version.
    pub version: String,
    /// The channels that have it.
    pub channels: Vec<String>,
    /// Its files, by their names in the release's folder.
    pub files: Vec<LockedFile>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// Its name in the release's folder; elsewhere its path beneath `/assets/`.
    pub path: String,
    /// Where it came from; nothing where the builder made it, for no Pi can fetch that.
    pub url: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// A text that is no lock.
#[derive(Debug, thiserror::Error)]
#[error("not as `cargo xtask mirror` writes it: {0}")]
pub struct LockError(String);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    release: Vec<ReleaseText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    image: Vec<LockedImage>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    file: Vec<LockedFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseText {
    system: String,
    architecture: String,
    version: String,
    channels: Vec<String>,
    file: Vec<LockedFile>,
}

impl LockedRelease {
    /// Its folder beneath `/assets/`.
    pub fn folder(&self) -> String {
        format!("{}/{}/{}", self.system.name(), self.version, self.architecture)
    }
}

impl Lock {
    /// What it is called on the card, beside the index.
    pub const NAME: &'static str = "lab.lock";

    /// Reads a lock.
    ///
    /// # Errors
    /// What is wrong with it. Names in it are parts of paths, so they have to be plain.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let text: Text = toml::from_str(text).map_err(|fault| LockError(fault.message().to_owned()))?;
        if text.version != FORM {
            let what = format!("it has the form {}, this builder knows {FORM}", text.version);
            return Err(LockError(what));
        }
        let release = |text: ReleaseText| {
            let system = named(&System::NAMES, "system", &text.system)?;
            let architecture = named(&Architecture::NAMES, "architecture", &text.architecture)?;
            let ReleaseText { version, channels, file: files, .. } = text;
            Ok(LockedRelease { system, architecture, version, channels, files })
        };
        let mut lock = Self { releases: Vec::new(), images: text.image, files: text.file };
        for text in text.release {
            lock.put(release(text)?);
        }
        // What the Pi will read has to be what it takes.
        Versions::parse(&lock.versions().index()).map_err(|fault| LockError(fault.to_string()))?;
        let images = lock.images.iter().flat_map(|image| &image.files);
        match lock.files.iter().chain(images).find(|file| !is_plain(&file.path)) {
            Some(file) => Err(LockError(format!("{:?} cannot be the path of a file", file.path))),
            None => Ok(lock),
        }
    }

    /// The lock as [`Lock::parse`] reads it: the same text for the same lock.
    pub fn text(&self) -> String {
        let release = |release: &LockedRelease| ReleaseText {
            system: release.system.name().to_owned(),
            architecture: release.architecture.to_string(),
            version: release.version.clone(),
            channels: release.channels.clone(),
            file: release.files.clone(),
        };
        let text = Text {
            version: FORM,
            release: self.releases.iter().map(release).collect(),
            image: self.images.clone(),
            file: self.files.clone(),
        };
        // A text of strings and numbers can be written; were it not so, nothing of it would be read as a lock.
        let text = toml::to_string(&text).unwrap_or_default();
        format!(
            "# What the Pi is to have for its lab's nodes, by address, size and SHA-256. Written by `cargo xtask mirror`;\n\
             # keep it beside the lab, and in its version control.\n{text}"
        )
    }

    /// The releases in the words of the index that the Pi reads.
    pub fn versions(&self) -> Versions {
        let mut versions = Versions::default();
        for release in &self.releases {
            let key = |text: &str| (release.system, release.architecture, text.to_owned());
            for channel in &release.channels {
                versions.channels.insert(key(channel), release.version.clone());
            }
            let digests = release.files.iter().map(|file| (file.path.clone(), file.sha256.to_string()));
            versions.files.insert(key(&release.version), digests.collect());
        }
        versions
    }

    /// All files by their paths beneath `/assets/`.
    pub fn all(&self) -> BTreeMap<String, &LockedFile> {
        let releases = self.releases.iter().flat_map(|release| {
            let folder = release.folder();
            release.files.iter().map(move |file| (format!("{folder}/{}", file.path), file))
        });
        let images = self.images.iter().flat_map(|image| &image.files);
        releases.chain(images.chain(&self.files).map(|file| (file.path.clone(), file))).collect()
    }

    /// The image of this name for these processors.
    pub(crate) fn image(&self, name: &str, architectures: &[String]) -> Option<&LockedImage> {
        self.images.iter().find(|image| image.name == name && image.architectures == architectures)
    }

    /// The release that serves a system in a channel.
    pub fn serves(&self, wanted: &Wanted) -> Option<&LockedRelease> {
        let mut of = self
            .releases
            .iter()
            .filter(|release| (release.system, release.architecture) == (wanted.system, wanted.architecture));
        match &wanted.held {
            Some(version) => of.find(|release| release.version == *version),
            None => of.find(|release| release.channels.contains(&wanted.channel)),
        }
    }

    /// Takes out what the lab does not want any more.
    pub fn retain(&mut self, lab: &Lab, sources: &Sources) {
        let wanted = wanted::systems(lab);
        let mut kept = Self::default();
        for wanted in &wanted {
            if let Some(release) = self.serves(wanted) {
                kept.add(wanted, &release.version, release.files.clone());
            }
        }
        let paths = wanted::supplies(lab, sources).into_iter().map(|supply| supply.path);
        let paths: BTreeSet<String> = paths.collect();
        let files = self.files.iter().filter(|file| paths.contains(&file.path));
        kept.files = files.cloned().collect();
        let architectures = wanted::names_of_architectures(lab);
        let images = lab.supplies.images.iter();
        kept.images =
            images.filter_map(|image| self.image(&image.to_string(), &architectures).cloned()).collect();
        *self = kept;
    }

    /// Takes over what a lab wants of `old` and is not here: what somebody else hands over takes nothing away.
    pub fn keep_of(&mut self, old: &Self, lab: &Lab, sources: &Sources) {
        let mut wanted_of_old = old.clone();
        wanted_of_old.retain(lab, sources);
        for wanted in wanted::systems(lab) {
            if self.serves(&wanted).is_none()
                && let Some(release) = wanted_of_old.serves(&wanted)
            {
                self.add(&wanted, &release.version, release.files.clone());
            }
        }
        let here: BTreeSet<String> = self.files.iter().map(|file| file.path.clone()).collect();
        self.files.extend(wanted_of_old.files.into_iter().filter(|file| !here.contains(&file.path)));
        self.files.sort_by(|one, other| one.path.cmp(&other.path));
        let here: BTreeSet<String> = self.images.iter().map(|image| image.name.clone()).collect();
        self.images.extend(wanted_of_old.images.into_iter().filter(|image| !here.contains(&image.name)));
        self.images.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// What the lab wants, is not made by the builder itself and is not here, in words.
    pub fn lacks(&self, lab: &Lab, sources: &Sources) -> Vec<String> {
        let systems = wanted::systems(lab).into_iter();
        let systems =
            systems.filter(|wanted| wanted.system != System::DebianRam && self.serves(wanted).is_none());
        let supplies = wanted::supplies(lab, sources).into_iter();
        let supplies = supplies.filter(|supply| !self.files.iter().any(|file| file.path == supply.path));
        let architectures = wanted::names_of_architectures(lab);
        let images = lab.supplies.images.iter().map(ToString::to_string);
        let images = images.filter(|name| self.image(name, &architectures).is_none());
        systems
            .map(|wanted| wanted.to_string())
            .chain(supplies.map(|supply| supply.path))
            .chain(images)
            .collect()
    }

    /// Puts a release into its place, or its channels to those of one that is there.
    pub fn put(&mut self, release: LockedRelease) {
        let key = |release: &LockedRelease| (release.system, release.architecture, release.version.clone());
        match self.releases.binary_search_by_key(&key(&release), key) {
            Ok(place) => {
                if let Some(there) = self.releases.get_mut(place) {
                    there.channels.extend(release.channels);
                    there.channels.sort();
                    there.channels.dedup();
                }
            }
            Err(place) => self.releases.insert(place, release),
        }
    }

    pub(crate) fn add(&mut self, wanted: &Wanted, version: &str, files: Vec<LockedFile>) {
        let (system, architecture, version) = (wanted.system, wanted.architecture, version.to_owned());
        let channels = vec![wanted.channel.clone()];
        self.put(LockedRelease { system, architecture, version, channels, files });
    }

    /// What is in this lock and not, or otherwise, in `old`, in words, line by line.
    pub fn changes(&self, old: &Self) -> Vec<String> {
        type Key = (System, Architecture, String);
        let channels = |lock: &Self| -> BTreeMap<Key, String> { lock.versions().channels };
        let (before, now) = (channels(old), channels(self));
        let title = |(system, architecture, channel): &Key| {
            format!("{} {channel} for {architecture}", system.title())
        };
        let mut lines = Vec::new();
        for (key, version) in &now {
            match before.get(key) {
                None => lines.push(format!("{}: {version}, new", title(key))),
                Some(was) if was != version => lines.push(format!("{}: {was} -> {version}", title(key))),
                Some(_) => {}
            }
        }
        let gone = before.keys().filter(|key| !now.contains_key(key));
        lines.extend(gone.map(|key| format!("{}: not wanted any more", title(key))));
        let paths = |lock: &Self| -> BTreeMap<String, Digest> {
            let files = lock.files.iter().map(|file| (file.path.clone(), file.sha256));
            // An image's name has its digest.
            files.chain(lock.images.iter().map(|image| (image.name.clone(), Digest::of("")))).collect()
        };
        let (before, now) = (paths(old), paths(self));
        for (path, sha256) in &now {
            match before.get(path) {
                None => lines.push(format!("{path}: new")),
                Some(was) if was != sha256 => lines.push(format!("{path}: another file now")),
                Some(_) => {}
            }
        }
        let gone = before.keys().filter(|path| !now.contains_key(*path));
        lines.extend(gone.map(|path| format!("{path}: not wanted any more")));
        lines
    }
}

fn named<T: Copy>(names: &[(&str, T)], what: &str, name: &str) -> Result<T, LockError> {
    let found = names.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| LockError(format!("there is no {what} {name:?}")))
}

fn is_plain(path: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-/".contains(&byte);
    path.len() <= 300
        && path.bytes().all(safe)
        && path.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}
