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
/// The sets of packages that it is made of.
pub const NODE_SETS: [&str; 2] = ["node-amd64", "kernel-amd64"];
/// Debian's major version, with which the version of what is made here begins.
const RELEASE: &str = "13";
/// The list of the files, in the form of sha256sum(1).
const SUMS: &str = "SHA256SUMS";

/// A system for machines without one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeImage {
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
    root_text: String,
    packages_text: String,
    modules_text: String,
    overlay: overlay::Overlay,
    init: Bytes,
    epoch: u32,
}

impl Workshop {
    /// Makes the system that machines run from memory, in the folder `out` or beneath the target folder, as
    /// `debian-ram/VERSION/amd64`.
    ///
    /// # Errors
    /// Anything that stands in the way, named once. A half-made folder never has its final name.
    pub fn node_image(&self, out: Option<&Path>) -> anyhow::Result<NodeImage> {
        let mut steps = Steps::default();
        let recipe = Recipe::read(self, &mut steps)?;
        let kept = self.target().join("nodes");
        let out = out.unwrap_or(&kept);
        let facts = kept.join("made").join(recipe.key(self)?);
        let known = fs::read_to_string(&facts).ok().and_then(|text| serde_json::from_str(&text).ok());
        let known = known.filter(|known: &NodeImage| is_there(&folder(out, &known.version), known));
        let image = match known {
            Some(image) => image,
            None => {
                let image = recipe.make(self, out, &mut steps)?;
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

/// Whether all files are there; their content was verified when they got their names.
fn is_there(folder: &Path, image: &NodeImage) -> bool {
    let whole = |(name, length, _): &(String, u64, String)| {
        fs::metadata(folder.join(name)).is_ok_and(|meta| meta.len() == *length)
    };
    image.files.iter().all(whole)
}

impl Recipe {
    fn read(workshop: &Workshop, steps: &mut Steps) -> anyhow::Result<Self> {
        let init = steps.run("init", || services::init_of_pcs(workshop))?;
        let published =
            workshop.lock.published(&NODE_SETS).context("the lock names no release with a date")?;
        let epoch = u32::try_from(published).context("the lock has a release from before 1970")?;
        let text = |name: &str| workshop.base_text(&format!("{FOLDER}/{name}"));
        Ok(Self {
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
        hash.update(format!("{:?}", self.overlay));
        Ok(hex(&hash.finalize()[..8]))
    }

    fn make(&self, workshop: &Workshop, out: &Path, steps: &mut Steps) -> anyhow::Result<NodeImage> {
        steps.run("fetch", || workshop.fetch(&NODE_SETS))?;
        let mut packages = Vec::new();
        steps.run("unpack", || {
            for set in NODE_SETS {
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
        let version = format!("{RELEASE}.{day}.{}", hex(&Sha256::digest(sums.as_bytes())[..4]));
        let folder = folder(out, &version);
        put(work.path(), &folder)?;
        let (kernel_release, packages) = (root.kernel_release, packages.len());
        Ok(NodeImage { version, files, kernel_release, packages, folder, steps: Vec::new() })
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
