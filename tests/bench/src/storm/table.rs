//! The figures of a storm.

use std::{collections::BTreeSet, time::Duration};

use pilotlight_tests::{herd::Fared, rack::Killed};

use crate::link::Count;

pub(crate) fn print(title: &str, fared: &[Fared], count: Count) {
    let sorted = |pick: &dyn Fn(&Fared) -> Option<Duration>| {
        let mut times: Vec<f64> = fared.iter().filter_map(|one| Some(pick(one)?.as_secs_f64())).collect();
        times.sort_by(f64::total_cmp);
        times
    };
    let median = |times: &[f64]| times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
    let last = |times: &[f64]| times.last().copied().unwrap_or(f64::NAN);
    let booted = sorted(&|one| one.took);
    let slowest = last(&booted);
    println!("\n{title}");
    for (what, times) in [
        ("has an address", sorted(&|one| one.addressed)),
        ("has loader and script", sorted(&|one| one.loaded)),
        ("has everything", booted.clone()),
    ] {
        let first = times.first().copied().unwrap_or(f64::NAN);
        println!(
            "  {what:<22} {:>5} machines   first {first:>7.2} s   median {:>7.2} s   last {:>7.2} s",
            times.len(),
            median(&times),
            last(&times)
        );
    }
    let again: usize = fared.iter().map(|one| one.machine.setbacks().len()).sum();
    println!("  slowest / median       {:.3}   starts that led nowhere: {again}", slowest / median(&booted));
    println!(
        "  on the wire            {:.1} MB in {} frames to the machines, {:.1} MB in {} frames to the Pi",
        count.from_server.bytes as f64 / 1e6,
        count.from_server.frames,
        count.to_server.bytes as f64 / 1e6,
        count.to_server.frames,
    );
    println!(
        "  share of the link      {:.1} % of 100 Mbit/s over {slowest:.2} s, frames with preamble, check sum and gap",
        count.from_server.seconds() / slowest * 100.0
    );
}

/// What machines with trouble cost the others: each machine's own time, with them and without.
pub(crate) fn compare(alone: &[Fared], beside: &[Fared]) {
    let ratio = |(one, other): (&Fared, &Fared)| {
        Some(other.took?.as_secs_f64() / one.took.filter(|took| !took.is_zero())?.as_secs_f64())
    };
    let mut ratios: Vec<f64> = alone.iter().zip(beside).filter_map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let at =
        |part: usize| ratios.get((ratios.len().saturating_sub(1)) * part / 100).copied().unwrap_or(f64::NAN);
    println!(
        "  each machine's time, beside them and without: median {:.3}, nine of ten within {:.3}, worst {:.3}",
        at(50),
        at(90),
        at(100)
    );
}

/// The services that were killed.
pub(crate) fn killed(killed: &[Killed]) {
    for name in killed.iter().map(|one| one.name).collect::<BTreeSet<_>>() {
        let times = || killed.iter().filter(|one| one.name == name).map(|one| one.back_after.as_millis());
        println!(
            "  {name:<22} killed {} times, ready again after {} ms at most",
            times().count(),
            times().max().unwrap_or_default()
        );
    }
}
