//! The root and what boots it: made when something it depends on changed, else taken from the last time.
//!
//! Nothing here depends on the lab: it lies on the boot partition alone, so changing it never makes a root anew.

use std::{
    convert::Infallible,
    fs,
    io::BufWriter,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use pilotlight_board::{Board, Modules};
use pilotlight_image::{
    Blob, Digest,
    card::Identity,
    pieces::{Index, Stock},
    squashfs,
};
use pilotlight_inventory::manifest;
use pilotlight_lab::paths::{BOARD, INITRD_ON_CARD, KERNEL_ON_CARD, LOADER_ON_CARD, LOADER_SCRIPT_ON_CARD};
use pilotlight_rootfs::{Inputs, Root, Spec, Wanted, overlay};
use pilotlight_tree::{Bytes, Package, TreePath};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    Workshop, bill,
    clock::Steps,
    files, hex, services,
    stock::{self, BOOT, KERNEL_PIECES, SQUASHFS, SQUASHFS_PIECES},
};

/// The set of packages of which single files are handed to other machines.
const PAYLOAD_SET: &str = "payload";
/// The set of what the boards' own boot ROMs load.
const FIRMWARE_SET: &str = "firmware";

/// The sets of packages that are installed in a board's root.
pub(crate) fn root_sets(board: &Board) -> [&str; 3] {
    ["root", "login", &board.kernel.set]
}

/// The sets of what its boot partition has besides the kernel.
pub(crate) fn boot_sets(board: &Board) -> [&str; 2] {
    [FIRMWARE_SET, &board.loader.set]
}

/// All sets of packages that a board's card is made of.
pub(crate) fn sets(board: &Board) -> Vec<&str> {
    [&root_sets(board)[..], &[PAYLOAD_SET], &boot_sets(board)].concat()
}

/// Changes when what is kept of a root does.
const LAYOUT: &str = "root 2";
/// The manifest of what does not depend on the lab.
const MANIFEST: &str = "manifest";
/// The bill of materials.
const BILL: &str = "bill.cdx.json";
/// How many roots of earlier builds are kept.
const KEPT: usize = 3;
/// Where the boot ROM's files lie in the firmware package.
const FIRMWARE: &str = "usr/lib/raspi-firmware";
/// Where the firmware looks for overlays, and where they lie among the kernel's device trees.
const OVERLAYS: &str = "overlays";
/// Where the Pi keeps what it hands to other machines.
pub(crate) const PAYLOAD: [&str; 2] = [pilotlight_lab::paths::TFTP_ROOT, pilotlight_lab::paths::HTTP_ROOT];

/// A finished root on the desk's disk, and the files of the boot partition that come with it.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) folder: PathBuf,
    pub(crate) facts: Facts,
}

/// What is worth knowing of a root without reading it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// SHA-256 of the squashfs, in hex.
    pub(crate) squashfs_sha256: String,
    /// SHA-256 of the boot partition's files, in hex.
    pub(crate) boot_sha256: String,
    /// Bytes of the squashfs.
    pub(crate) squashfs_bytes: u64,
    /// Bytes of the boot partition's files.
    pub(crate) boot_bytes: u64,
    /// Bytes of the files for other machines, as stored in the squashfs.
    pub(crate) payload_bytes: u64,
    /// `uname -r`.
    pub(crate) kernel_release: String,
    /// Seconds since 1970 that everything made here carries.
    pub(crate) epoch: u32,
}

impl Finished {
    /// The root's file.
    pub(crate) fn root(&self) -> anyhow::Result<Blob> {
        let sha256 = digest(&self.facts.squashfs_sha256)?;
        Ok(Blob { path: self.folder.join(SQUASHFS), len: self.facts.squashfs_bytes, sha256 })
    }

    /// The numbers by which a card with this root is known.
    pub(crate) fn identity(&self) -> anyhow::Result<Identity> {
        Ok(Identity::of(&[digest(&self.facts.squashfs_sha256)?, digest(&self.facts.boot_sha256)?]))
    }

    /// The manifest of the root and of the boot partition, without the command line and the lab.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.folder.join(MANIFEST)
    }

    /// The bill of materials.
    pub(crate) fn bill(&self) -> PathBuf {
        self.folder.join(BILL)
    }

    /// Names and contents of the boot partition's files, sorted; without the command line and the lab.
    pub(crate) fn boot_files(&self) -> anyhow::Result<Vec<(String, Bytes)>> {
        let folder = self.folder.join(BOOT);
        let mut files = Vec::new();
        services::list(&folder, &mut files)?;
        files.sort();
        let read = |path: &PathBuf| {
            let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.strip_prefix(&folder).unwrap_or(path);
            Ok((name.to_string_lossy().into_owned(), content.into()))
        };
        files.iter().map(read).collect()
    }
}

fn digest(hex: &str) -> anyhow::Result<Digest> {
    Digest::from_hex(hex).context("the facts of the root are damaged: remove target/roots")
}

/// The root of `board`, made now unless it is there already.
pub(crate) fn finish(
    workshop: &Workshop,
    board_text: &str,
    board: &Board,
    steps: &mut Steps,
) -> anyhow::Result<Finished> {
    let recipe = Recipe::read(workshop, board, steps)?;
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    let Recipe { root_text, packages_text, .. } = &recipe;
    for text in [LAYOUT, &board.name, &board.base, board_text, root_text, packages_text, &workshop.lock_text]
    {
        add(text.as_bytes());
    }
    add(&builder_identity()?);
    for (path, node) in recipe.overlay.nodes() {
        add(path.as_bytes());
        add(format!("{:?}", node.meta).as_bytes());
        match &node.kind {
            pilotlight_tree::Kind::File(content) => add(content),
            other => add(format!("{other:?}").as_bytes()),
        }
    }
    add(&recipe.services.init);
    for (path, content) in &recipe.services.programs {
        add(path.as_bytes());
        add(content);
    }
    let parent = roots(&workshop.target());
    let folder = parent.join(hex(&hash.finalize()[..8]));
    let facts = folder.join("facts.json");
    if let Ok(text) = fs::read_to_string(&facts) {
        let facts =
            serde_json::from_str(&text).with_context(|| format!("cannot understand {}", facts.display()))?;
        steps.note("root", Duration::ZERO, "unchanged");
        return Ok(Finished { folder, facts });
    }
    let facts = recipe.make(&parent, &folder, steps)?;
    prune(&parent, &folder);
    Ok(Finished { folder, facts })
}

/// Everything that a root is made from.
pub(crate) struct Recipe<'a> {
    workshop: &'a Workshop,
    board: &'a Board,
    root_text: String,
    packages_text: String,
    overlay: overlay::Overlay,
    services: services::Services,
    epoch: u32,
}

/// What was unpacked for a root.
pub(crate) struct Unpacked {
    pub(crate) packages: Vec<Package>,
    pub(crate) payload: Vec<Package>,
    pub(crate) firmware: Vec<Package>,
}

impl<'a> Recipe<'a> {
    /// Reads what lies in the workspace, and builds our programs.
    pub(crate) fn read(workshop: &'a Workshop, board: &'a Board, steps: &mut Steps) -> anyhow::Result<Self> {
        let services = steps.run("services", || services::build(workshop))?;
        let [root_text, packages_text] =
            [workshop.base_text("root.toml")?, workshop.base_text("packages.toml")?];
        let epoch = epoch(workshop, board)?;
        let overlay = overlay::read(&workshop.workspace.join("image-overlay"), epoch)?;
        Ok(Self { workshop, board, root_text, packages_text, overlay, services, epoch })
    }

    /// Fetches and unpacks the packages.
    pub(crate) fn unpack(&self, steps: &mut Steps) -> anyhow::Result<Unpacked> {
        let Workshop { archives, lock, .. } = self.workshop;
        steps.run("fetch", || self.workshop.fetch(&sets(self.board)))?;
        steps.run("unpack", || {
            let mut packages = Vec::new();
            for set in root_sets(self.board) {
                packages.extend(archives.packages(lock, set)?);
            }
            let payload = archives.packages(lock, PAYLOAD_SET)?;
            let mut firmware = Vec::new();
            for set in boot_sets(self.board) {
                firmware.extend(archives.packages(lock, set)?);
            }
            Ok(Unpacked { packages, payload, firmware })
        })
    }

    fn make(&self, parent: &Path, folder: &Path, steps: &mut Steps) -> anyhow::Result<Facts> {
        let unpacked = self.unpack(steps)?;
        let root = steps.run("root", || self.assemble(&unpacked))?;
        for module in root.modules.lacking() {
            eprintln!("warning: the kernel {} has nothing of {module}; passed over", root.kernel_release);
        }

        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        let work =
            tempfile::tempdir_in(parent).with_context(|| format!("cannot write in {}", parent.display()))?;
        let squashfs = work.path().join(SQUASHFS);
        // gzip packs the kernel on one processor alone; the others have the squashfs.
        let (boot, written) = steps.run("kernel, initrd and squashfs", || {
            let stock = stock::of(parent);
            Ok::<_, Infallible>(rayon::join(
                || self.boot_files(&root, &unpacked.firmware, &stock),
                || write_squashfs(&root, &squashfs, &stock, self.epoch),
            ))
        })?;
        let (boot, kernel_pieces) = boot?;
        for (name, index) in [(KERNEL_PIECES, kernel_pieces), (SQUASHFS_PIECES, written?)] {
            files::write(&work.path().join(name), index.encode())?;
        }

        steps.run("inventory", || {
            let mut manifest = manifest::HEADER.to_owned();
            manifest.push_str(&bill::boot_manifest(&boot, self.board, &unpacked.packages));
            manifest.push_str(&manifest::tree("root", &root.tree, &root.owners));
            files::write(&work.path().join(MANIFEST), manifest)?;
            let bill = bill::of(self.workshop, self.board, &unpacked, &self.services, self.epoch)?;
            files::write(&work.path().join(BILL), bill)
        })?;
        let facts = steps.run("digests", || {
            let mut boot_hash = Sha256::new();
            for (name, content) in &boot {
                files::write(&work.path().join(BOOT).join(name), content)?;
                boot_hash.update(name);
                boot_hash.update([0]);
                boot_hash.update((content.len() as u64).to_le_bytes());
                boot_hash.update(content);
            }
            let (squashfs_sha256, squashfs_bytes) = Digest::of_file(&squashfs)?;
            anyhow::Ok(Facts {
                squashfs_sha256: squashfs_sha256.to_string(),
                boot_sha256: hex(&boot_hash.finalize()),
                squashfs_bytes,
                boot_bytes: boot.iter().map(|(_, content)| content.len() as u64).sum(),
                payload_bytes: payload_bytes(&squashfs)?,
                kernel_release: root.kernel_release.clone(),
                epoch: self.epoch,
            })
        })?;
        files::write(&work.path().join("facts.json"), serde_json::to_vec_pretty(&facts)?)?;
        match fs::rename(work.path(), folder) {
            // Another builder was faster. It made the same.
            Err(_) if folder.join("facts.json").is_file() => {}
            renamed => renamed.with_context(|| format!("cannot name {}", folder.display()))?,
        }
        Ok(facts)
    }

    /// The base's rules, checked.
    pub(crate) fn spec(&self) -> anyhow::Result<Spec> {
        Ok(Spec::parse(&self.root_text, &self.packages_text)?)
    }

    /// The finished root as a value.
    pub(crate) fn assemble(&self, unpacked: &Unpacked) -> anyhow::Result<Root> {
        let spec = self.spec()?;
        let Modules { keep, initrd, may_lack, .. } = &self.board.modules;
        let mut services = Vec::new();
        for (path, content) in &self.services.programs {
            services.push((TreePath::parse(path)?, content.clone(), 0o755));
        }
        services.push((TreePath::parse(BOARD)?, format!("{}\n", self.board.name).into(), 0o644));
        Ok(pilotlight_rootfs::build(&Inputs {
            packages: &unpacked.packages,
            payload: &unpacked.payload,
            spec: &spec,
            architecture: services::ARCHITECTURE,
            modules: Wanted { keep, initrd, may_lack: *may_lack },
            overlay: &self.overlay,
            services: &services,
            version: env!("CARGO_PKG_VERSION"),
            epoch: self.epoch,
        })?)
    }

    /// What lies at the top of the boot partition, and the pieces of the kernel.
    fn boot_files(
        &self,
        root: &Root,
        firmware: &[Package],
        stock: &Stock,
    ) -> anyhow::Result<(Vec<(String, Bytes)>, Index)> {
        let board = self.board;
        let mut files = vec![("config.txt".to_owned(), Bytes::from(board.boot.config.clone()))];
        for name in &board.firmware.files {
            let path = TreePath::parse(format!("{FIRMWARE}/{name}"))?;
            files
                .push((name.clone(), firmware_file(firmware, FIRMWARE_SET, &board.firmware.package, &path)?));
        }
        let base_name = |path: &String| path.rsplit('/').next().unwrap_or(path).to_owned();
        let device_trees = board.kernel.device_trees.iter().map(|path| (base_name(path), path.clone()));
        let overlays = board.kernel.overlays.iter().map(|name| format!("{OVERLAYS}/{name}.dtbo"));
        for (name, path) in device_trees.chain(overlays.map(|path| (path.clone(), path))) {
            let Some(content) = root.device_trees.get(&path) else {
                bail!("the kernel {} has no device tree {path}", root.kernel_release);
            };
            files.push((name, content.clone()));
        }
        let (kernel, initrd) = rayon::join(
            || stock::kernel(&root.kernel, board.kernel.compression, stock),
            || {
                pilotlight_rootfs::initrd::build(
                    &root.modules,
                    &board.modules.initrd,
                    &self.services.init,
                    self.epoch,
                )
            },
        );
        let (kernel, pieces) = kernel.context("cannot pack the kernel")?;
        let loader = &board.loader;
        let script = crate::loader::environment(loader, board.kernel.architecture);
        let loader = firmware_file(firmware, &loader.set, &loader.package, &TreePath::parse(&loader.file)?)?;
        files.extend([
            (KERNEL_ON_CARD.to_owned(), kernel),
            (INITRD_ON_CARD.to_owned(), initrd?.into()),
            (LOADER_ON_CARD.to_owned(), loader),
            (LOADER_SCRIPT_ON_CARD.to_owned(), script.into()),
        ]);
        files.sort_by(|one, other| one.0.cmp(&other.0));
        Ok((files, pieces))
    }
}

fn firmware_file(packages: &[Package], set: &str, package: &str, path: &TreePath) -> anyhow::Result<Bytes> {
    let found = packages.iter().find(|other| other.name == package);
    let node = found.and_then(|package| package.data.iter().find(|(other, _)| other == path));
    match node.map(|(_, node)| &node.kind) {
        Some(pilotlight_tree::Kind::File(content)) => Ok(content.clone()),
        _ => bail!("the package {package} of the set {set:?} has no file {path}"),
    }
}

/// Writes the file system of `root` to `path`, a new file.
pub(crate) fn write_squashfs(root: &Root, path: &Path, stock: &Stock, epoch: u32) -> anyhow::Result<Index> {
    let file = fs::File::create_new(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let (_, pieces) = squashfs::write(&root.tree, &squashfs::Options::new(epoch), stock, &mut out)
        .with_context(|| format!("cannot write the root file system {}", path.display()))?;
    Ok(pieces)
}

/// Bytes of the files for other machines, as stored in the squashfs at `path`.
fn payload_bytes(path: &Path) -> anyhow::Result<u64> {
    let image = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let usage = squashfs::usage(&image).with_context(|| format!("cannot use {}", path.display()))?;
    let folders = PAYLOAD.iter().map(TreePath::parse).collect::<Result<Vec<_>, _>>()?;
    let mut bytes = 0;
    for (path, file) in &usage.files {
        let path = TreePath::parse(path)?;
        if folders.iter().any(|folder| path.is_at_or_beneath(folder)) {
            bytes += file.stored;
        }
    }
    Ok(bytes)
}

/// The time that everything made here carries: when the newest was published of the releases that it is made of.
fn epoch(workshop: &Workshop, board: &Board) -> anyhow::Result<u32> {
    let newest = workshop
        .lock
        .published(&sets(board))
        .context("pilotlight.lock names no release with a date: run `cargo xtask lock --update`")?;
    u32::try_from(newest).context("pilotlight.lock has a release from before 1970 or after 2106")
}

/// What tells this builder from one with other code. A root made by other code is never taken for ours.
pub(crate) fn builder_identity() -> anyhow::Result<Vec<u8>> {
    use std::os::unix::fs::MetadataExt as _;
    // Not by its path: cargo may have put a newer program there while this one runs.
    let meta = fs::metadata("/proc/self/exe").context("cannot look at this very program in /proc")?;
    Ok(format!("{} {} {}", meta.len(), meta.mtime(), meta.mtime_nsec()).into_bytes())
}

fn roots(target: &Path) -> PathBuf {
    target.join("roots")
}

/// Has the next image make its root anew, out of the pieces of those in the folder `target`.
///
/// # Errors
/// A folder cannot be renamed.
pub fn pass_over(target: &Path) -> anyhow::Result<()> {
    let roots = roots(target);
    stock::pass_over(&roots).with_context(|| format!("cannot rename a folder in {}", roots.display()))
}

/// Removes every root.
pub(crate) fn forget(target: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(roots(target)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", roots(target).display()))
        }
        _ => Ok(()),
    }
}

/// Removes the oldest roots.
fn prune(parent: &Path, newest: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut old: Vec<_> = entries
        .filter(|entry| entry.path() != newest)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    old.sort();
    let count = old.len().saturating_sub(KEPT - 1);
    for (_, path) in old.into_iter().take(count) {
        let _ = fs::remove_dir_all(path);
    }
}
