//! Writes `pilotlight.lock`, fetches all of it and unpacks it: the whole of this crate, for real.
//!
//! `cargo run -p pilotlight-archive --example lock [lock|fetch|unpack]…`

use std::{
    error::Error,
    path::Path,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use pilotlight_archive::{Archives, Cache, Lock, read_apt, resolve_mirrors};

fn main() {
    if let Err(fault) = run() {
        eprintln!("{fault}");
        let mut source = fault.source();
        while let Some(inner) = source {
            eprintln!("  because {inner}");
            source = inner.source();
        }
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let (base, path) = (top.join("bases/debian"), top.join("pilotlight.lock"));
    let spec = Archives::spec(&base)?;
    let settings: Vec<String> = std::env::var("PILOTLIGHT_MIRROR")
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let mirrors = resolve_mirrors(&spec, &settings, &read_apt(Path::new("/etc/apt")))?;
    let archives = Archives::open(&base, mirrors, Cache::of_user()?)?;
    let verbs: Vec<String> = std::env::args().skip(1).collect();
    let asked = |verb: &str| verbs.is_empty() || verbs.iter().any(|other| other == verb);
    let mut clock = Instant::now();
    let mut lap = |what: &str| {
        eprintln!("{:8.3} s  {what}", clock.elapsed().as_secs_f32());
        clock = Instant::now();
    };
    if asked("lock") {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        std::fs::write(&path, archives.lock(now)?.render())?;
        lap("locked");
    }
    let lock = Lock::parse(&std::fs::read_to_string(&path)?)?;
    let sets: Vec<&str> = spec.sets.keys().map(String::as_str).collect();
    if asked("fetch") {
        archives.fetch(&lock, &sets)?;
        lap("fetched");
    }
    if asked("unpack") {
        for set in sets {
            let packages = archives.packages(&lock, set)?;
            let entries: usize = packages.iter().map(|package| package.data.len()).sum();
            lap(&format!("{set}: {} packages, {entries} entries", packages.len()));
        }
    }
    Ok(())
}
