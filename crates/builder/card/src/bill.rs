//! What is told about a card beside it: who made what of its files, and its bill of materials.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use pilotlight_board::Board;
use pilotlight_inventory::{
    bom::{self, Crate, Deb, Handed, HandedDeb, HandedFile, Part},
    manifest,
};
use pilotlight_lab::System;
use pilotlight_mirror::{Lock, LockedFile};
use pilotlight_tree::{Bytes, Package};
use serde::Deserialize;

use crate::{
    NodeImage, NodeKind, Toolset, Workshop, files,
    root::{Finished, Unpacked, boot_sets, root_sets},
    services::Services,
};

/// The part of Cargo.lock that says where crates come from.
#[derive(Deserialize)]
struct CargoLock {
    package: Vec<CargoPackage>,
}

#[derive(Deserialize)]
struct CargoPackage {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The bill of materials of a board's image.
pub(crate) fn of(
    workshop: &Workshop,
    board: &Board,
    unpacked: &Unpacked,
    services: &Services,
    time: u32,
) -> anyhow::Result<String> {
    let parts: [(&[&str], Part, &[Package]); 4] = [
        (&root_sets(board), Part::Root, &unpacked.packages),
        (&["payload"], Part::Payload, &unpacked.payload),
        (&boot_sets(board), Part::Firmware, &unpacked.firmware),
        (&[Toolset::Toolchain.set()], Part::Linked, &services.libraries),
    ];
    let mut debs = Vec::new();
    for (sets, part, packages) in parts {
        let mut locked = Vec::new();
        for set in sets {
            locked.extend(workshop.archives.locked(&workshop.lock, set)?);
        }
        for package in packages {
            let same = locked.iter().find(|locked| {
                (&locked.name, &locked.architecture) == (&package.name, &package.architecture)
            });
            let locked = same.with_context(|| format!("the lock has no {}", package.name))?;
            // `debian-security` is Debian's, too.
            let vendor = locked.origin.archive.split('-').next().unwrap_or_default().to_owned();
            debs.push(Deb { package, part, vendor, sha256: locked.sha256.to_string() });
        }
    }
    let name = format!("Pilotlight for {}", board.title);
    let crates = checked(workshop, &services.crates)?;
    Ok(bom::cyclonedx(&bom::Image { name: &name, version: env!("CARGO_PKG_VERSION"), time, debs, crates }))
}

/// The crates with their digests from Cargo.lock.
fn checked(workshop: &Workshop, crates: &[(String, String)]) -> anyhow::Result<Vec<Crate>> {
    let path = workshop.workspace.join("Cargo.lock");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lock: CargoLock =
        toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))?;
    let digests: BTreeMap<(&str, &str), &Option<String>> =
        lock.package.iter().map(|one| ((one.name.as_str(), one.version.as_str()), &one.checksum)).collect();
    let known = |(name, version): &(String, String)| {
        let sha256 = digests.get(&(name.as_str(), version.as_str()));
        let sha256 = (*sha256.with_context(|| format!("Cargo.lock has no {name} {version}"))?).clone();
        Ok(Crate { name: name.clone(), version: version.clone(), sha256 })
    };
    crates.iter().map(known).collect()
}

/// The boot partition's lines of the manifest.
pub(crate) fn boot_manifest(boot: &[(String, Bytes)], board: &Board, packages: &[Package]) -> String {
    let brings_kernel = |package: &&Package| {
        package.data.iter().any(|(path, _)| pilotlight_rootfs::kernel_release(path).is_some())
    };
    let kernel = packages.iter().find(brings_kernel).map_or(manifest::MADE, |package| package.name.as_str());
    let line = |(name, content): &(String, Bytes)| {
        let owner = match name.as_str() {
            name if board.firmware.files.iter().any(|file| file == name) => board.firmware.package.as_str(),
            name if name == "vmlinuz" || name.ends_with(".dtb") || name.ends_with(".dtbo") => kernel,
            _ => manifest::MADE,
        };
        manifest::file(&format!("boot/{name}"), content, 0o644, owner)
    };
    boot.iter().map(line).collect()
}

/// What lies on the data partition for other machines; `images` are those of it that the builder made of packages.
pub(crate) fn handed(workshop: &Workshop, shelf: &Lock, images: &[NodeImage]) -> anyhow::Result<Vec<Handed>> {
    let file = |file: &LockedFile| HandedFile {
        path: file.path.clone(),
        url: file.url.clone(),
        sha256: file.sha256.to_string(),
    };
    let mut handed = Vec::new();
    for release in &shelf.releases {
        let made = images
            .iter()
            .find(|image| release.system == System::DebianRam && image.made.version == release.version);
        let debs = made.map(|image| packages(workshop, image.kind)).transpose()?;
        handed.push(Handed {
            kind: "operating-system",
            folder: release.folder(),
            name: release.system.title().to_owned(),
            version: release.version.clone(),
            files: release.files.iter().map(file).collect(),
            debs: debs.unwrap_or_default(),
        });
    }
    let mut other = |kind, name: &str, files: Vec<HandedFile>| {
        let (folder, name) = (name.to_owned(), name.to_owned());
        handed.push(Handed { kind, folder, name, version: String::new(), files, debs: Vec::new() });
    };
    shelf.images.iter().for_each(|image| {
        other("container", &image.name, image.files.iter().map(file).collect());
    });
    shelf.files.iter().for_each(|one| other("file", &one.path, vec![file(one)]));
    Ok(handed)
}

/// The packages that a system is made of.
fn packages(workshop: &Workshop, kind: NodeKind) -> anyhow::Result<Vec<HandedDeb>> {
    let mut debs = Vec::new();
    for set in kind.sets() {
        debs.extend(workshop.archives.locked(&workshop.lock, &set)?.iter().map(|package| HandedDeb {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            sha256: package.sha256.to_string(),
        }));
    }
    Ok(debs)
}

/// Writes the manifest and the bill of materials beside the image. `own` are the files that depend on the lab, `handed` is what
/// the data partition has.
pub(crate) fn beside(
    image: &Path,
    finished: &Finished,
    own: &[(String, Bytes)],
    handed: &[Handed],
) -> anyhow::Result<(PathBuf, PathBuf)> {
    let read = |path: PathBuf| fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    let mut manifest = read(finished.manifest())?;
    for (name, content) in own {
        let line = manifest::file(&format!("boot/{name}"), content, 0o644, manifest::MADE);
        manifest.extend_from_slice(line.as_bytes());
    }
    let bill = read(finished.bill())?;
    let bill = bom::with_handed(&String::from_utf8_lossy(&bill), handed);
    let bill = bill.with_context(|| format!("cannot understand {}", finished.bill().display()))?.into_bytes();
    let put = |ending: &str, content: Vec<u8>| {
        let path = image.with_extension(ending);
        files::replace(&path, content)?;
        anyhow::Ok(path)
    };
    Ok((put("manifest", manifest)?, put("cdx.json", bill)?))
}
