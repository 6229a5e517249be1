//! Groups of kernel modules, which boards share: `boards/common/modules.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{BoardError, Modules, hint};

/// All groups by name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Groups {
    groups: BTreeMap<String, Group>,
}

/// What belongs together, for one purpose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    /// As in [`Modules::initrd`].
    #[serde(default)]
    initrd: Vec<String>,
    /// As in [`Modules::keep`].
    #[serde(default)]
    keep: Vec<String>,
}

/// `modules` with what its groups hold in front, in the order of their names there. `text` is the groups' file.
pub(crate) fn with_groups(modules: Modules, text: &str) -> Result<Modules, BoardError> {
    let all: Groups = toml::from_str(text).map_err(|fault| BoardError::Groups(fault.to_string()))?;
    let (mut initrd, mut keep) = (Vec::new(), Vec::new());
    for name in &modules.groups {
        let group = all.groups.get(name).ok_or_else(|| BoardError::NoGroup {
            name: name.clone(),
            hint: hint(name, all.groups.keys().map(String::as_str)),
        })?;
        initrd.extend(group.initrd.iter().cloned());
        keep.extend(group.keep.iter().cloned());
    }
    initrd.extend(modules.initrd.iter().cloned());
    keep.extend(modules.keep.iter().cloned());
    Ok(Modules { initrd, keep, ..modules })
}
