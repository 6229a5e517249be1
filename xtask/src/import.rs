//! `cargo xtask import-matchbox`: a lab of Matchbox's in the words of lab.toml.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use pilotlight_matchbox::{Imported, Store, import};

use crate::check;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Matchbox's data folder, with `groups`, `profiles` and the templates, as in /var/lib/matchbox
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The address that the Pi is to have, with its prefix, as in 192.168.1.2/24
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    address: String,
    /// The new file
    #[arg(long, value_name = "LAB.TOML")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { folder, address, out } = arguments;
    if out.exists() {
        bail!("{} is there already: name a new file", out.display());
    }
    let json = |name| files(folder, name, ".json");
    let all = |name| files(folder, name, "");
    let store = Store {
        groups: json("groups")?,
        profiles: json("profiles")?,
        ignition: all("ignition")?,
        cloud: all("cloud")?,
        generic: all("generic")?,
    };
    if store.groups.is_empty() && store.profiles.is_empty() {
        bail!(
            "{} has neither groups/*.json nor profiles/*.json: is it Matchbox's data folder?",
            folder.display()
        );
    }
    let Imported { lab, notes } = import(&store, address)?;
    fs::write(out, lab).with_context(|| format!("cannot write {}", out.display()))?;
    for note in &notes {
        eprintln!("note: {note}");
    }
    // By the Pi's own eyes: what it would not take is said now.
    let Some(lab) = check::read(out)? else {
        eprintln!("{} is written, and has to be put right by hand", out.display());
        return Ok(ExitCode::from(1));
    };
    println!(
        "{}: machines: {}, notes of what is otherwise than it was: {}",
        out.display(),
        lab.nodes.len(),
        notes.len()
    );
    Ok(ExitCode::SUCCESS)
}

/// The files of a folder of the store, by their names without this ending; none when there is no such folder.
fn files(folder: &Path, name: &str, ending: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let folder = folder.join(name);
    let fault = || format!("cannot read {}", folder.display());
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.with_context(fault)?,
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.with_context(fault)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(name) = name.strip_suffix(ending).filter(|_| path.is_file()) {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.insert(name.to_owned(), text);
        }
    }
    Ok(files)
}
