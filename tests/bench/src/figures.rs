//! Figures: medians, what a process took, and tables of them.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};

/// The middle one; of an even number the lower of the two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// The time that the children of a process take, for one that does not wait for their end: it is read again and again
/// while they live.
pub(crate) struct Children {
    stop: Arc<AtomicBool>,
    watcher: JoinHandle<Duration>,
}

impl Children {
    /// Watches the children of the process `parent`.
    pub(crate) fn watch(parent: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let watcher = thread::spawn(move || {
            let mut taken: BTreeMap<u32, Duration> = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                if taken.is_empty() {
                    taken.extend(children(parent).into_iter().map(|child| (child, Duration::ZERO)));
                }
                for (child, time) in &mut taken {
                    *time = processor_time(*child).unwrap_or(*time);
                }
                thread::sleep(Duration::from_millis(3));
            }
            taken.values().sum()
        });
        Self { stop, watcher }
    }

    /// What they have taken.
    pub(crate) fn took(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.join().unwrap_or_default()
    }
}

fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| stat(*pid, 1).ok() == Some(u64::from(parent))).collect()
}

/// What the threads of the process `pid`, and the children that it has seen end, have taken of the processors so far.
/// The threads' part is exact to the nanosecond, the children's to the tick, of which a second has a hundred.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let threads = format!("/proc/{pid}/task");
    let mut total = 0;
    for thread in fs::read_dir(&threads).with_context(|| format!("could not list {threads}"))? {
        let path = thread.with_context(|| format!("could not list {threads}"))?.path().join("schedstat");
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let busy = text.split_ascii_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        total += busy.with_context(|| format!("{} is not what the kernel says it is", path.display()))?;
    }
    Ok(Duration::from_nanos(total) + ended_children(pid)?)
}

fn ended_children(pid: u32) -> Result<Duration> {
    let ticks = stat(pid, 13)? + stat(pid, 14)?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// A field of proc_pid_stat(5), counted from the one behind the name: that may hold blanks and brackets.
fn stat(pid: u32, field: usize) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let number = fields.split_ascii_whitespace().nth(field).and_then(|field| field.parse().ok());
    number.with_context(|| format!("{path} is not what proc(5) says"))
}

/// The memory of the process `pid` in bytes, what it shares counted in proportion (PSS).
pub(crate) fn proportional_memory(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).map(str::trim);
    let kib = line.and_then(|line| line.strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kib.with_context(|| format!("{path} has no Pss"))? * 1024)
}

/// Prints rows below a head, in columns as wide as what is in them: the first to the left, the others to the right.
pub(crate) fn table(title: &str, head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).enumerate();
        let padded: Vec<String> = cells
            .map(
                |(at, (cell, width))| {
                    if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        println!("  {}", padded.join("   ").trim_end());
    };
    println!("\n{title}");
    line(&head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn this_process_has_a_size_and_a_time() {
        let own = std::process::id();
        assert!(proportional_memory(own).unwrap() > 100_000);
        assert!(processor_time(own).unwrap() > Duration::ZERO);
    }
}
