//! What builders leave behind that were killed: files with half-made names that nobody has locked any more.

use std::{
    fs::{self, File},
    path::Path,
};

/// Removes half-made files from `folder` whose builder is gone. What cannot be looked at or removed stays: it is in
/// nobody's way.
pub(crate) fn sweep(folder: &Path, (start, end): (&str, &str)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with(start) && name.ends_with(end)) {
            continue;
        }
        let path = entry.path();
        if File::open(&path).is_ok_and(|file| file.try_lock().is_ok() && fs::remove_file(&path).is_ok()) {
            eprintln!("{:>12} {}, left by a builder that was killed", "Removing", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_makes_any_more_goes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let made = File::create(at(".new-made")).unwrap();
        made.lock().unwrap();
        for name in [".new-left", ".newer", "whole"] {
            File::create(at(name)).unwrap();
        }
        sweep(folder.path(), (".new-", ""));
        for (name, stays) in [(".new-made", true), (".new-left", false), (".newer", true), ("whole", true)] {
            assert_eq!(at(name).exists(), stays, "{name}");
        }
        drop(made);
        sweep(folder.path(), (".new-", ""));
        assert!(!at(".new-made").exists());
    }
}
