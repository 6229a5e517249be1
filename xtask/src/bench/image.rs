//! `cargo xtask bench image`: how long making the image takes.

use std::time::{Duration, Instant};

use pilotlight_card::{ImageRequest, Workshop};

use super::Arguments;
use crate::ui;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let scratch = tempfile::tempdir_in(workshop.target())?;
    let request = ImageRequest {
        out: Some(scratch.path().join("bench.img")),
        lab: Some(scratch.path().join("lab.toml")),
        // As `cargo xtask image` does it.
        sha256: true,
        ..ImageRequest::board("rpi3")
    };
    let default = std::fs::read_to_string(workshop.default_lab())?;
    let mut count = 0;
    // A lab that no round before had: nothing may come from an earlier one.
    let mut build = || -> anyhow::Result<Duration> {
        count += 1;
        std::fs::write(scratch.path().join("lab.toml"), format!("{default}\n# {count}\n"))?;
        let start = Instant::now();
        Workshop::open(&ui::workspace()?, &arguments.source.settings())?.image(&request)?;
        Ok(start.elapsed())
    };
    build()?;
    println!("{:<44} {:>9} {:>9} {:>9}", "image, from the start of the builder", "median", "least", "most");
    let cases: [(&str, &dyn Fn() -> anyhow::Result<()>); 3] = [
        ("cold: nothing unpacked, nothing kept", &|| {
            workshop.forget_unpacked()?;
            workshop.forget_roots()
        }),
        ("warm: packages unpacked, root made anew", &|| workshop.forget_roots()),
        ("the lab changed", &|| Ok(())),
    ];
    for (name, prepare) in cases {
        let mut times = Vec::new();
        for _ in 0..arguments.rounds.max(1) {
            prepare()?;
            times.push(build()?);
        }
        times.sort();
        let (least, most) = (times[0], times[times.len() - 1]);
        println!(
            "{name:<44} {:>9} {:>9} {:>9}",
            ui::seconds(times[times.len() / 2]),
            ui::seconds(least),
            ui::seconds(most)
        );
    }
    let report = workshop.image(&request)?;
    println!(
        "firmware, kernel, initrd and root {}; for other machines {} of it as files",
        ui::bytes(report.boot_bytes + report.root_bytes),
        ui::bytes(report.payload_bytes)
    );
    Ok(())
}
