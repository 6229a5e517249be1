//! Every file that a package ships is in the root with its content, mode and owner, except what `root.toml` leaves
//! out or replaces with a reason.

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use pilotlight_card::{Settings, Workshop};
use pilotlight_rootfs::{DATABASE, Glob};
use pilotlight_tests::{
    process::{must, run},
    surroundings::{self, Tools, checkout},
};
use pilotlight_tree::{Kind, Node, Package, TreePath};
use toml::{Table, Value};

use crate::cut::{LIMIT, Root};

/// How many differences a failure shows.
const SHOWN: usize = 40;

/// One entry of the root, as `unsquashfs` lists it.
struct Entry {
    /// Such as `drwxr-xr-x`.
    mode: String,
    owner: String,
    link: Option<String>,
}

/// What is in the root and what may be missing or different there.
struct Expectations {
    entries: BTreeMap<String, Entry>,
    rules: Rules,
}

/// The exceptions: each has its reason in `root.toml`, in `packages.toml` or in the board's file.
struct Rules {
    left_out: Vec<(Vec<Glob>, Vec<Glob>)>,
    replaced: Vec<Glob>,
    owners: Vec<String>,
    /// Where a script, or what stands in for it, puts a link in place of a package's empty folder.
    links: BTreeMap<String, String>,
    /// Prefixes of modules that stay, below `kernel/`.
    kept_modules: Vec<String>,
}

impl Rules {
    fn read() -> Result<Self> {
        let read = |path: &str| {
            let path = checkout().join(path);
            fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
        };
        let spec = format!("{}\n{}", read("bases/debian/root.toml")?, read("bases/debian/packages.toml")?);
        let spec: Table = spec.parse()?;
        let board = surroundings::board(surroundings::BOARD)?;
        let scripts = spec.get("scripts").and_then(Value::as_table).into_iter().flat_map(Table::values);
        let steps: Vec<&Table> = scripts.chain(list(&spec, "step")).filter_map(Value::as_table).collect();
        Ok(Self {
            left_out: tables(&spec, "leave-out")
                .map(|rule| (globs(rule, "paths"), globs(rule, "except")))
                .collect(),
            replaced: tables(&spec, "replaced")
                .filter_map(|rule| text(rule, "path"))
                .map(Glob::path)
                .collect(),
            links: steps
                .iter()
                .flat_map(|step| tables(step, "links"))
                .filter_map(|link| Some((text(link, "path")?.to_owned(), text(link, "target")?.to_owned())))
                .collect(),
            owners: steps
                .iter()
                .flat_map(|step| tables(step, "owners"))
                .filter_map(|owner| text(owner, "path").map(str::to_owned))
                .collect(),
            kept_modules: board.modules.keep,
        })
    }

    fn may_be_missing(&self, path: &TreePath) -> bool {
        let any = |globs: &[Glob]| globs.iter().any(|glob| glob.matches_path(path));
        let text = path.to_string();
        let module = text.split_once("/kernel/").filter(|_| text.starts_with("/usr/lib/modules/"));
        let dropped = module
            .is_some_and(|(_, below)| !self.kept_modules.iter().any(|kept| below.starts_with(kept.as_str())));
        dropped || self.left_out.iter().any(|(paths, except)| any(paths) && !any(except))
    }

    fn may_differ(&self, path: &TreePath) -> bool {
        self.replaced.iter().any(|glob| glob.matches_path(path))
    }

    fn may_have_another_owner(&self, path: &str) -> bool {
        self.owners.iter().any(|owned| owned == path)
    }
}

fn list<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a Value> {
    table.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn tables<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a Table> {
    list(table, key).filter_map(Value::as_table)
}

fn text<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key).and_then(Value::as_str)
}

fn globs(table: &Table, key: &str) -> Vec<Glob> {
    list(table, key).filter_map(Value::as_str).map(Glob::path).collect()
}

impl Expectations {
    fn read(root: &Root) -> Result<Self> {
        let mut listing = Tools::checkers()?.command("unsquashfs")?;
        listing.args(["-no-progress", "-lln", "-dest", "root"]).arg(&root.squashfs);
        let listing = must(&mut listing, LIMIT)?.text;
        let entries: BTreeMap<String, Entry> = listing.lines().filter_map(entry).collect();
        ensure!(entries.len() > 3000, "unsquashfs lists only {} entries:\n{listing:.2000}", entries.len());
        Ok(Self { entries, rules: Rules::read()? })
    }

    /// What is wrong with one file of a package's, if anything.
    fn check(&self, path: &str, node: &Node, content: Option<&[u8]>, tree: &Path) -> Option<String> {
        let Ok(place) = TreePath::parse(path.trim_start_matches('/')) else {
            return Some("is no path".to_owned());
        };
        let Some(entry) = self.entries.get(path) else {
            return (!self.rules.may_be_missing(&place)).then(|| "is missing".to_owned());
        };
        if self.rules.may_differ(&place) {
            return None;
        }
        if let Some(target) = self.rules.links.get(path).filter(|_| node.kind == Kind::Directory) {
            return (entry.link.as_ref() != Some(target)).then(|| format!("is no link to {target}"));
        }
        let expected = mode(node);
        let owner = format!("{}/{}", node.meta.uid, node.meta.gid);
        if !self.rules.may_have_another_owner(path) && (entry.mode != expected || entry.owner != owner) {
            return Some(format!("is {} {}, the package has {expected} {owner}", entry.mode, entry.owner));
        }
        match &node.kind {
            Kind::Symlink(target) => {
                let expected = String::from_utf8_lossy(target);
                (entry.link.as_deref() != Some(&*expected))
                    .then(|| format!("points to {:?}, the package's to {expected}", entry.link))
            }
            Kind::File(_) | Kind::HardLink(_) => match fs::read(tree.join(path.trim_start_matches('/'))) {
                Ok(found) => (content != Some(&found)).then(|| "has another content".to_owned()),
                Err(fault) => Some(format!("cannot be read: {fault}")),
            },
            _ => None,
        }
    }
}

/// A line such as `-rwxr-xr-x 0/0   1234 2025-01-01 00:00 root/usr/bin/x`, with ` -> target` behind a link.
fn entry(line: &str) -> Option<(String, Entry)> {
    let mut words = line.split_ascii_whitespace();
    let (mode, owner) = (words.next()?, words.next()?);
    let place = line.find(" root/").or_else(|| line.ends_with(" root").then(|| line.len() - 5))?;
    let path = &line[place + " root".len()..];
    let (path, link) = match path.split_once(" -> ") {
        Some((path, link)) if mode.starts_with('l') => (path, Some(link.to_owned())),
        _ => (path, None),
    };
    (owner.contains('/')).then(|| {
        let path = if path.is_empty() { "/" } else { path };
        (path.to_owned(), Entry { mode: mode.to_owned(), owner: owner.to_owned(), link })
    })
}

/// Kind and permissions as `ls -l` writes them.
fn mode(node: &Node) -> String {
    let kind = match node.kind {
        Kind::Directory => 'd',
        Kind::File(_) | Kind::HardLink(_) => '-',
        Kind::Symlink(_) => return "lrwxrwxrwx".to_owned(),
        Kind::CharDevice { .. } => 'c',
        Kind::BlockDevice { .. } => 'b',
        Kind::Fifo => 'p',
    };
    let bits = node.meta.mode;
    let mut out = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let three = bits >> shift;
        out.push(if three & 4 == 0 { '-' } else { 'r' });
        out.push(if three & 2 == 0 { '-' } else { 'w' });
        out.push(match (bits & special != 0, three & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, false) => letter.to_ascii_uppercase(),
            (true, true) => letter,
        });
    }
    out
}

fn root_packages() -> Result<Vec<Package>> {
    let cache = env::var_os("PILOTLIGHT_CACHE").map(Into::into);
    let workshop = Workshop::open(checkout(), &Settings { cache, ..Settings::default() })?;
    let (board, _) = workshop.board(surroundings::BOARD)?;
    let mut packages = Vec::new();
    for set in workshop.root_sets(&board) {
        packages.extend(workshop.archives().packages(workshop.lock(), &set)?);
    }
    Ok(packages)
}

/// Where a path of a package's is in the root: `/bin`, `/sbin` and `/lib` are links into `/usr`, and the package
/// database lies beneath the read-only root, because `/var` is in memory.
fn placed(path: &str) -> String {
    let path = path.trim_matches('/');
    if let Some(below) = path.strip_prefix("var/lib/dpkg") {
        return format!("/{DATABASE}{below}");
    }
    let top = path.split('/').next().unwrap_or_default();
    let moved = matches!(top, "bin" | "sbin" | "lib") && path != top;
    format!("{}/{path}", if moved { "/usr" } else { "" })
}

pub(crate) fn files() -> Result<()> {
    let root = Root::unpack()?;
    let expectations = Expectations::read(&root)?;
    let (mut checked, mut wrong) = (0, Vec::new());
    for package in root_packages()? {
        let contents: BTreeMap<&TreePath, &[u8]> = package
            .data
            .iter()
            .filter_map(|(path, node)| match &node.kind {
                Kind::File(content) => Some((path, &content[..])),
                _ => None,
            })
            .collect();
        for (path, node) in &package.data {
            let content = match &node.kind {
                Kind::HardLink(target) => contents.get(target),
                _ => contents.get(path),
            };
            let path = placed(&path.to_string());
            checked += 1;
            if let Some(fault) = expectations.check(&path, node, content.copied(), &root.tree) {
                wrong.push(format!("{path} of {} {fault}", package.name));
            }
        }
    }
    println!("{checked} files, folders and links of packages");
    ensure!(checked > 3000, "only {checked} files of packages were compared");
    ensure!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(SHOWN)].join("\n"));
    Ok(())
}

/// The same question to somebody else: the packages' own lists of digests, checked by busybox.
pub(crate) fn digests() -> Result<()> {
    let root = Root::unpack()?;
    let rules = Rules::read()?;
    let (mut list, mut count) = (String::new(), 0);
    for package in root_packages()? {
        let Some(sums) = package.control.get("md5sums") else { continue };
        for line in String::from_utf8_lossy(sums).lines() {
            let (digest, path) =
                line.split_once("  ").with_context(|| format!("{}: {line}", package.name))?;
            let path = placed(path);
            let place = TreePath::parse(path.trim_start_matches('/'))?;
            if !rules.may_be_missing(&place) && !rules.may_differ(&place) {
                writeln!(list, "{digest}  .{path}")?;
                count += 1;
            }
        }
    }
    ensure!(count > 2000, "the packages name only {count} digests");
    let file = root.folder().join("md5sums");
    fs::write(&file, list)?;
    let mut check = Tools::clients()?.command("busybox")?;
    check.current_dir(&root.tree).arg("md5sum").arg("-c").arg(&file);
    let outcome = run(&mut check, LIMIT)?;
    let faults: Vec<&str> = outcome.text.lines().filter(|line| !line.ends_with(": OK")).take(SHOWN).collect();
    ensure!(outcome.status.success(), "busybox md5sum: {}", faults.join("\n"));
    println!("{count} digests");
    Ok(())
}
