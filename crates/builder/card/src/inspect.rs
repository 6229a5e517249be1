//! Looking at a root instead of writing it to a card: what it spends, and how it differs from one made the usual way.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
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

/// A package as the lock names it, and where it lies in the cache.
#[derive(Debug, Clone)]
pub struct Installable {
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

/// All that it takes to install some sets the usual way.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Their packages, fetched, by name; what several sets have is there once.
    pub packages: Vec<Installable>,
    /// What they leave to the builder, and none of them has.
    pub provided: Vec<String>,
}

impl Workshop {
    /// The packages of some sets, to be installed together.
    ///
    /// # Errors
    /// A package that no mirror gives, that cannot be unpacked, or that two sets have in different versions.
    pub fn selection(&self, sets: &[String]) -> anyhow::Result<Selection> {
        self.fetch(&sets.iter().map(String::as_str).collect::<Vec<_>>())?;
        let mut packages: Vec<Installable> = Vec::new();
        let mut present = BTreeSet::new();
        for set in sets {
            let locked = self.archives.locked(&self.lock, set)?;
            let unpacked = self.archives.packages(&self.lock, set)?;
            for (locked, package) in locked.iter().zip(&unpacked) {
                let control = package.control.get("control").map(|text| String::from_utf8_lossy(text));
                let control = control.unwrap_or_default().into_owned();
                present.extend([locked.name.clone()].into_iter().chain(stands_for(&control)));
                let all = locked.architecture == "all";
                packages.push(Installable {
                    name: if all { locked.name.clone() } else { locked.qualified() },
                    architecture: locked.architecture.clone(),
                    version: locked.version.clone(),
                    size: locked.size,
                    sha256: locked.sha256.to_string(),
                    path: self.archives.cache().object(&locked.sha256),
                    control,
                });
            }
        }
        packages.sort_by(|one, other| one.name.cmp(&other.name));
        packages.dedup_by(|one, other| one.name == other.name && one.sha256 == other.sha256);
        for pair in packages.windows(2) {
            let [one, other] = pair else { continue };
            ensure!(
                one.name != other.name,
                "the sets {} have {} in two versions, {} and {}: no root can have both",
                sets.join(", "),
                one.name,
                one.version,
                other.version
            );
        }
        let wanted = sets.iter().filter_map(|set| self.archives.provided(set)).flatten();
        // What one set has is no less there for another.
        let provided: BTreeSet<String> = wanted.filter(|name| !present.contains(name)).collect();
        Ok(Selection { packages, provided: provided.into_iter().collect() })
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

/// The names that a package provides, by its control file (Debian Policy 7.5).
fn stands_for(control: &str) -> impl Iterator<Item = String> {
    let field = control.lines().find_map(|line| line.strip_prefix("Provides:")).unwrap_or_default();
    field.split(',').filter_map(|provided| Some(provided.split_whitespace().next()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_package_stands_for() {
        let names = |control: &str| stands_for(control).collect::<Vec<_>>();
        let control = "Package: a\nProvides: linux-initramfs-tool, httpd (= 1), x\nDescription: y\n";
        assert_eq!(names(control), ["linux-initramfs-tool", "httpd", "x"]);
        assert_eq!(names("Package: a\n"), [""; 0]);
    }
}
