//! Long runs: `cargo xtask fuzz`. Every core feeds every target in turn until the time is up.

use std::{
    env, fs,
    panic::catch_unwind,
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use pilotlight_fuzz::{Herd, TARGETS, Target, corpus};

/// Inputs between two looks at the clock.
const STRETCH: u32 = 5_000;

/// What is fed, how long each and from which seed on; where an input that made a target panic is put.
struct Plan {
    targets: Vec<&'static Target>,
    each: Duration,
    seed: u64,
    finds: PathBuf,
}

fn main() -> ExitCode {
    match plan() {
        Ok(plan) => run(&plan),
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::from(2)
        }
    }
}

/// `SECONDS SEED FOLDER [TARGET…]`, as xtask gives them.
fn plan() -> Result<Plan, String> {
    let mut words = env::args().skip(1);
    let mut number = |name: &str| {
        let word = words.next().ok_or_else(|| format!("no {name} was given"))?;
        word.parse::<u64>().map_err(|_| format!("{word:?} is no {name}"))
    };
    let (seconds, seed) = (number("number of seconds")?, number("seed")?);
    let finds = words.next().map(PathBuf::from).ok_or("no folder was given")?;
    let mut targets = Vec::new();
    for name in words {
        let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
        let target = TARGETS.iter().find(|target| target.name == name);
        targets.push(
            target.ok_or_else(|| format!("there is no target {name:?}; the targets are: {}", known()))?,
        );
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    let each = Duration::from_secs(seconds) / targets.len() as u32;
    Ok(Plan { targets, each, seed, finds })
}

fn run(plan: &Plan) -> ExitCode {
    let mut all = 0;
    for target in &plan.targets {
        let (executed, outcomes, found) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for core in 0..cores as u64 {
                let (executed, outcomes, found) = (&executed, &outcomes, &found);
                scope.spawn(move || {
                    let seed = plan.seed.wrapping_add(core << 32);
                    let (count, different, bad) = feed(target, seed, plan.each, &plan.finds);
                    executed.fetch_add(count, Ordering::Relaxed);
                    outcomes.fetch_max(different, Ordering::Relaxed);
                    found.fetch_or(bad, Ordering::Relaxed);
                });
            }
        });
        let (executed, outcomes) = (executed.into_inner(), outcomes.into_inner());
        println!("{:<14} {executed:>12} inputs, {outcomes:>5} outcomes", target.name);
        all += executed;
        if found.into_inner() {
            eprintln!("error: {} panicked; the input is in {}", target.name, plan.finds.display());
            return ExitCode::FAILURE;
        }
    }
    println!("{:<14} {all:>12} inputs, none made anything panic", "all");
    ExitCode::SUCCESS
}

/// Feeds one target until the time is up or it panics.
fn feed(target: &Target, seed: u64, time: Duration, finds: &PathBuf) -> (u64, u64, bool) {
    let mut herd = Herd::new(corpus(target).unwrap_or_default(), seed);
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < time {
        for _ in 0..STRETCH {
            let input = herd.breed();
            let Ok(outcome) = catch_unwind(|| (target.feed)(&input)) else {
                let path = finds.join(format!("{}-{seed}-{count}", target.name));
                let kept = fs::create_dir_all(finds).and_then(|()| fs::write(&path, &input));
                eprintln!("{}: {kept:?}: {input:?}", path.display());
                return (count, herd.outcomes() as u64, true);
            };
            herd.learn(input, outcome);
            count += 1;
        }
    }
    (count, herd.outcomes() as u64, false)
}
