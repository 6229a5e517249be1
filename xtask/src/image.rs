//! `cargo xtask image`: the card.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::Args;
use pilotlight_card::{ImageRequest, Report, Workshop};

use crate::{BOARD, Source, mirror, size, ui};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The board: a file of boards/ without its ending
    #[arg(long, default_value = BOARD)]
    board: String,
    /// The lab to put on the card [default: the one that every image brings along]
    #[arg(long, value_name = "LAB.TOML")]
    lab: Option<PathBuf>,
    /// Where to write the image [default: target/images/pilotlight-BOARD.img]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Work out the SHA-256 of the whole file, holes included, too: it takes longer than all the rest
    #[arg(long)]
    sha256: bool,
    #[command(flatten)]
    pub(crate) source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let request = ImageRequest {
        board: arguments.board.clone(),
        lab: arguments.lab.clone(),
        out: arguments.out.clone(),
        sha256: arguments.sha256,
    };
    summary(&workshop.image(&request)?, start);
    Ok(ExitCode::SUCCESS)
}

fn summary(report: &Report, start: Instant) {
    let summary = &report.summary;
    let path =
        summary.path.strip_prefix(std::env::current_dir().unwrap_or_default()).unwrap_or(&summary.path);
    let path = path.display();
    println!("image      {path}");
    println!(
        "size       {} on a card, {} of them written (block map: {path}.bmap)",
        ui::bytes(summary.len),
        ui::bytes(summary.mapped_bytes)
    );
    let (boot, root, payload) = (report.boot_bytes, report.root_bytes, report.payload_bytes);
    println!(
        "           boot {}, root {}, of it for other machines {} (Linux {})",
        ui::bytes(boot),
        ui::bytes(root),
        ui::bytes(payload),
        report.kernel_release
    );
    let (system, limit) = (ui::bytes(boot + root - payload), ui::bytes(size::LIMIT));
    println!("           the system without that {system}, of {limit} at the most (`cargo xtask size`)");
    let beside = |path: &std::path::Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for node in &report.node_images {
        let bytes = node.made.files.iter().map(|(_, length, _)| length).sum();
        let (version, kernel, bytes) = (&node.made.version, &node.made.kernel_release, ui::bytes(bytes));
        println!(
            "nodes      debian-ram {version}: {}, Linux {kernel}, {bytes} on the data partition",
            node.kind
        );
    }
    for release in &report.mirrored.releases {
        println!("           {}", mirror::line(release));
    }
    for lacking in &report.lacking {
        println!("lacking    {lacking} is not on the card (`cargo xtask mirror`)");
    }
    println!(
        "beside it  every file: {}, bill of materials: {}",
        beside(&report.manifest),
        beside(&report.bill)
    );
    println!("content    {} (SHA-256 over every mapped run's place and digest)", summary.content_sha256);
    if let Some(sha256) = summary.sha256 {
        println!("sha256     {sha256}");
    }
    let steps = report.steps.iter().map(|step| match step.note {
        "" => format!("{} {}", step.name, ui::seconds(step.time)),
        note => format!("{} {note}", step.name),
    });
    let total = ui::seconds(start.elapsed());
    println!("time       {total}: {}", steps.collect::<Vec<_>>().join(", "));
    println!("to a card  cargo xtask flash");
}
