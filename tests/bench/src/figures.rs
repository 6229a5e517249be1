//! Figures: medians, what a process took, and tables of them.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// The middle one; of an even number the lower of the two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// What the process `pid`, and those of its threads that there are, have taken of the processors so far: to the
/// nanosecond, where proc(5)'s usual figures count in hundredths of a second.
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
    Ok(Duration::from_nanos(total))
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
