//! The system that machines run from memory: kernel, initrd and root, made of locked packages as the card's own root is.
//!
//! Its three files lie in a folder that the boot server hands out as it is, with a list of their digests beside them.

use std::{
    fs,
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use bytes::Bytes;
use pilotlight_image::{Digest, pieces::Stock, squashfs};
use pilotlight_lab::System;
use pilotlight_rootfs::{Inputs, Root, Spec, Wanted, overlay};
use pilotlight_tree::Package;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Step, Workshop, clock::Steps, hex, root::builder_identity, services};

/// The folder of the base that says what becomes of the packages.
const FOLDER: &str = "node";
/// The only architecture so far, as Debian and the profiles name it.
const ARCHITECTURE: &str = "amd64";
/// The channels that are made, each with the major version of Debian with which its versions begin.
pub const NODE_CHANNELS: [(&str, &str); 2] = [("stable", "13"), ("oldstable", "12")];
/// The list of the files, in the form of sha256sum(1).
const SUMS: &str = "SHA256SUMS";

/// The sets of packages that a channel's system is made of.
pub fn node_sets(channel: &str) -> [String; 2] {
    [format!("node-{channel}-{ARCHITECTURE}"), format!("node-{channel}-kernel-{ARCHITECTURE}")]
}

/// A system for machines without one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeImage {
    /// The channel that it is of.
    pub channel: String,
    /// Its version: Debian's, the date of the newest release that it is made of, and the beginning of a digest of all of it.
    pub version: String,
    /// Its files: name, length in bytes, SHA-256 in hex.
    pub files: Vec<(String, u64, String)>,
    /// `uname -r` of its kernel.
    pub kernel_release: String,
    /// How many packages are in it.
    pub packages: usize,
    /// The folder of its files.
    #[serde(skip)]
    pub folder: PathBuf,
    /// How long each step took, in their order.
    #[serde(skip)]
    pub steps: Vec<Step>,
}

/// Which of the kernel's modules the system has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Modules {
    initrd: Vec<String>,
    keep: Vec<String>,
}

/// What it is made of, besides packages.
struct Recipe {
    channel: &'static str,
    release: &'static str,
    sets: [String; 2],
    root_text: String,
    packages_text: String,
    modules_text: String,
    overlay: overlay::Overlay,
    init: Bytes,
    epoch: u32,
}

impl Workshop {
    /// Makes the system of a channel that machines run from memory, in the folder `out` or beneath the target folder, as
    /// `debian-ram/VERSION/amd64`.
    ///
    /// # Errors
    /// Anything that stands in the way, named once. A half-made folder never has its final name.
    pub fn node_image(&self, channel: &str, out: Option<&Path>) -> anyhow::Result<NodeImage> {
        let mut steps = Steps::default();
        let recipe = Recipe::read(self, channel, &mut steps)?;
        let kept = self.target().join("nodes");
        let out = out.unwrap_or(&kept);
        let facts = kept.join("made").join(channel).join(recipe.key(self)?);
        let known = fs::read_to_string(&facts).ok().and_then(|text| serde_json::from_str(&text).ok());
        let known = known.filter(|known: &NodeImage| is_there(&folder(out, &known.version), known));
        let image = match known {
            Some(image) => image,
            None => {
                let image = recipe.make(self, out, &mut steps)?;
                if out == kept {
                    without_older(&kept, recipe.release, &image.version);
                }
                let parent = facts.parent().unwrap_or(&kept);
                let _ = fs::remove_dir_all(parent);
                fs::create_dir_all(parent)
                    .and_then(|()| fs::write(&facts, serde_json::to_vec_pretty(&image)?))
                    .with_context(|| format!("cannot write {}", facts.display()))?;
                image
            }
        };
        Ok(NodeImage { folder: folder(out, &image.version), steps: steps.into_inner(), ..image })
    }
}

fn folder(out: &Path, version: &str) -> PathBuf {
    out.join(System::DebianRam.name()).join(version).join(ARCHITECTURE)
}

/// Removes the other versions of a release: they are made again in seconds.
fn without_older(kept: &Path, release: &str, newest: &str) {
    let parent = kept.join(System::DebianRam.name());
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != newest && name.split('.').next() == Some(release) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether all files are there; their content was verified when they got their names.
fn is_there(folder: &Path, image: &NodeImage) -> bool {
    let whole = |(name, length, _): &(String, u64, String)| {
        fs::metadata(folder.join(name)).is_ok_and(|meta| meta.len() == *length)
    };
    image.files.iter().all(whole)
}

impl Recipe {
    fn read(workshop: &Workshop, channel: &str, steps: &mut Steps) -> anyhow::Result<Self> {
        let found = NODE_CHANNELS.into_iter().find(|(name, _)| *name == channel);
        let (channel, release) = found.with_context(|| {
            let known = NODE_CHANNELS.map(|(name, _)| name).join(" and ");
            format!("the channel {channel} of debian-ram is not made: {known} are")
        })?;
        let sets = node_sets(channel);
        let init = steps.run("init", || services::init_of_pcs(workshop))?;
        let published = workshop
            .lock
            .published(&sets.each_ref().map(String::as_str))
            .context("the lock names no release with a date")?;
        let epoch = u32::try_from(published).context("the lock has a release from before 1970")?;
        let text = |name: &str| workshop.base_text(&format!("{FOLDER}/{name}"));
        Ok(Self {
            channel,
            release,
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

    fn make(&self, workshop: &Workshop, out: &Path, steps: &mut Steps) -> anyhow::Result<NodeImage> {
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
        let root = steps.run("root", || self.root(&packages, &modules))?;

        fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
        let work = tempfile::tempdir_in(out).with_context(|| format!("cannot write in {}", out.display()))?;
        let names = System::DebianRam.files();
        let root_name = names.root.unwrap_or_default();
        steps.run("initrd and squashfs", || {
            let write = |name: &str, content: &[u8]| {
                fs::write(work.path().join(name), content).with_context(|| format!("cannot write {name}"))
            };
            let initrd =
                pilotlight_rootfs::initrd::build(&root.modules, &modules.initrd, &self.init, self.epoch)?;
            write(names.initrd, &initrd)?;
            write(names.linux, &root.kernel)?;
            let file =
                fs::File::create_new(work.path().join(root_name)).context("cannot make the root's file")?;
            let mut file = BufWriter::with_capacity(1 << 20, file);
            squashfs::write(&root.tree, &squashfs::Options::new(self.epoch), &Stock::default(), &mut file)
                .context("cannot write the root")?;
            anyhow::Ok(())
        })?;
        let files = steps.run("digests", || {
            [names.linux, names.initrd, root_name]
                .into_iter()
                .map(|name| digest(work.path(), name))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let sums: String = files.iter().map(|(name, _, digest)| format!("{digest}  {name}\n")).collect();
        fs::write(work.path().join(SUMS), &sums).with_context(|| format!("cannot write {SUMS}"))?;
        let stamp = pilotlight_archive::stamp(self.epoch.into());
        let day = stamp.split('T').next().unwrap_or_default();
        let version = format!("{}.{day}.{}", self.release, hex(&Sha256::digest(sums.as_bytes())[..4]));
        let folder = folder(out, &version);
        put(work.path(), &folder)?;
        let (kernel_release, packages) = (root.kernel_release, packages.len());
        let channel = self.channel.to_owned();
        Ok(NodeImage { channel, version, files, kernel_release, packages, folder, steps: Vec::new() })
    }

    fn root(&self, packages: &[Package], modules: &Modules) -> anyhow::Result<Root> {
        let spec = Spec::parse(&self.root_text, &self.packages_text)?;
        Ok(pilotlight_rootfs::build(&Inputs {
            packages,
            payload: &[],
            spec: &spec,
            modules: Wanted { keep: &modules.keep, initrd: &modules.initrd, may_lack: false },
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
