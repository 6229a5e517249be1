//! The whole way from board, base and lab to a card.
//!
//! ```text
//! lock ─ fetch ─ unpack ─ root ─ squashfs ─┐
//! sources ─ services ─────┘                ├─ card
//! board, lab ─ boot partition ─────────────┘
//! ```
//! A [`Workshop`] holds what every verb of the builder needs; [`Workshop::image`] makes a card. What each step
//! does lives in the crates that do it: this one only calls them in order, keeps what need not be made again,
//! and says how long each took.

mod bill;
mod clock;
mod data;
mod files;
mod inspect;
mod litter;
mod loader;
mod mirror;
mod node;
mod root;
mod services;
mod stock;
mod workshop;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
pub use clock::Step;
use clock::Steps;
pub use inspect::{DIFFERENCES, Installable, Selection};
pub use mirror::{Mirrored, lab_lock, read_lab_lock};
pub use node::{NodeFiles, NodeImage, NodeKind};
pub use pilotlight_archive::{GoneFile, Review, Update, Wish, day};
use pilotlight_board::MODULE_GROUPS;
pub use pilotlight_board::{Architecture, Board};
use pilotlight_disk::{Params, Slot, layout};
use pilotlight_image::{
    Blob, Content, Sparse,
    card::{self, CardParts, Summary},
    ext4, fat,
};
pub use pilotlight_inventory::spend;
use pilotlight_lab::{Lab, paths};
use pilotlight_mirror::Lock;
pub use pilotlight_rootfs::compare::Verdict;
use pilotlight_tree::{Kind, Meta, Node, Tree, TreePath};
pub use root::pass_over as pass_over_roots;
pub use workshop::{BASE, Changes, Settings, Toolset, Workshop, check_lock, gone, lock_path, relock, review};

/// What card to make.
#[derive(Debug, Clone)]
pub struct ImageRequest {
    /// The board: a file of `boards/` without its ending.
    pub board: String,
    /// The lab to put on the card; none is the default one.
    pub lab: Option<PathBuf>,
    /// Where to write the image; none is `target/images/pilotlight-BOARD.img`.
    pub out: Option<PathBuf>,
    /// Whether to work out the SHA-256 of the whole file, holes included, too.
    pub sha256: bool,
}

impl ImageRequest {
    /// The card of a board with the default lab at the usual place.
    pub fn board(name: &str) -> Self {
        Self { board: name.to_owned(), lab: None, out: None, sha256: false }
    }
}

/// What system to make for a card that is in use.
#[derive(Debug, Clone)]
pub struct SlotRequest {
    /// The board: a file of `boards/` without its ending.
    pub board: String,
    /// The lab to put on its boot partition; it has been checked.
    pub lab: String,
    /// The card's disk signature.
    pub signature: u32,
    /// The slot that it is for.
    pub slot: Slot,
}

/// A system for a slot.
#[derive(Debug, Clone)]
pub struct SlotImage {
    /// Its boot partition.
    pub boot: Sparse,
    /// Its root.
    pub root: Blob,
}

/// A card that was made.
#[derive(Debug, Clone)]
pub struct Report {
    /// The image.
    pub image: PathBuf,
    /// What was written.
    pub summary: Summary,
    /// The manifest beside it: every file of the root and of the boot partition.
    pub manifest: PathBuf,
    /// The bill of materials beside it, in CycloneDX.
    pub bill: PathBuf,
    /// Bytes of firmware, kernel, initrd and device trees.
    pub boot_bytes: u64,
    /// Bytes of the root, what it hands to other machines included.
    pub root_bytes: u64,
    /// Bytes of what is handed to other machines, as stored in the root.
    pub payload_bytes: u64,
    /// `uname -r` of the kernel.
    pub kernel_release: String,
    /// Seconds since 1970 that everything on the card carries: when the lock was made.
    pub epoch: u32,
    /// The systems for the lab's nodes that are on its data partition.
    pub node_images: Vec<NodeImage>,
    /// What other projects released that is there, too.
    pub mirrored: Lock,
    /// What the lab wants and the card does not bring, in words.
    pub lacking: Vec<String>,
    /// How long each step took, in their order.
    pub steps: Vec<Step>,
}

/// A lab that cannot go onto a card: all its mistakes, ready to be shown.
#[derive(Debug, thiserror::Error)]
#[error("the lab {name} has {} to put right", count(problems))]
pub struct BadLab {
    /// The file.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What is wrong with it.
    pub problems: pilotlight_lab::Problems,
}

fn count(problems: &pilotlight_lab::Problems) -> String {
    match problems.count() {
        1 => "one mistake".to_owned(),
        count => format!("{count} mistakes"),
    }
}

impl Workshop {
    /// The names of all boards, sorted.
    ///
    /// # Errors
    /// The folder `boards` cannot be read.
    pub fn boards(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.workspace.join("boards");
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
            if path.extension().is_some_and(|ending| ending == "toml") {
                names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// The board `name`, and the texts that it was read from.
    ///
    /// # Errors
    /// There is no such board, or its file is wrong.
    pub fn board(&self, name: &str) -> anyhow::Result<(Board, String)> {
        self.board_with_base(name, &self.base)
    }

    /// The same with another base.
    ///
    /// # Errors
    /// As of [`Workshop::board`].
    pub fn board_with_base(&self, name: &str, base: &str) -> anyhow::Result<(Board, String)> {
        let known = self.boards()?;
        if !known.iter().any(|other| other == name) {
            return Err(Board::unknown(name, &known).into());
        }
        let path = self.workspace.join("boards").join(format!("{name}.toml"));
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = self.workspace.join("boards").join(MODULE_GROUPS);
        let groups = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((Board::parse(name, &text, &groups, base)?, text + &groups))
    }

    /// The sets of packages that the image of a board is made with: what is on it, and what compiles for it.
    pub fn sets(&self, board: &Board) -> Vec<String> {
        root::sets(board).into_iter().chain([Toolset::Toolchain.set()]).map(str::to_owned).collect()
    }

    /// Those of them whose packages are installed in its root.
    pub fn root_sets(&self, board: &Board) -> Vec<String> {
        root::root_sets(board).map(str::to_owned).to_vec()
    }

    /// What files about a board are called: by its name, and by the base where that is not the usual one.
    pub fn stem(&self, board: &str) -> String {
        match self.base.as_str() {
            BASE => format!("pilotlight-{board}"),
            other => format!("pilotlight-{board}-{other}"),
        }
    }

    /// Where the image of a board lies unless told otherwise.
    pub fn image_path(&self, board: &str) -> PathBuf {
        self.target().join("images").join(format!("{}.img", self.stem(board)))
    }

    /// The lab that every image brings along.
    pub fn default_lab(&self) -> PathBuf {
        self.workspace.join("image-overlay").join(paths::DEFAULT_LAB.trim_start_matches('/'))
    }

    /// Forgets every root that was made, with all its pieces.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn forget_roots(&self) -> anyhow::Result<()> {
        root::forget(&self.target())
    }

    /// Forgets what was unpacked from packages; what was fetched stays.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn forget_unpacked(&self) -> anyhow::Result<()> {
        Ok(self.archives.cache().forget_unpacked()?)
    }

    /// Forgets what was unpacked from the package `name` of the root.
    ///
    /// # Errors
    /// The root has no such package, or its file cannot be removed.
    pub fn forget_package(&self, name: &str) -> anyhow::Result<()> {
        let packages = self.archives.locked(&self.lock, "root")?;
        let package = packages.iter().find(|package| package.name == name);
        let package = package.with_context(|| format!("the root has no package {name}"))?;
        Ok(self.archives.cache().forget_package(&package.sha256)?)
    }

    /// Compiles the Pi's programs and tells of nothing but faults: for whoever will want an image soon, and has time now.
    ///
    /// # Errors
    /// They cannot be compiled; the next [`Workshop::image`] finds that, too.
    pub fn compile_ahead(&self) -> anyhow::Result<()> {
        services::built(self, services::Said::Faults).map(drop)
    }

    /// Makes a card.
    ///
    /// # Errors
    /// Anything that stands in the way, named once. Nothing half-written is ever left at the image's path.
    pub fn image(&self, request: &ImageRequest) -> anyhow::Result<Report> {
        let (board, board_text) = self.board(&request.board)?;
        let (lab_path, lab, lab_text) = self.lab(request.lab.as_deref())?;
        let out = request.out.clone().unwrap_or_else(|| self.image_path(&request.board));
        if out.is_dir() {
            bail!("cannot write the image {}: it is a folder", out.display());
        }
        if let Some(parent) = out.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make the folder {}", parent.display()))?;
        }
        let (unpacked, half_made) = self.archives.cache().half_made();
        litter::sweep(&unpacked, half_made);
        let mut steps = Steps::default();
        let finished = root::finish(self, &board_text, &board, &mut steps)?;
        let node_images = self.node_images(&lab)?;
        let (mirrored, lacking) = self.mirrored(&lab_path, &lab)?;
        let start = Instant::now();
        let params = Params { disk: finished.identity()?.signature, slot: Slot::A };
        let own = own_files(&board, params, lab_text);
        let shelf = data::shelf(&node_images, &mirrored)?;
        let contents = data::contents(&shelf, &node_images, self.archives.cache())?;
        let data = data::tree(&shelf, contents, finished.facts.epoch)?;
        let parts = parts(&finished, params.slot, &own, &data)?;
        let summary = card::write(&out, &parts, request.sha256)?;
        let (manifest, bill) =
            bill::beside(&out, &finished, &own, &bill::handed(self, &shelf, &node_images)?)?;
        steps.note("card", start.elapsed(), "");
        Ok(Report {
            image: out,
            summary,
            manifest,
            bill,
            boot_bytes: finished.facts.boot_bytes,
            root_bytes: finished.facts.squashfs_bytes,
            payload_bytes: finished.facts.payload_bytes,
            kernel_release: finished.facts.kernel_release,
            epoch: finished.facts.epoch,
            node_images,
            mirrored,
            lacking,
            steps: steps.into_inner(),
        })
    }

    /// What a lab's Pi is to have for its machines, made and mirrored: the lock, and each file's bytes by its path.
    ///
    /// # Errors
    /// Anything that stands in the way, named once.
    pub fn shelf(&self, lab: Option<&Path>) -> anyhow::Result<(Lock, BTreeMap<String, Bytes>)> {
        let (path, lab, _) = self.lab(lab)?;
        let images = self.node_images(&lab)?;
        let (mirrored, _) = self.mirrored(&path, &lab)?;
        let shelf = data::shelf(&images, &mirrored)?;
        let contents = data::contents(&shelf, &images, self.archives.cache())?;
        Ok((shelf, contents))
    }

    /// The systems that the builder makes for a lab's machines.
    fn node_images(&self, lab: &Lab) -> anyhow::Result<Vec<NodeImage>> {
        data::wanted_kinds(lab).into_iter().map(|kind| self.node_image(kind, None)).collect()
    }

    /// Makes a system for one slot of a card that is in use, to be sent to it.
    ///
    /// # Errors
    /// Anything that stands in the way, named once.
    pub fn slot(&self, request: &SlotRequest) -> anyhow::Result<SlotImage> {
        let (board, board_text) = self.board(&request.board)?;
        let finished = root::finish(self, &board_text, &board, &mut Steps::default())?;
        let root = finished.root()?;
        let identity = finished.identity()?;
        let params = Params { disk: request.signature, slot: request.slot };
        let lab = Bytes::from(request.lab.clone());
        let own = own_files(&board, params, lab);
        Ok(SlotImage { boot: boot_partition(&finished, params.slot, &own, identity.volume_id)?, root })
    }

    /// The lab, its file and its text: only a lab that the Pi will take goes onto a card.
    fn lab(&self, path: Option<&Path>) -> anyhow::Result<(PathBuf, Lab, Bytes)> {
        let default = self.default_lab();
        let path = path.unwrap_or(&default);
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read the lab {}", path.display()))?;
        match pilotlight_lab::parse(&text) {
            Ok(lab) => Ok((path.to_owned(), lab, text.into())),
            Err(problems) => bail!(BadLab { name: path.display().to_string(), text, problems }),
        }
    }
}

/// Everything in its place, nothing written yet.
fn parts(
    finished: &root::Finished,
    slot: Slot,
    own: &[(String, Bytes)],
    data: &Tree,
) -> anyhow::Result<CardParts> {
    let identity = finished.identity()?;
    let boot = boot_partition(finished, slot, own, identity.volume_id)?;
    let epoch = finished.facts.epoch;
    let data = ext4::write(
        data,
        &ext4::Options {
            len: data::length(data),
            label: layout::DATA_LABEL.to_owned(),
            uuid: identity.data_uuid,
            time: epoch,
        },
    )?;
    let root = Content::File(finished.root()?);
    Ok(CardParts { signature: identity.signature, slot, boot, root, data })
}

/// The boot partition's files that depend on more than the root: on the lab, the card and the slot.
fn own_files(board: &Board, params: Params, lab: Bytes) -> [(String, Bytes); 2] {
    let command_line = board.command_line(&params.disk_hex(), params.slot.name());
    [("cmdline.txt".to_owned(), command_line.into()), (paths::LAB_ON_CARD.to_owned(), lab)]
}

/// The boot partition of a slot, with those of its files that depend on more than the root.
fn boot_partition(
    finished: &root::Finished,
    slot: Slot,
    own: &[(String, Bytes)],
    volume_id: u32,
) -> anyhow::Result<Sparse> {
    let epoch = finished.facts.epoch;
    let mut boot = Tree::new(Meta::root(0o755, epoch));
    for (name, content) in finished.boot_files()?.into_iter().chain(own.iter().cloned()) {
        let path = TreePath::parse(&name)?;
        if let Some(folder) = path.parent().filter(|folder| boot.get(folder).is_none()) {
            boot.insert(folder, Node { meta: Meta::root(0o755, epoch), kind: Kind::Directory });
        }
        boot.insert(path, Node { meta: Meta::root(0o644, epoch), kind: Kind::File(content) });
    }
    let place = slot.boot();
    let label = layout::BOOT_LABEL.to_owned();
    let options = fat::Options { len: place.len, start: place.start, label, volume_id, time: epoch };
    Ok(fat::write(&boot, &options)?)
}

/// Bytes as lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
