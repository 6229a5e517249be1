//! `cargo xtask doctor`: what is on this machine, what would be fetched, and how much.

use std::{path::Path, process::Command, process::ExitCode};

use clap::Args;
use pilotlight_card::{NodeKind, Toolset, Workshop};

use crate::{BOARD, Source, ui};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut good = true;
    println!("this machine");
    good &= say(std::env::consts::ARCH == "x86_64" && cfg!(target_os = "linux"), "Linux on x86-64");
    for (program, flag) in
        [("cargo", "--version"), ("rustc", "--version"), ("cc", "--version"), ("git", "--version")]
    {
        match version(program, flag) {
            Some(text) => good &= say(true, &text),
            None => good &= say(false, &format!("{program} is not there: install it")),
        }
    }
    // Only the `net` layer of the tests needs them; a container without them still builds images.
    let namespaces =
        Command::new("unshare").args(["-Urn", "true"]).output().is_ok_and(|out| out.status.success());
    say(namespaces, "unprivileged user namespaces (for the test layers `net` and `image`)");

    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    println!("\nwhere packages come from, tried in this order");
    for (archive, addresses) in workshop.mirrors() {
        println!("  {archive}: {}", addresses.join(", "));
    }
    println!("\nwhat is in the cache {}", workshop.archives().cache().root().display());
    let mut missing = 0;
    let for_image = workshop.sets(&workshop.board(BOARD)?.0);
    let mut for_tests: Vec<String> = Toolset::ALL.iter().map(|tools| tools.set().to_owned()).collect();
    for board in workshop.boards()? {
        for_tests.extend(workshop.sets(&workshop.board(&board)?.0));
    }
    for_tests.sort();
    for_tests.dedup();
    for_tests.retain(|set| !for_image.contains(set));
    let for_nodes = NodeKind::all().flat_map(NodeKind::sets).collect();
    let purposes = [
        ("for an image", for_image),
        ("for the tests", for_tests),
        ("for nodes that run from memory: what a lab names of it, and for the tests some", for_nodes),
    ];
    for (purpose, sets) in purposes {
        println!("  {purpose}");
        for set in sets {
            missing += one_set(&workshop, &set)?;
        }
    }
    println!("\nto be fetched at the most: {}", ui::bytes(missing));
    if let Some(free) = free(workshop.archives().cache().root()) {
        // Unpacked tools and packages take about five times what was fetched.
        let wanted = missing * 5;
        good &= say(free > wanted, &format!("{} free there, {} wanted", ui::bytes(free), ui::bytes(wanted)));
    }
    Ok(ExitCode::from(u8::from(!good)))
}

fn one_set(workshop: &Workshop, set: &str) -> anyhow::Result<u64> {
    let all = workshop.archives().locked(workshop.lock(), set)?;
    let missing: u64 =
        workshop.archives().missing(workshop.lock(), set)?.iter().map(|package| package.size).sum();
    let size: u64 = all.iter().map(|package| package.size).sum();
    println!(
        "    {set:<27} {:>4} packages {:>10}, to be fetched {:>10}",
        all.len(),
        ui::bytes(size),
        ui::bytes(missing)
    );
    Ok(missing)
}

fn say(good: bool, text: &str) -> bool {
    println!("  {} {text}", if good { "ok " } else { "NO " });
    good
}

fn version(program: &str, flag: &str) -> Option<String> {
    let out = Command::new(program).arg(flag).output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).lines().next()?.to_owned())
}

/// Bytes that an ordinary user may still write to the file system of `path`, or of the nearest folder above it.
fn free(path: &Path) -> Option<u64> {
    let exists = path.ancestors().find(|folder| folder.is_dir())?;
    let system = rustix::fs::statvfs(exists).ok()?;
    Some(system.f_bavail * system.f_frsize)
}
