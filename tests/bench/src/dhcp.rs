//! DHCP: four-way exchanges of many machines, as many as each server manages and five times as many.
//!
//! The leases of all servers are on one file system, which is said: ours are on it when an ACK leaves, the others' are
//! left to the kernel. Every server has one core for itself, and the machines another, which the kernel's share of their
//! packets falls on as well: it works where the sender is. Each measurement is of a server started for it, whose lease store is empty.

mod crowd;
mod servers;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{
    figures::{median, processor_time, proportional_memory, table},
    rig::Rig,
};
use crowd::{Crowd, Load};
use servers::{SERVERS, Server};

/// How long a measurement lasts.
const FOR: Duration = Duration::from_secs(2);
/// So many addresses are in the pool, less a few hundred.
const MOST: u32 = 64_000;
/// How many machines ask at a time: each server is measured with the number that it does best with.
const WINDOWS: [u32; 3] = [32, 256, 1024];
/// What is offered beyond saturation, in saturations.
const BEYOND: f64 = 5.0;
/// After so many leases memory is looked at.
const LEASES: u32 = 10_000;

/// What was measured of one server.
#[derive(Default)]
struct Row {
    /// Exchanges in a second at saturation, and offered five times as many.
    saturated: Vec<f64>,
    beyond: Vec<f64>,
    /// How many were then offered in truth, in saturations.
    offered: Vec<f64>,
    /// Processor time of the server for one exchange, in microseconds.
    cost: Vec<f64>,
    /// From DISCOVER to ACK in milliseconds: the median and the 99th of 100.
    middle: Vec<f64>,
    late: Vec<f64>,
    /// Memory in MiB, looked at once: with nothing to do, and after [`LEASES`] leases.
    idle: Vec<f64>,
    full: Vec<f64>,
}

pub(crate) fn measure(rounds: u32) -> Result<()> {
    let rig = Rig::set()?;
    let stand = servers::Stand::set(&rig)?;
    let crowd = Crowd::gather()?;
    let mut rows: Vec<Row> = SERVERS.iter().map(|_| Row::default()).collect();
    let windows = SERVERS.iter().map(|server| best_window(&stand, &crowd, server));
    let windows = windows.collect::<Result<Vec<u32>>>()?;
    for _ in 0..rounds {
        for ((server, row), window) in SERVERS.iter().zip(&mut rows).zip(&windows) {
            round(&stand, &crowd, server, row, *window)
                .with_context(|| format!("could not measure {}", server.name))?;
        }
    }
    print(&rows, &windows, &stand)
}

fn best_window(stand: &servers::Stand<'_>, crowd: &Crowd, server: &Server) -> Result<u32> {
    let mut best = (0.0, WINDOWS[0]);
    for window in WINDOWS {
        let running = stand.start(server, crowd)?;
        let load = Load::Saturating { machines: window };
        let outcome = crowd.run(&load, FOR / 2, MOST)?;
        if outcome.rate() > best.0 {
            best = (outcome.rate(), window);
        }
        drop(running);
    }
    Ok(best.1)
}

fn round(
    stand: &servers::Stand<'_>,
    crowd: &Crowd,
    server: &Server,
    row: &mut Row,
    window: u32,
) -> Result<()> {
    let saturating = Load::Saturating { machines: window };
    let mut running = stand.start(server, crowd)?;
    let before = processor_time(running.pid())?;
    let outcome = crowd.run(&saturating, FOR, MOST)?;
    let took = processor_time(running.pid())?.saturating_sub(before);
    running.must_be_alive()?;
    ensure!(outcome.completed > 0, "no exchange was completed");
    stand.must_be_written(server, &outcome)?;
    row.saturated.push(outcome.rate());
    row.cost.push(took.as_secs_f64() * 1e6 / f64::from(outcome.completed));
    row.middle.push(outcome.quantile(0.5));
    row.late.push(outcome.quantile(0.99));
    drop(running);

    let mut running = stand.start(server, crowd)?;
    let offered_rate = BEYOND * outcome.rate();
    let offered = Load::Offered { each_second: offered_rate };
    let outcome = crowd.run(&offered, FOR, u32::MAX)?;
    running.must_be_alive()?;
    row.offered.push(outcome.offered() * BEYOND / offered_rate);
    row.beyond.push(outcome.rate());
    drop(running);

    if !row.idle.is_empty() {
        return Ok(());
    }
    let running = stand.start(server, crowd)?;
    row.idle.push(mebibytes(running.pid())?);
    let outcome = crowd.run(&saturating, 3 * FOR, LEASES)?;
    // One server does not get so far.
    row.full.push(if outcome.completed == LEASES { mebibytes(running.pid())? } else { f64::NAN });
    Ok(())
}

fn mebibytes(pid: u32) -> Result<f64> {
    Ok(proportional_memory(pid)? as f64 / f64::from(1 << 20))
}

fn print(rows: &[Row], windows: &[u32], stand: &servers::Stand<'_>) -> Result<()> {
    let head = [
        "server",
        "machines at a time",
        "exchanges/s",
        "offered 5×",
        "in truth ×",
        "of own peak",
        "CPU µs each",
        "median ms",
        "99 % ms",
        "PSS idle MiB",
        "after 10,000",
    ];
    let lines: Vec<Vec<String>> = SERVERS
        .iter()
        .zip(rows)
        .zip(windows)
        .map(|((server, row), window)| {
            let [saturated, beyond] = [&row.saturated, &row.beyond].map(|values| median(values.clone()));
            let short = |values: &Vec<f64>| format!("{:.1}", median(values.clone()));
            vec![
                server.name.to_owned(),
                window.to_string(),
                format!("{saturated:.0}"),
                format!("{beyond:.0}"),
                short(&row.offered),
                format!("{:.2}", beyond / saturated),
                short(&row.cost),
                short(&row.middle),
                short(&row.late),
                short(&row.idle),
                short(&row.full),
            ]
        })
        .collect();
    table(
        &format!(
            "DHCP, four-way exchanges; each server on core {}, the machines on core {}; leases on {} at {}",
            stand.cores.server,
            stand.cores.machines,
            stand.file_system()?,
            stand.leases().display()
        ),
        &head,
        &lines,
    );
    let ours = rows.first().context("nothing was measured")?;
    for (server, row) in SERVERS.iter().zip(rows).skip(1) {
        let ratio = |ours: &Vec<f64>, theirs: &Vec<f64>| median(ours.clone()) / median(theirs.clone());
        println!(
            "  ours / {}: exchanges {:.2}, offered 5× {:.2}, CPU {:.2}",
            server.name,
            ratio(&ours.saturated, &row.saturated),
            ratio(&ours.beyond, &row.beyond),
            ratio(&ours.cost, &row.cost)
        );
    }
    Ok(())
}
