//! What the image says about itself: the manifest beside it, and the package database in it, as scanners read it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use pilotlight_tests::{
    process::{must, run},
    surroundings::{self, Tools},
};
use sha2::{Digest as _, Sha256};

use crate::cut::{LIMIT, Root};

/// How many faults a failure shows.
const SHOWN: usize = 40;
/// Who owns what is made in place of maintainer scripts.
const MADE: &str = "made";

/// A line of the manifest: its keywords with their values.
type Line = BTreeMap<String, String>;

/// Every file and link on the card is in the manifest as it is, and nothing else is.
pub(crate) fn manifest() -> Result<()> {
    let image = surroundings::image()?;
    let mut lines = read_manifest(&image.with_extension("manifest"))?;
    let mut faults = Vec::new();
    let card = pilotlight_image::card::open(&image)?;
    let boot = card.boot()?;
    let mut count = 0;
    for entry in boot.list("")? {
        count += 1;
        let fault = differs(lines.remove(&format!("./boot/{}", entry.name)), &boot.read(&entry.name)?);
        faults.extend(fault.map(|fault| format!("/{} of the boot partition {fault}", entry.name)));
    }
    let root = Root::unpack()?;
    for path in files(&root.tree)? {
        count += 1;
        let place = path.strip_prefix(&root.tree)?.display().to_string();
        let line = lines.remove(&format!("./root/{}", vis(&place)));
        let fault = match fs::read_link(&path) {
            Ok(target) => {
                let target = vis(&target.display().to_string());
                let said = line.as_ref().and_then(|line| line.get("link"));
                (said != Some(&target)).then(|| format!("points to {target}, the manifest says {said:?}"))
            }
            Err(_) => differs(line, &fs::read(&path)?),
        };
        faults.extend(fault.map(|fault| format!("/{place} {fault}")));
    }
    lines.retain(|_, line| line.get("type").is_none_or(|kind| kind != "dir"));
    faults.extend(lines.keys().map(|path| format!("{path} is not on the card")));
    println!("{count} files and links");
    ensure!(count > 3000, "only {count} files are on the card");
    ensure!(faults.is_empty(), "{}:\n{}", faults.len(), faults[..faults.len().min(SHOWN)].join("\n"));
    Ok(())
}

/// What is wrong with a file's line, if anything.
fn differs(line: Option<Line>, content: &[u8]) -> Option<String> {
    let Some(line) = line else { return Some("is not in the manifest".to_owned()) };
    let digest = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let said = (line.get("sha256digest"), line.get("size"), line.contains_key("tags"));
    (said != (Some(&digest), Some(&content.len().to_string()), true))
        .then(|| format!("has {} bytes and the digest {digest}, the manifest says {line:?}", content.len()))
}

fn read_manifest(path: &Path) -> Result<BTreeMap<String, Line>> {
    let text = fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    let mut lines = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let name = words.next().context("an empty line")?.to_owned();
        let pairs = words.filter_map(|word| word.split_once('='));
        let line = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        ensure!(lines.insert(name.clone(), line).is_none(), "{name} is in the manifest twice");
    }
    Ok(lines)
}

/// A name as mtree(5) has it, of those that packages give.
fn vis(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'\\' | b'#' | b'=' | b'*' | b'?' | b'[' | 0..=b' ' | 0x7f.. => text += &format!("\\{byte:03o}"),
            plain => text.push(char::from(plain)),
        }
    }
    text
}

/// All files and links beneath a folder.
fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    Ok(found)
}

/// The database names every package with a version and what belongs to it, and every file that came out of one; dpkg
/// finds it whole, and all files as they were shipped.
pub(crate) fn database() -> Result<()> {
    let root = Root::unpack()?;
    let folder = root.tree.join("var/lib/dpkg");
    let status = fs::read_to_string(folder.join("status"))?;
    let (mut count, mut listed) = (0, BTreeSet::new());
    for paragraph in status.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let field =
            |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let (Some(name), Some(architecture), Some(_)) =
            (field("Package"), field("Architecture"), field("Version"))
        else {
            bail!("a package without a name, an architecture or a version:\n{paragraph}")
        };
        ensure!(field("Status") == Some("install ok installed"), "{name}: {:?}", field("Status"));
        let same = field("Multi-Arch") == Some("same");
        let stem = if same { format!("{name}:{architecture}") } else { name.to_owned() };
        let list = fs::read_to_string(folder.join(format!("info/{stem}.list")))
            .with_context(|| format!("{stem} has no list of files"))?;
        for path in list.lines() {
            ensure!(
                fs::symlink_metadata(root.tree.join(path.trim_start_matches('/'))).is_ok(),
                "{path} of {stem} is not in the root"
            );
            listed.insert(merged(path));
        }
        count += 1;
    }
    println!("{count} packages, {} paths", listed.len());
    ensure!(count > 80, "only {count} packages are in the database");
    every_package_file_is_listed(&listed)?;

    let query = |arguments: &[&str]| -> Result<String> {
        let mut query = Tools::checkers()?.command("dpkg-query")?;
        query.arg("--admindir").arg(&folder).args(arguments);
        Ok(must(&mut query, LIMIT)?.text)
    };
    let shown = query(&["--show", "--showformat", "${db:Status-Abbrev}\n"])?;
    let whole = shown.lines().filter(|line| line.trim() == "ii").count();
    ensure!((whole, shown.lines().count()) == (count, count), "dpkg-query has {whole} of {count}:\n{shown}");
    let owner = query(&["--search", "/usr/bin/stat"])?;
    ensure!(owner.trim() == "coreutils:armhf: /usr/bin/stat", "{owner}");

    let mut verify = Tools::checkers()?.command("dpkg")?;
    verify.arg("--root").arg(&root.tree).arg("--verify");
    let said = run(&mut verify, LIMIT)?;
    ensure!(said.status.success() && said.text.is_empty(), "dpkg --verify: {}\n{}", said.status, said.text);
    // It can speak.
    fs::write(root.tree.join("usr/bin/stat"), "another")?;
    let said = run(&mut verify, LIMIT)?;
    ensure!(said.text.trim() == "??5??????   /usr/bin/stat", "dpkg --verify: {}", said.text);
    Ok(())
}

/// What the manifest gives to a package is in some package's list.
fn every_package_file_is_listed(listed: &BTreeSet<String>) -> Result<()> {
    let manifest = read_manifest(&surroundings::image()?.with_extension("manifest"))?;
    let owned = manifest.iter().filter_map(|(path, line)| {
        let owner = line.get("tags").filter(|owner| *owner != MADE)?;
        Some((path.strip_prefix("./root")?, owner))
    });
    let missing: Vec<String> = owned
        .filter(|(path, _)| !listed.contains(*path) && !path.contains('\\'))
        .map(|(path, owner)| format!("{path} of {owner}"))
        .collect();
    ensure!(missing.is_empty(), "in no package's list: {}", missing[..missing.len().min(SHOWN)].join(", "));
    Ok(())
}

/// Where a path is behind the links of the merged /usr.
fn merged(path: &str) -> String {
    let moved = ["/bin/", "/sbin/", "/lib/"].iter().any(|top| path.starts_with(top));
    format!("{}{path}", if moved { "/usr" } else { "" })
}
