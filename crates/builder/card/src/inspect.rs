//! Looking at a root instead of writing it to a card: what it spends, and how it differs from one made the usual way.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use bytes::Bytes;
use pilotlight_image::squashfs;
use pilotlight_inventory::spend::{self, Spend};
use pilotlight_rootfs::compare::{self, Reasons, Usual, Verdict};
use pilotlight_tree::TreePath;

use crate::{
    Workshop,
    clock::Steps,
    root::{self, PAYLOAD, Recipe, root_sets},
};

/// The base's table of differences from a root that was made the usual way.
pub const DIFFERENCES: &str = "differences.toml";

/// A package of the root as the lock names it, and where it lies in the cache.
#[derive(Debug, Clone)]
pub struct RootPackage {
    /// Its name, behind a colon its architecture unless that is `all`.
    pub name: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// Bytes of the .deb.
    pub size: u64,
    /// SHA-256 of the .deb in hex.
    pub sha256: String,
    /// The .deb.
    pub path: PathBuf,
    /// Its control file.
    pub control: String,
}

impl Workshop {
    /// The packages of a board's root, fetched.
    ///
    /// # Errors
    /// No such board; a package that no mirror gives, or that cannot be unpacked.
    pub fn root_packages(&self, board: &str) -> anyhow::Result<Vec<RootPackage>> {
        let (board, _) = self.board(board)?;
        self.fetch(&root_sets(&board))?;
        let mut packages = Vec::new();
        for set in root_sets(&board) {
            let locked = self.archives.locked(&self.lock, set)?;
            let unpacked = self.archives.packages(&self.lock, set)?;
            for (locked, package) in locked.iter().zip(&unpacked) {
                let control = package.control.get("control").map(|text| String::from_utf8_lossy(text));
                let all = locked.architecture == "all";
                packages.push(RootPackage {
                    name: if all { locked.name.clone() } else { locked.qualified() },
                    architecture: locked.architecture.clone(),
                    version: locked.version.clone(),
                    size: locked.size,
                    sha256: locked.sha256.to_string(),
                    path: self.archives.cache().object(&locked.sha256),
                    control: control.unwrap_or_default().into_owned(),
                });
            }
        }
        packages.sort_by(|one, other| one.name.cmp(&other.name));
        packages.dedup_by(|one, other| one.name == other.name);
        Ok(packages)
    }

    /// What the builder takes the place of in a board's root.
    ///
    /// # Errors
    /// No such board.
    pub fn root_provided(&self, board: &str) -> anyhow::Result<Vec<String>> {
        let (board, _) = self.board(board)?;
        let mut provided: Vec<String> =
            root_sets(&board).iter().filter_map(|set| self.archives.provided(set)).flatten().collect();
        // What one set has is no less there for another.
        for set in root_sets(&board) {
            let locked = self.archives.locked(&self.lock, set)?;
            provided.retain(|name| locked.iter().all(|package| package.name != *name));
        }
        provided.sort();
        provided.dedup();
        Ok(provided)
    }

    /// What the image of a board spends, by package and by file.
    ///
    /// # Errors
    /// As with [`Workshop::image`].
    pub fn spend(&self, board: &str) -> anyhow::Result<Spend> {
        let (board, text) = self.board(board)?;
        let mut steps = Steps::default();
        let finished = root::finish(self, &text, &board, &mut steps)?;
        let recipe = Recipe::read(self, &board, &mut steps)?;
        let unpacked = recipe.unpack(&mut steps)?;
        let root = recipe.assemble(&unpacked)?;

        let path = finished.root()?.path;
        let image = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let usage = squashfs::usage(&image).with_context(|| format!("cannot use {}", path.display()))?;
        let mut files = Vec::new();
        for (path, file) in &usage.files {
            files.push((TreePath::parse(path)?, file.content, file.stored));
        }
        let boot = finished.boot_files()?;
        let boot: Vec<(String, u64)> =
            boot.into_iter().map(|(name, content)| (name, content.len() as u64)).collect();
        let payload: Vec<TreePath> = PAYLOAD.iter().map(TreePath::parse).collect::<Result<_, _>>()?;
        let wishes: Vec<String> =
            root_sets(&board).iter().filter_map(|set| self.archives.wishes(set)).flatten().collect();
        Ok(spend::spend(&spend::Facts {
            packages: &unpacked.packages,
            wishes: &wishes,
            owners: &root.owners,
            files: &files,
            payload: &payload,
            tables: usage.tables,
            boot: &boot,
        }))
    }

    /// Compares the root of a board with the tar archive `usual` of one that was made the usual way from the same
    /// packages.
    ///
    /// # Errors
    /// An archive or a table of differences that is missing or wrong; else as with [`Workshop::image`].
    pub fn compare(&self, board: &str, usual: &Path) -> anyhow::Result<Verdict> {
        let (board, _) = self.board(board)?;
        let path = self.base_file(DIFFERENCES)?;
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let reasons = Reasons::parse(&text).with_context(|| format!("cannot use {}", path.display()))?;
        let archive = fs::read(usual).with_context(|| format!("cannot read {}", usual.display()))?;
        let usual = Usual::read(&Bytes::from(archive))?;
        let mut steps = Steps::default();
        let recipe = Recipe::read(self, &board, &mut steps)?;
        let root = recipe.assemble(&recipe.unpack(&mut steps)?)?;
        Ok(compare::compare(&usual, &root, &recipe.spec()?, &reasons)?)
    }

    /// The kernel's modules that are in the root of a board, as paths below `/usr/lib/modules/RELEASE/`.
    ///
    /// # Errors
    /// As with [`Workshop::image`].
    pub fn root_modules(&self, board: &str) -> anyhow::Result<Vec<String>> {
        let (board, _) = self.board(board)?;
        let mut steps = Steps::default();
        let recipe = Recipe::read(self, &board, &mut steps)?;
        let root = recipe.assemble(&recipe.unpack(&mut steps)?)?;
        Ok(root.modules.iter().map(|module| module.file.clone()).collect())
    }
}
