//! Long runs of the simulator: `cargo xtask soak boots`. Every core plays seeds until the time is up or one shows a fault.

use std::{
    cell::Cell,
    env, panic,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pilotlight_machines::simulator::{self, Report};

/// Seeds between two looks at the clock.
const STRETCH: u64 = 100;

thread_local! {
    /// The seed that this thread is at.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

fn main() -> ExitCode {
    // A panic tells its seed before it ends everything, as it does in a release.
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        usual(info);
        eprintln!("error: seed {}: a panic\n{}", SEED.get(), simulator::again(SEED.get()));
    }));
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--seed", seed] if seed.parse::<u64>().is_ok() => one(seed.parse().unwrap_or_default()),
        [seconds, first] => match (seconds.parse(), first.parse()) {
            (Ok(seconds), Ok(first)) => many(Duration::from_secs(seconds), first),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: pilotlight-machines --seed SEED | SECONDS FIRST-SEED");
    ExitCode::from(2)
}

/// Plays one seed, and says what its world was and what happened in it.
fn one(seed: u64) -> ExitCode {
    SEED.set(seed);
    let world = simulator::World::from_seed(seed);
    for member in &world.members {
        println!("{} {:?}", member.mac, member);
    }
    println!("{:?}, {:?} for a write, killed at {:?}", world.wire, world.card, world.kills);
    println!("a loader of {} bytes", world.loader.len());
    let mut tell = |at: Duration, what: String| println!("{:12.6} {what}", at.as_secs_f64());
    match simulator::play_aloud(&world, &mut tell) {
        Ok(report) => {
            println!("{report:?}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("error: seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}

fn many(time: Duration, first: u64) -> ExitCode {
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let sum = Mutex::new(Report::default());
    let start = Instant::now();
    let work = || {
        while start.elapsed() < time && !failed.load(Ordering::Relaxed) {
            let from = next.fetch_add(STRETCH, Ordering::Relaxed);
            for seed in from..from + STRETCH {
                SEED.set(seed);
                match simulator::seeds(seed, 1) {
                    Ok(report) => *sum.lock().unwrap_or_else(PoisonError::into_inner) += report,
                    Err((seed, violation)) => {
                        eprintln!("error: seed {seed}: {violation}\n{}", simulator::again(seed));
                        failed.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} worlds from seed {first} on in {:.1} s ({:.0} a second): {} machines, {} booted, {} starts that led nowhere, \
         {} packets, {} lost, services killed {} times, {:.1} h of simulated time",
        sum.worlds,
        start.elapsed().as_secs_f64(),
        sum.worlds as f64 / start.elapsed().as_secs_f64(),
        sum.machines,
        sum.booted,
        sum.setbacks,
        sum.packets,
        sum.lost,
        sum.kills,
        sum.time.as_secs_f64() / 3600.0,
    );
    ExitCode::from(u8::from(failed.into_inner()))
}
