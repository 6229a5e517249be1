//! The kernel modules that the initrd brings along.

use std::{fs::File, path::Path};

use rustix::{io::Errno, system::finit_module};

use super::{Fault, files};

/// The list of modules in the initrd: one path on each line, without a leading slash, in an order in which each
/// finds what it needs.
const LIST: &str = "modules";

/// Loads every module in the list below `initrd`. What cannot be loaded is told and not fatal: half of the list
/// drives hardware that another board has.
pub(crate) fn load(initrd: &Path) -> Vec<String> {
    let list = match files::read_text(&initrd.join(LIST), 1 << 20) {
        Ok(list) => list,
        Err(fault) => return vec![fault.chain()],
    };
    let paths = list.lines().map(str::trim).filter(|path| !path.is_empty());
    paths.filter_map(|path| insert(&initrd.join(path)).err().map(|fault| fault.chain())).collect()
}

fn insert(path: &Path) -> Result<(), Fault> {
    let file = File::open(path).map_err(Fault::file("open the module", path))?;
    match finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Fault::file("load the module", path)(errno)),
    }
}
