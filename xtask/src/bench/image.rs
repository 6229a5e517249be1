//! `cargo xtask bench image`: how long making the image takes, from the start of this very program as a child to its
//! end, and how much memory; beside it the usual way, in the same run.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use pilotlight_card::{ImageRequest, Workshop};

use super::{Arguments, usual};
use crate::{BOARD, ui, usual::lacks};

/// The package that counts as changed: a large one of the root.
const CHANGED: &str = "systemd";

#[derive(Debug, Args)]
pub(crate) struct Image {
    /// How often to go the usual way, which takes minutes
    #[arg(long, default_value_t = 1, value_name = "ROUNDS")]
    rounds_usual: u32,
}

/// What one run took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Taken {
    time: Duration,
    /// Of all processors, kernel and user.
    cpu: Duration,
}

/// The builder as a child, in a scratch folder.
struct Builder<'a> {
    arguments: &'a Arguments,
    scratch: &'a Path,
    default_lab: String,
    count: u32,
}

impl Builder<'_> {
    /// Makes the image with a lab that no earlier run had.
    fn run(&mut self) -> anyhow::Result<Taken> {
        self.count += 1;
        let lab = self.scratch.join("lab.toml");
        fs::write(&lab, format!("{}\n# {}\n", self.default_lab, self.count))
            .with_context(|| format!("cannot write {}", lab.display()))?;
        // By what it is, not by its path: cargo may have put a newer program there.
        let mut command = Command::new("/proc/self/exe");
        command.arg("image").arg("--lab").arg(&lab).arg("--out").arg(self.scratch.join("bench.img"));
        let source = &self.arguments.source;
        for mirror in &source.mirrors {
            command.args(["--mirror", mirror]);
        }
        for snapshot in &source.snapshots {
            command.args(["--snapshot", snapshot]);
        }
        if let Some(cache) = &source.cache {
            command.arg("--cache").arg(cache);
        }
        if source.locked {
            command.arg("--locked");
        }
        command.stdout(Stdio::null());
        let (start, before) = (Instant::now(), children_cpu()?);
        let status = command.status().context("cannot start the builder")?;
        let taken = Taken { time: start.elapsed(), cpu: children_cpu()?.saturating_sub(before) };
        ensure!(status.success(), "the builder ended with {status}");
        Ok(taken)
    }
}

pub(crate) fn run(arguments: &Arguments, image: &Image) -> anyhow::Result<()> {
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let scratch = tempfile::tempdir_in(workshop.target())?;
    let default_lab = fs::read_to_string(workshop.default_lab())?;
    let mut builder = Builder { arguments, scratch: scratch.path(), default_lab, count: 0 };
    builder.run()?;
    println!("{:<44} {:>9} {:>9} {:>9} {:>9}", "image", "median", "least", "most", "cpu");
    let cases: [(&str, &dyn Fn() -> anyhow::Result<()>); 4] = [
        ("cold: nothing unpacked, nothing kept", &|| {
            workshop.forget_unpacked()?;
            workshop.forget_roots()
        }),
        ("one package new, root made anew", &|| {
            workshop.forget_package(CHANGED)?;
            pilotlight_card::pass_over_roots(&workshop.target())
        }),
        ("warm: packages unpacked, root made anew", &|| pilotlight_card::pass_over_roots(&workshop.target())),
        ("the lab changed", &|| Ok(())),
    ];
    let mut medians = Vec::new();
    for (name, prepare) in cases {
        let mut taken = Vec::new();
        for _ in 0..arguments.rounds.max(1) {
            prepare()?;
            taken.push(builder.run()?);
        }
        medians.push((name, show(name, taken)));
    }
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    let report = workshop
        .image(&ImageRequest { out: Some(scratch.path().join("bench.img")), ..ImageRequest::board(BOARD) })?;
    println!(
        "peak memory {}; firmware, kernel, initrd and root {}; for other machines {} of it as files",
        ui::bytes(u64::try_from(peak)? << 10),
        ui::bytes(report.boot_bytes + report.root_bytes),
        ui::bytes(report.payload_bytes)
    );
    if let Some(lack) = lacks() {
        println!("the usual way was NOT measured: {lack}");
        return Ok(());
    }
    let mut taken = Vec::new();
    for round in 0..image.rounds_usual {
        let before = children_cpu()?;
        eprintln!("{:>12} the usual way, which takes minutes", "Going");
        let folder = scratch.path().join(format!("usual-{round}"));
        let time = usual::make(&workshop, &folder)?;
        taken.push(Taken { time, cpu: children_cpu()?.saturating_sub(before) });
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    if taken.is_empty() {
        println!("the usual way was NOT measured: --rounds-usual 0");
        return Ok(());
    }
    let usual = show("the usual way: mmdebstrap, mksquashfs, dd", taken);
    println!(
        "(the usual way: the same packages out of the same cache; no initrd, no services, no inventory)"
    );
    for (name, ours) in medians {
        println!("{:>6.0} times as fast: {name}", usual.as_secs_f64() / ours.as_secs_f64());
    }
    Ok(())
}

/// Prints a line of the table and gives its median.
fn show(name: &str, mut taken: Vec<Taken>) -> Duration {
    taken.sort();
    let (least, most) = (taken[0], taken[taken.len() - 1]);
    let median = taken[taken.len() / 2];
    let [middle, least, most, cpu] = [median.time, least.time, most.time, median.cpu].map(ui::seconds);
    println!("{name:<44} {middle:>9} {least:>9} {most:>9} {cpu:>9}");
    median.time
}

/// What all children that ended have taken of the processors so far.
fn children_cpu() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}
