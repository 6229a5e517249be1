//! The index files of `/usr/lib/modules/RELEASE/`, as `depmod` would write them. kmod looks up names, aliases and
//! symbols in the `.bin` forms alone (tried with kmod 34: with the text forms only, modprobe finds nothing); the
//! text forms are for people and for tools that read `modules.dep` themselves.

use std::fmt::Write as _;

use pilotlight_tree::{Tree, TreePath};

use super::{Module, Modules, index::Index};
use crate::{Error, files};

impl Modules {
    /// Writes all index files into `tree`.
    pub(crate) fn write_tables(&self, tree: &mut Tree, mtime: u32) -> Result<(), Error> {
        let base = files::path(&format!("usr/lib/modules/{}", self.release))?;
        let mut put = |name: &str, content: Vec<u8>| -> Result<(), Error> {
            put_table(tree, &base, name, content, mtime)
        };
        let ordered = self.in_order();
        let (dep, dep_bin) = self.dependencies(&ordered)?;
        put("modules.dep", dep.into_bytes())?;
        put("modules.dep.bin", dep_bin.encode())?;

        let aliases = |module: &Module| module.info.aliases.clone();
        let (text, index) = alias_tables(&ordered, "# Aliases extracted from modules themselves.\n", aliases);
        put("modules.alias", text.into_bytes())?;
        put("modules.alias.bin", index.encode())?;

        let symbols =
            |module: &Module| module.info.symbols.iter().map(|name| format!("symbol:{name}")).collect();
        let (text, index) =
            alias_tables(&ordered, "# Aliases for symbols, used by symbol_request().\n", symbols);
        put("modules.symbols", text.into_bytes())?;
        put("modules.symbols.bin", index.encode())?;

        put(
            "modules.softdep",
            lines(&ordered, SOFTDEP, "softdep", |module| &module.info.softdeps).into_bytes(),
        )?;
        put(
            "modules.weakdep",
            lines(&ordered, WEAKDEP, "weakdep", |module| &module.info.weakdeps).into_bytes(),
        )?;
        put("modules.devname", device_names(&ordered).into_bytes())?;

        let mut builtin = Index::default();
        for name in &self.builtin {
            builtin.insert(name, "", 0);
        }
        put("modules.builtin.bin", builtin.encode())?;
        let mut builtin = Index::default();
        for (module, alias) in &self.builtin_aliases {
            builtin.insert(&normal_alias(alias), module, 0);
        }
        put("modules.builtin.alias.bin", builtin.encode())
    }

    /// A line for each module: its file, then all files that it needs, the ones to be loaded first last.
    fn dependencies(&self, ordered: &[&Module]) -> Result<(String, Index), Error> {
        let (mut text, mut index) = (String::new(), Index::default());
        for (at, module) in ordered.iter().enumerate() {
            let needs = self.load_order(std::slice::from_ref(&module.name))?;
            let mut line = format!("{}:", module.file);
            for need in needs.iter().rev().skip(1) {
                line.push(' ');
                line.push_str(&need.file);
            }
            index.insert(&module.name, &line, priority(at));
            text.push_str(&line);
            text.push('\n');
        }
        Ok((text, index))
    }
}

const SOFTDEP: &str = "# Soft dependencies extracted from modules themselves.\n";
const WEAKDEP: &str = "# Weak dependencies extracted from modules themselves.\n";

fn put_table(
    tree: &mut Tree,
    base: &TreePath,
    name: &str,
    content: Vec<u8>,
    mtime: u32,
) -> Result<(), Error> {
    files::put_file(tree, base.join(name)?, content, 0o644, mtime);
    Ok(())
}

fn priority(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn alias_tables(
    ordered: &[&Module],
    head: &str,
    aliases: impl Fn(&Module) -> Vec<String>,
) -> (String, Index) {
    let (mut text, mut index) = (head.to_owned(), Index::default());
    for (at, module) in ordered.iter().enumerate() {
        for alias in aliases(module) {
            _ = writeln!(text, "alias {alias} {}", module.name);
            index.insert(&normal_alias(&alias), &module.name, priority(at));
        }
    }
    (text, index)
}

/// `-` becomes `_`, except between brackets, where it is a range.
fn normal_alias(alias: &str) -> String {
    let mut bracket = false;
    let letter = |letter| {
        match letter {
            '[' => bracket = true,
            ']' => bracket = false,
            '-' if !bracket => return '_',
            _ => {}
        }
        letter
    };
    alias.chars().map(letter).collect()
}

fn lines<'a>(
    ordered: &[&'a Module],
    head: &str,
    keyword: &str,
    entries: impl Fn(&'a Module) -> &'a Vec<String>,
) -> String {
    let mut text = head.to_owned();
    for module in ordered {
        for entry in entries(module) {
            _ = writeln!(text, "{keyword} {} {entry}", module.name);
        }
    }
    text
}

/// Device nodes that exist before their driver is loaded: opening one loads it.
fn device_names(ordered: &[&Module]) -> String {
    let mut text = "# Device nodes to trigger on-demand module loading.\n".to_owned();
    for module in ordered {
        let find = |prefix: &str| module.info.aliases.iter().find_map(|alias| alias.strip_prefix(prefix));
        let number = find("char-major-").map(|number| ('c', number));
        let number = number.or_else(|| find("block-major-").map(|number| ('b', number)));
        if let (Some(name), Some((kind, number))) = (find("devname:"), number)
            && let Some((major, minor)) = number.split_once('-')
            && minor.parse::<u32>().is_ok()
        {
            _ = writeln!(text, "{} {name} {kind}{major}:{minor}", module.name);
        }
    }
    text
}
