//! The system that machines run from memory: kernel, initrd and root, made of locked packages as the card's own root is.
//!
//! Its three files lie in a folder that the boot server hands out as it is, with a list of their digests beside them.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use pilotlight_image::{Digest, pieces::Stock};
use pilotlight_lab::{Architecture, System};
use pilotlight_rootfs::{Inputs, Root, Spec, Wanted, overlay};
use pilotlight_tree::Package;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    Step, Workshop,
    clock::Steps,
    files, hex,
    root::{self, builder_identity},
    services,
};

/// The folder of the base that says what becomes of the packages.
const FOLDER: &str = "node";
/// The channels that are made, each with the word that its versions begin with: the major version of Debian, if it has one.
const CHANNELS: [(&str, &str); 4] =
    [("stable", "13"), ("oldstable", "12"), ("testing", "14"), ("sid", "sid")];
/// The list of the files, in the form of sha256sum(1).
const SUMS: &str = "SHA256SUMS";

/// Which system for machines without one: of a channel, for an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeKind {
    channel: &'static str,
    release: &'static str,
    architecture: Architecture,
}

impl NodeKind {
    /// All that are made, the usual ones first.
    pub fn all() -> impl Iterator<Item = Self> {
        [Architecture::Amd64, Architecture::Arm64].into_iter().flat_map(|architecture| {
            CHANNELS.map(|(channel, release)| Self { channel, release, architecture })
        })
    }

    /// That of this channel and architecture.
    pub fn find(channel: &str, architecture: Architecture) -> Option<Self> {
        Self::all().find(|kind| (kind.channel, kind.architecture) == (channel, architecture))
    }

    /// Its channel.
    pub fn channel(self) -> &'static str {
        self.channel
    }

    /// What it runs on.
    pub fn architecture(self) -> Architecture {
        self.architecture
    }

    /// The sets of packages that it is made of.
    pub fn sets(self) -> [String; 2] {
        let Self { channel, architecture, .. } = self;
        [format!("node-{channel}-{architecture}"), format!("node-{channel}-kernel-{architecture}")]
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} for {}", self.channel, self.architecture)
    }
}

/// A system for machines without one.
#[derive(Debug, Clone)]
pub struct NodeImage {
    /// Which.
    pub kind: NodeKind,
    /// What was made.
    pub made: NodeFiles,
    /// The folder of its files.
    pub folder: PathBuf,
    /// How long each step took, in their order.
    pub steps: Vec<Step>,
}

/// What a system for machines without one consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeFiles {
    /// Its version: Debian's, the date of the newest release that it is made of, and the beginning of a digest of all of it.
    pub version: String,
    /// Its files: name, length in bytes, SHA-256 in hex.
    pub files: Vec<(String, u64, String)>,
    /// `uname -r` of its kernel.
    pub kernel_release: String,
    /// How many packages are in it.
    pub packages: usize,
}

/// Which of the kernel's modules the system has: on every machine, and on those of one architecture.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Modules {
    initrd: Vec<String>,
    keep: Vec<String>,
    may_lack: Vec<String>,
    amd64: MoreModules,
    arm64: MoreModules,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoreModules {
    initrd: Vec<String>,
    keep: Vec<String>,
}

impl Modules {
    /// The same with those of an architecture among those of every machine.
    fn of(mut self, architecture: Architecture) -> Self {
        let more = match architecture {
            Architecture::Amd64 => &mut self.amd64,
            Architecture::Arm64 => &mut self.arm64,
        };
        self.initrd.append(&mut more.initrd);
        self.keep.append(&mut more.keep);
        self
    }
}

/// What it is made of, besides packages.
struct Recipe {
    kind: NodeKind,
    sets: [String; 2],
    root_text: String,
    packages_text: String,
    modules_text: String,
    overlay: overlay::Overlay,
    init: Bytes,
    epoch: u32,
}

impl Workshop {
    /// Makes a system that machines run from memory, in the folder `out` or beneath the target folder, as
    /// `debian-ram/VERSION/ARCHITECTURE`.
    ///
    /// # Errors
    /// Anything that stands in the way, named once. A half-made folder never has its final name.
    pub fn node_image(&self, kind: NodeKind, out: Option<&Path>) -> anyhow::Result<NodeImage> {
        let mut steps = Steps::default();
        let recipe = Recipe::read(self, kind, &mut steps)?;
        let kept = self.target().join("nodes");
        let out = out.unwrap_or(&kept);
        let NodeKind { channel, release, architecture } = kind;
        let facts = kept.join("made").join(format!("{channel}-{architecture}")).join(recipe.key(self)?);
        let known = fs::read_to_string(&facts).ok().and_then(|text| serde_json::from_str(&text).ok());
        let known =
            known.filter(|known: &NodeFiles| is_there(&folder(out, &known.version, architecture), known));
        let made = match known {
            Some(made) => made,
            None => {
                let made = recipe.make(self, out, &mut steps)?;
                if out == kept {
                    without_older(&kept, release, architecture, &made.version);
                }
                let parent = facts.parent().unwrap_or(&kept);
                let _ = fs::remove_dir_all(parent);
                files::write(&facts, serde_json::to_vec_pretty(&made)?)?;
                made
            }
        };
        Ok(NodeImage {
            kind,
            folder: folder(out, &made.version, architecture),
            made,
            steps: steps.into_inner(),
        })
    }
}

fn folder(out: &Path, version: &str, architecture: Architecture) -> PathBuf {
    out.join(System::DebianRam.name()).join(version).join(architecture.name())
}

/// Removes the other versions of a release: they are made again in seconds.
fn without_older(kept: &Path, release: &str, architecture: Architecture, newest: &str) {
    let parent = kept.join(System::DebianRam.name());
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != newest && name.split('.').next() == Some(release) {
            let _ = fs::remove_dir_all(entry.path().join(architecture.name()));
            // Of another architecture there may be one of that version.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Whether all files are there; their content was verified when they got their names.
fn is_there(folder: &Path, made: &NodeFiles) -> bool {
    let whole = |(name, length, _): &(String, u64, String)| {
        fs::metadata(folder.join(name)).is_ok_and(|meta| meta.len() == *length)
    };
    made.files.iter().all(whole)
}

impl Recipe {
    fn read(workshop: &Workshop, kind: NodeKind, steps: &mut Steps) -> anyhow::Result<Self> {
        let sets = kind.sets();
        let init = steps.run("init", || services::init_for(workshop, kind.architecture))?;
        let published = workshop
            .lock
            .published(&sets.each_ref().map(String::as_str))
            .context("the lock names no release with a date")?;
        let epoch = u32::try_from(published).context("the lock has a release from before 1970")?;
        let text = |name: &str| workshop.base_text(&format!("{FOLDER}/{name}"));
        Ok(Self {
            kind,
            sets,
            root_text: text("root.toml")?,
            modules_text: text("modules.toml")?,
            packages_text: workshop.base_text("packages.toml")?,
            overlay: overlay::read(&workshop.base_file(&format!("{FOLDER}/overlay"))?, epoch)?,
            init,
            epoch,
        })
    }

    /// What is made of the same has the same key.
    fn key(&self, workshop: &Workshop) -> anyhow::Result<String> {
        let mut hash = Sha256::new();
        let texts = [&self.root_text, &self.packages_text, &self.modules_text, &workshop.lock_text];
        for part in texts.map(String::as_bytes).into_iter().chain([&self.init[..], &builder_identity()?]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(format!("{:?}{:?}", self.sets, self.overlay));
        Ok(hex(&hash.finalize()[..8]))
    }

    fn make(&self, workshop: &Workshop, out: &Path, steps: &mut Steps) -> anyhow::Result<NodeFiles> {
        steps.run("fetch", || workshop.fetch(&self.sets.each_ref().map(String::as_str)))?;
        let mut packages = Vec::new();
        steps.run("unpack", || {
            for set in &self.sets {
                packages.extend(workshop.archives.packages(&workshop.lock, set)?);
            }
            anyhow::Ok(())
        })?;
        let path = workshop.base_file(&format!("{FOLDER}/modules.toml"))?;
        let modules: Modules =
            toml::from_str(&self.modules_text).with_context(|| format!("cannot use {}", path.display()))?;
        let modules = modules.of(self.kind.architecture);
        let root = steps.run("root", || self.root(&packages, &modules))?;
        let is_new = |name: &&str| !modules.may_lack.iter().any(|known| known == name);
        let lacking: Vec<&str> = root.modules.lacking().filter(is_new).collect();
        ensure!(
            lacking.is_empty(),
            "Linux {} has none of {}: take them out of {}, or put them among what a kernel may lack",
            root.kernel_release,
            lacking.join(", "),
            path.display()
        );

        fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
        let work = tempfile::tempdir_in(out).with_context(|| format!("cannot write in {}", out.display()))?;
        let names = System::DebianRam.files();
        let root_name = names.root.unwrap_or_default();
        steps.run("initrd and squashfs", || {
            let initrd =
                pilotlight_rootfs::initrd::build(&root.modules, &modules.initrd, &self.init, self.epoch)?;
            files::write(&work.path().join(names.initrd), initrd)?;
            files::write(&work.path().join(names.linux), &root.kernel)?;
            root::write_squashfs(&root, &work.path().join(root_name), &Stock::default(), self.epoch)
        })?;
        let files = steps.run("digests", || {
            [names.linux, names.initrd, root_name]
                .into_iter()
                .map(|name| digest(work.path(), name))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let sums: String = files.iter().map(|(name, _, digest)| format!("{digest}  {name}\n")).collect();
        files::write(&work.path().join(SUMS), &sums)?;
        let stamp = pilotlight_archive::stamp(self.epoch.into());
        let day = stamp.split('T').next().unwrap_or_default();
        let version = format!("{}.{day}.{}", self.kind.release, hex(&Sha256::digest(sums.as_bytes())[..4]));
        put(work.path(), &folder(out, &version, self.kind.architecture))?;
        Ok(NodeFiles { version, files, kernel_release: root.kernel_release, packages: packages.len() })
    }

    fn root(&self, packages: &[Package], modules: &Modules) -> anyhow::Result<Root> {
        let spec = Spec::parse(&self.root_text, &self.packages_text)?;
        Ok(pilotlight_rootfs::build(&Inputs {
            packages,
            payload: &[],
            spec: &spec,
            architecture: self.kind.architecture.name(),
            modules: Wanted { keep: &modules.keep, initrd: &modules.initrd, may_lack: true },
            overlay: &self.overlay,
            services: &[],
            version: env!("CARGO_PKG_VERSION"),
            epoch: self.epoch,
        })?)
    }
}

fn digest(folder: &Path, name: &str) -> anyhow::Result<(String, u64, String)> {
    let path = folder.join(name);
    let (digest, length) =
        Digest::of_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((name.to_owned(), length, digest.to_string()))
}

/// Gives the finished folder its name; one that is there is of the same content, by its version.
fn put(work: &Path, folder: &Path) -> anyhow::Result<()> {
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
    let _ = fs::remove_dir_all(folder);
    fs::rename(work, folder).with_context(|| format!("cannot name {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use pilotlight_archive::Archives;

    use super::*;

    #[test]
    fn the_base_has_all_that_is_promised() {
        let base = Path::new("../../../bases/debian");
        let sets = Archives::spec(base).unwrap().sets;
        for kind in NodeKind::all() {
            for name in kind.sets() {
                let architecture = sets.get(&name).map(|set| set.own_architecture());
                assert_eq!(architecture, Some(kind.architecture.name()), "{kind}: {name}");
            }
        }
        for channel in System::DebianRam.channels() {
            assert!(NodeKind::find(channel, Architecture::Arm64).is_some(), "a lab may follow {channel}");
        }
        let text = fs::read_to_string(base.join(FOLDER).join("modules.toml")).unwrap();
        let modules: Modules = toml::from_str(&text).unwrap();
        let modules = modules.of(Architecture::Arm64);
        let has = |name: &str| modules.initrd.iter().any(|module| module == name);
        assert!(has("virtio_net") && has("genet") && !has("via_rhine"));
    }
}
