//! The builder killed at any moment (SIGKILL: no clean-up runs), and the same card made under other circumstances.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_card::pass_over_roots;
use pilotlight_disk::{BlockMap, block_map::BLOCK};
use pilotlight_emulator::fault::Random;
use pilotlight_tests::surroundings::{self, Tools};
use sha2::{Digest as _, Sha256};

use pilotlight_tests::desk::{Desk, names};

const KILLS: u64 = 20;

/// Killed twenty times, with and without anything in the cache, it leaves no half image, nothing in the cache that a
/// later run trips over, and no more than a few unfinished files.
pub(crate) fn at_any_moment() -> Result<()> {
    let seed =
        SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.subsec_nanos();
    let seed =
        std::env::var("PILOTLIGHT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(u64::from(seed));
    println!("PILOTLIGHT_SEED={seed}");
    let mut random = Random::new(seed);
    let desk = Desk::new()?;
    let server = desk.mirror()?;

    let start = Instant::now();
    desk.makes_image(Some(&server))?;
    let whole = start.elapsed();
    let mut left_over = 0;
    for round in 0..KILLS {
        match round % 4 {
            0 => desk.empty_cache_again()?,
            2 => desk.forget_roots()?,
            3 => pass_over_roots(&desk.path("target"))?,
            _ => {}
        }
        let moment = Duration::from_millis(random.below(u64::try_from(whole.as_millis())?));
        let mut command = desk.image_builder(Some(&server))?;
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        thread::sleep(moment);
        // It may have ended by itself.
        let _ = child.kill();
        child.wait()?;
        left_over += unfinished(&desk.path("out"))?;
        if desk.image().exists() {
            must_be_whole(&desk.image())
                .with_context(|| format!("after {} ms of round {round}", moment.as_millis()))?;
        }
    }
    ensure!(left_over == 0, "{left_over} unfinished images were left");
    let roots = names(&desk.path("target/roots"))?;
    ensure!(roots.len() < 8, "{roots:?} pile up");
    fs::remove_file(desk.image())?;
    // All of it, with what is in the cache by now and the pieces of what roots were left, and once more from the packages
    // as they lie there.
    pass_over_roots(&desk.path("target"))?;
    for _ in 0..2 {
        desk.makes_image(Some(&server))?;
        desk.forget_roots()?;
    }
    Ok(())
}

/// Blocks of an earlier root that was damaged, cut short or half written never get into a new one.
pub(crate) fn damaged_pieces() -> Result<()> {
    type Damage = fn(&mut Vec<u8>);
    const FILES: [&str; 4] = ["root.squashfs", "root.pieces", "boot/vmlinuz", "kernel.pieces"];
    let damages: [(&str, Damage); 4] = [
        ("nothing", |_| {}),
        ("bytes of all parts", |bytes| bytes.iter_mut().step_by(997).for_each(|byte| *byte ^= 0x10)),
        ("cut short", |bytes| bytes.truncate(bytes.len() * 2 / 3)),
        ("zeros after a power cut", |bytes| {
            let half = bytes.len() / 2;
            bytes[half..].fill(0);
        }),
    ];
    let desk = Desk::new()?;
    let server = desk.mirror()?;
    desk.makes_image(Some(&server))?;
    for (what, damage) in damages {
        for file in FILES {
            pass_over_roots(&desk.path("target"))?;
            let roots = desk.path("target/roots");
            for name in names(&roots)? {
                let path = roots.join(name).join(file);
                let mut bytes = fs::read(&path).with_context(|| format!("no {}", path.display()))?;
                damage(&mut bytes);
                // Never the file itself: another root may be linked to it.
                fs::remove_file(&path)?;
                fs::write(&path, bytes)?;
            }
            desk.makes_image(Some(&server)).with_context(|| format!("{what}: {file}"))?;
        }
    }
    Ok(())
}

fn unfinished(folder: &Path) -> Result<usize> {
    Ok(names(folder)?.iter().filter(|name| name.starts_with('.')).count())
}

/// Every block that the layer's map names has the content that it says.
fn must_be_whole(image: &Path) -> Result<()> {
    let map = fs::read_to_string(surroundings::image()?.with_added_extension("bmap"))?;
    let map = BlockMap::parse(&map)?;
    let file = fs::File::open(image)?;
    ensure!(file.metadata()?.len() == map.image_len, "the image has another length");
    for range in &map.ranges {
        let mut bytes = vec![0; usize::try_from(range.blocks() * BLOCK)?];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, range.first * BLOCK)?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        ensure!(digest == range.sha256, "the image is half written at block {}", range.first);
    }
    Ok(())
}

/// The clock, the cores, the zone, the language and the mask of permissions of the desk are not on the card.
pub(crate) fn same_card() -> Result<()> {
    // The library that moves the clock wants the libc that it was built with: the builder is run with that one, too.
    let libraries = Tools::checkers()?.folder().join("root/usr/lib/x86_64-linux-gnu");
    let a_year_ahead = |command: &mut Command| {
        let mut ahead = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        ahead.arg("--library-path").arg(&libraries);
        ahead.arg("--preload").arg(libraries.join("faketime/libfaketime.so.1"));
        ahead.arg(command.get_program()).args(command.get_args()).env_clear();
        ahead.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = command.get_current_dir() {
            ahead.current_dir(folder);
        }
        ahead.env("FAKETIME", "+1y").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        *command = ahead;
    };
    let one_core = |command: &mut Command| {
        let one = || {
            let mut cores = rustix::thread::CpuSet::new();
            let own = rustix::thread::sched_getaffinity(None)?;
            if let Some(core) = (0..rustix::thread::CpuSet::MAX_CPU).find(|core| own.is_set(*core)) {
                cores.set(core);
            }
            Ok(rustix::thread::sched_setaffinity(None, &cores)?)
        };
        // SAFETY: only system calls are made between fork and exec, nothing is allocated.
        unsafe { command.pre_exec(one) };
    };
    let elsewhere = |command: &mut Command| {
        command.env("TZ", "Pacific/Kiritimati").env("LC_ALL", "C").env("LANG", "tr_TR.UTF-8");
        let mask = || {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
            Ok(())
        };
        // SAFETY: only a system call is made between fork and exec, nothing is allocated.
        unsafe { command.pre_exec(mask) };
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Command));
    let changes: [Change<'_>; 3] =
        [("a year ahead", &a_year_ahead), ("on one core", &one_core), ("elsewhere", &elsewhere)];
    for (name, change) in changes {
        let desk = Desk::new()?;
        // Nothing is unpacked and no root is made yet.
        let server = desk.mirror()?;
        desk.makes_image_after(Some(&server), change).with_context(|| format!("made {name}"))?;
    }
    Ok(())
}
