//! The kernel's modules: which ones stay, what each needs, and the indexes by which kmod finds them. Knows
//! nothing of the board beyond the names that it is given.

pub mod elf;
mod index;
mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use pilotlight_tree::{Bytes, Kind, Tree, TreePath};
use rayon::prelude::*;

use crate::{Error, assemble::LeftOut, files, glob::Glob};

/// One module that is in the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Name as the kernel writes it: `sdhci_iproc`.
    pub name: String,
    /// Path below `/usr/lib/modules/RELEASE/`.
    pub file: String,
    /// The file as the package ships it.
    pub packed: Bytes,
    /// What it says about itself.
    pub info: elf::Info,
    /// Its place in the kernel's own load order: of two modules for one device the earlier one is taken.
    order: usize,
}

/// The modules in the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modules {
    release: String,
    modules: BTreeMap<String, Module>,
    /// As often as the kernel's list names them: parts of one name are in it twice.
    builtin: Vec<String>,
    /// `(module, alias)` of what is built in.
    builtin_aliases: Vec<(String, String)>,
    /// What was wanted and is not there.
    lacking: BTreeSet<String>,
}

/// Which of a kernel's modules are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Prefixes below `kernel/` of those that stay, such as `drivers/net/usb/`.
    pub keep: &'a [String],
    /// Those that the initrd loads, in this order; they stay in the root, too.
    pub initrd: &'a [String],
    /// Whether the kernel may lack some; else that is an error.
    pub may_lack: bool,
}

/// The reason given for a module that does not stay.
const NOT_KEPT: &str = "a driver for hardware that the board does not have";

impl Modules {
    /// Takes from `tree` the modules of kernel `release` that stay: those that are wanted and all that these depend on.
    /// The others are removed from the tree.
    ///
    /// # Errors
    /// A name or a prefix of which the kernel has nothing, unless it may; a module that cannot be read.
    pub(crate) fn select(
        tree: &mut Tree,
        release: &str,
        Wanted { keep, initrd, may_lack }: Wanted<'_>,
        owner: impl Fn(&TreePath) -> String,
    ) -> Result<(Self, Vec<LeftOut>), Error> {
        let base = files::path(&format!("usr/lib/modules/{release}"))?;
        let all = find(tree, &base);
        let builtin = optional_text(tree, &base, "modules.builtin")?;
        let known = || all.values().map(|(file, ..)| file.as_str()).chain(builtin.lines());
        let mut lacking = BTreeSet::new();
        for prefix in keep.iter().filter(|prefix| !known().any(|file| is_below(file, prefix))) {
            if !may_lack {
                return Err(Error::NothingToKeep { release: release.to_owned(), prefix: prefix.clone() });
            }
            lacking.insert(prefix.clone());
        }
        let builtin: Vec<String> = builtin.lines().filter_map(name_of_file).collect();
        let order = optional_text(tree, &base, "modules.order")?;
        let order: BTreeMap<&str, usize> = order.lines().enumerate().map(|(at, file)| (file, at)).collect();

        let mut wanted: BTreeSet<String> = BTreeSet::new();
        for name in initrd.iter().map(|name| normal_name(name)) {
            if all.contains_key(&name) {
                wanted.insert(name);
            } else if !builtin.contains(&name) {
                if !may_lack {
                    return Err(Error::UnknownModule { release: release.to_owned(), name });
                }
                lacking.insert(name);
            }
        }
        let kept = |file: &str| keep.iter().any(|prefix| is_below(file, prefix));
        wanted.extend(all.iter().filter(|(_, (file, ..))| kept(file)).map(|(name, _)| name.clone()));

        let modules = read_with_dependencies(&all, wanted, &order)?;
        let builtin_aliases = builtin_aliases(tree, &base);
        let mut left_out = Vec::new();
        for (_, (_, path, packed)) in all.iter().filter(|(name, _)| !modules.contains_key(*name)) {
            tree.remove(path);
            let (path, package, size) = (path.clone(), owner(path), packed.len() as u64);
            left_out.push(LeftOut { path, package, reason: NOT_KEPT.to_owned(), size });
        }
        Ok((Self { release: release.to_owned(), modules, builtin, builtin_aliases, lacking }, left_out))
    }

    /// `uname -r` of the kernel.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The module of that name (`-` and `_` are the same).
    pub fn get(&self, name: &str) -> Option<&Module> {
        self.modules.get(&normal_name(name))
    }

    /// All modules by name.
    pub fn iter(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }

    /// Whether the kernel has `name` built in.
    pub fn is_builtin(&self, name: &str) -> bool {
        self.knows_builtin(&normal_name(name))
    }

    /// The names and prefixes of which this kernel has nothing although they were wanted, sorted.
    pub fn lacking(&self) -> impl Iterator<Item = &str> {
        self.lacking.iter().map(String::as_str)
    }

    fn knows_builtin(&self, normal_name: &str) -> bool {
        self.builtin.iter().any(|name| name == normal_name)
    }

    /// The modules that feel responsible for a device, as `modprobe ALIAS` would find them: best first.
    /// `alias` is what the kernel sends, such as `usb:v0424pEC00d0200…`.
    pub fn resolve(&self, alias: &str) -> Vec<&str> {
        let wants = |module: &&Module| {
            module.info.aliases.iter().any(|pattern| Glob::alias(pattern).matches(alias.as_bytes()))
        };
        self.in_order().into_iter().filter(wants).map(|module| module.name.as_str()).collect()
    }

    /// `names` with all that they depend on, each module after what it needs. What is built in is left out.
    ///
    /// # Errors
    /// A name that the kernel does not know; modules that need each other.
    pub fn load_order(&self, names: &[String]) -> Result<Vec<&Module>, Error> {
        let mut order = Vec::new();
        for name in names {
            self.visit(&normal_name(name), &mut Vec::new(), &mut order)?;
        }
        Ok(order)
    }

    fn visit<'a>(
        &'a self,
        name: &str,
        above: &mut Vec<String>,
        order: &mut Vec<&'a Module>,
    ) -> Result<(), Error> {
        if order.iter().any(|module| module.name == name) {
            return Ok(());
        }
        if above.iter().any(|other| other == name) {
            return Err(Error::ModuleCycle { name: name.to_owned() });
        }
        let Some(module) = self.modules.get(name) else {
            let unknown = || Error::UnknownModule { release: self.release.clone(), name: name.to_owned() };
            let good = self.knows_builtin(name) || self.lacking.contains(name);
            return good.then_some(()).ok_or_else(unknown);
        };
        above.push(name.to_owned());
        for need in &module.info.depends {
            self.visit(need, above, order)?;
        }
        above.pop();
        order.push(module);
        Ok(())
    }

    fn in_order(&self) -> Vec<&Module> {
        let mut all: Vec<&Module> = self.modules.values().collect();
        all.sort_by(|one, other| (one.order, &one.file).cmp(&(other.order, &other.file)));
        all
    }
}

impl Module {
    /// The module as the kernel wants it: unpacked.
    ///
    /// # Errors
    /// Damaged xz data; a packing that is not known.
    pub fn unpacked(&self) -> Result<Bytes, Error> {
        let path = || TreePath::parse(&self.file).unwrap_or_else(|_| TreePath::root());
        unpack(&self.file, &self.packed).map_err(|problem| Error::Module { path: path(), problem })
    }
}

/// Removes the folders in which the `unwanted` modules were and nothing is left.
pub(crate) fn without_empty_folders(tree: &mut Tree, unwanted: &[LeftOut]) -> Vec<LeftOut> {
    let mut folders = BTreeMap::new();
    for module in unwanted {
        let mut above = module.path.parent();
        while let Some(folder) = above.filter(|folder| !folders.contains_key(folder)) {
            above = folder.parent();
            folders.insert(folder, &module.package);
        }
    }
    for (path, _) in tree.iter().filter(|(_, node)| node.kind != Kind::Directory) {
        let mut above = path.parent();
        while let Some(folder) = above {
            folders.remove(&folder);
            above = folder.parent();
        }
    }
    let empty = folders.into_iter().map(|(path, package)| {
        tree.remove(&path);
        LeftOut { path, package: package.clone(), reason: NOT_KEPT.to_owned(), size: 0 }
    });
    empty.collect()
}

/// `-` and `_` are one letter in a module's name.
pub(crate) fn normal_name(name: &str) -> String {
    name.replace('-', "_")
}

/// `kernel/fs/ext4/ext4.ko.xz` → `ext4`; none when it is no module.
fn name_of_file(file: &str) -> Option<String> {
    let (stem, packing) = file.rsplit('/').next()?.split_once(".ko")?;
    matches!(packing, "" | ".xz" | ".zst" | ".gz").then(|| normal_name(stem))
}

/// Whether a module's file is one of those that `prefix`, of the board's list, stands for.
fn is_below(file: &str, prefix: &str) -> bool {
    file.strip_prefix("kernel/").is_some_and(|rest| rest.starts_with(prefix))
}

type Found = BTreeMap<String, (String, TreePath, Bytes)>;

fn find(tree: &Tree, base: &TreePath) -> Found {
    let mut all = Found::new();
    for (path, node) in tree.iter().filter(|(path, _)| path.is_at_or_beneath(base)) {
        let below = String::from_utf8_lossy(&path.as_bytes()[base.as_bytes().len()..]).into_owned();
        if let (Some(name), Kind::File(content)) = (name_of_file(&below), &node.kind) {
            all.insert(name, (below.trim_start_matches('/').to_owned(), path.clone(), content.clone()));
        }
    }
    all
}

fn optional_text<'a>(tree: &'a Tree, base: &TreePath, name: &str) -> Result<&'a str, Error> {
    let path = base.join(name)?;
    if tree.get(&path).is_some() { files::text(tree, &path) } else { Ok("") }
}

/// Reads the wanted modules, then those that they need, until none is new.
fn read_with_dependencies(
    all: &Found,
    mut wanted: BTreeSet<String>,
    order: &BTreeMap<&str, usize>,
) -> Result<BTreeMap<String, Module>, Error> {
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    while !wanted.is_empty() {
        let read: Vec<Module> = wanted
            .par_iter()
            .filter_map(|name| all.get_key_value(name))
            .map(|(name, (file, path, packed))| {
                let fault = |problem| Error::Module { path: path.clone(), problem };
                let info = unpack(file, packed).and_then(|elf| elf::read(&elf)).map_err(fault)?;
                let plain = file.strip_suffix(".xz").unwrap_or(file);
                let order = order.get(plain).copied().unwrap_or(usize::MAX);
                Ok(Module { name: name.clone(), file: file.clone(), packed: packed.clone(), info, order })
            })
            .collect::<Result<_, Error>>()?;
        wanted = read.iter().flat_map(|module| module.info.needs()).collect();
        modules.extend(read.into_iter().map(|module| (module.name.clone(), module)));
        wanted.retain(|name| !modules.contains_key(name) && all.contains_key(name));
    }
    Ok(modules)
}

impl elf::Info {
    /// Names of modules that have to be there with this one; of `softdep=` those that are names of modules.
    fn needs(&self) -> Vec<String> {
        let soft = self.softdeps.iter().flat_map(|line| line.split_whitespace()).map(normal_name);
        self.depends.iter().cloned().chain(soft).collect()
    }
}

fn unpack(file: &str, packed: &Bytes) -> Result<Bytes, String> {
    if file.ends_with(".ko") {
        return Ok(packed.clone());
    }
    if !file.ends_with(".ko.xz") {
        return Err("only plain and xz-packed modules are known".to_owned());
    }
    // xz packs modules to about a third.
    let mut elf = Vec::with_capacity(packed.len() * 4);
    liblzma::bufread::XzDecoder::new(packed.as_ref())
        .read_to_end(&mut elf)
        .map_err(|fault| fault.to_string())?;
    Ok(elf.into())
}

fn builtin_aliases(tree: &Tree, base: &TreePath) -> Vec<(String, String)> {
    let content =
        base.join("modules.builtin.modinfo").ok().and_then(|path| files::content(tree, &path).cloned());
    let content = content.unwrap_or_default();
    let pairs = elf::pairs(&content).filter_map(|(key, value)| {
        let (module, key) = key.split_once('.')?;
        (key == "alias").then(|| (module.to_owned(), value.to_owned()))
    });
    pairs.collect()
}
