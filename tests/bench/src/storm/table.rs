//! The figures of a storm.

use std::{collections::BTreeSet, time::Duration};

use pilotlight_machines::Chain;
use pilotlight_tests::{herd::Fared, rack::Killed};

use crate::link::{self, Count};

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
    let alike = Chain::ALL.iter().map(|chain| {
        let times = sorted(&|one| one.took.filter(|_| one.machine.plan().chain == *chain));
        last(&times) / median(&times)
    });
    println!(
        "  slowest / median       {:.3}, of those that boot alike {:.3}   starts that led nowhere: {again}",
        slowest / median(&booted),
        alike.fold(f64::NAN, f64::max)
    );
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
    let best = soonest(&fared.iter().filter_map(asked).collect::<Vec<_>>());
    println!(
        "  could end after        {best:.2} s, had the link carried no byte twice and never been still once machines asked: \
         {:.1} %",
        best / slowest * 100.0
    );
}

/// What a machine asked of the link, in seconds.
struct Asked {
    /// From when on it had its loader and script: until then its own firmware sets the pace.
    loaded: f64,
    /// For how long the link is busy with what it gets then, and with all that it gets.
    system: f64,
    all: f64,
}

fn asked(fared: &Fared) -> Option<Asked> {
    let is_system = |name: &String| fared.machine.plan().system.contains(name);
    let bytes = |wanted: &dyn Fn(&String) -> bool| -> u64 {
        let received = fared.machine.received().iter();
        received.filter(|(name, _)| wanted(name)).map(|(_, content)| content.length).sum()
    };
    let (system, all) = (link::seconds(bytes(&is_system)), link::seconds(bytes(&|_| true)));
    Some(Asked { loaded: fared.loaded?.as_secs_f64(), system, all })
}

/// When the last machine could have had everything at the soonest, in seconds.
fn soonest(machines: &[Asked]) -> f64 {
    let from = |one: &Asked| {
        let later = machines.iter().filter(|other| other.loaded >= one.loaded);
        one.loaded + later.map(|other| other.system).sum::<f64>()
    };
    let all = machines.iter().map(|one| one.all).sum();
    machines.iter().map(from).fold(all, f64::max)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_still_before_machines_ask_and_no_longer() {
        let machines = |loaded: [f64; 4]| loaded.map(|loaded| Asked { loaded, system: 2.0, all: 2.2 });
        // All at once, one after the other; or with loaders that take longer than the wait for them.
        assert_eq!(soonest(&machines([1.0; 4])), 9.0);
        assert_eq!(soonest(&machines([0.1; 4])), 8.8);
        // The last one comes while the link is still busy, or when it has long been still.
        assert_eq!(soonest(&machines([1.0, 1.0, 1.0, 4.0])), 9.0);
        assert_eq!(soonest(&machines([1.0, 1.0, 1.0, 20.0])), 22.0);
    }
}
