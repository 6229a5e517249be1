//! `cargo xtask size`: what the image spends, and what a removal would save.

use std::process::ExitCode;

use clap::Args;
use pilotlight_card::{
    Workshop,
    spend::{FileCost, PackageCost, Spend, sum},
};

use crate::{BOARD, Source, ui};

/// Firmware, kernel, initrd and root, the payload apart, may take this many bytes at the most.
pub(crate) const LIMIT: u64 = 90_000_000;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The board: a file of boards/ without its ending
    #[arg(long, default_value = BOARD)]
    board: String,
    /// Show this many packages and files; 0 shows all
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    top: usize,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let spend = workshop.spend(&arguments.board)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&spend)?);
    } else {
        print!("{}", table(&spend, if arguments.top == 0 { usize::MAX } else { arguments.top }));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(spend: &Spend, top: usize) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(words.trim_end());
        text.push('\n');
    };
    line(format!("{:<42} {:>9} {:>9} {:>9}  why it is there", "package", "stored", "unpacked", "saves"));
    for cost in spend.packages.iter().take(top) {
        line(package(cost));
    }
    let rest = spend.packages.iter().skip(top);
    let (count, stored) = rest.fold((0, 0), |(count, stored), cost| (count + 1, stored + cost.stored));
    if count > 0 {
        line(format!("{:<42} {:>9}", format!("and {count} more"), ui::bytes(stored)));
    }
    for (title, costs) in [
        ("file of the root", &spend.files),
        ("for other machines", &spend.payload),
        ("boot partition", &spend.boot),
    ] {
        line(format!("\n{title:<72} {:>9} {:>9}", "stored", "unpacked"));
        costs.iter().take(top).for_each(|cost| line(file(cost)));
        if costs.len() > top {
            let words = format!("and {} more", costs.len() - top);
            line(format!("{words:<72} {:>9}", ui::bytes(sum(&costs[top..]))));
        }
    }
    line(format!(
        "\nboot partition {}, root {} (its tables {}), together {} of {} at the most; for other machines {}",
        ui::bytes(sum(&spend.boot)),
        ui::bytes(sum(&spend.files) + spend.tables),
        ui::bytes(spend.tables),
        ui::bytes(spend.system()),
        ui::bytes(LIMIT),
        ui::bytes(spend.payload_bytes())
    ));
    text
}

fn package(cost: &PackageCost) -> String {
    let saves = cost.saves.map(ui::bytes).unwrap_or_default();
    let mut why = shortened(&cost.because);
    if !cost.goes_with.is_empty() {
        why.push_str(&format!("; takes along {}", shortened(&cost.goes_with)));
    }
    let (stored, content) = (ui::bytes(cost.stored), ui::bytes(cost.content));
    format!("{:<42} {stored:>9} {content:>9} {saves:>9}  {why}", cost.package)
}

/// The first few of many names.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(" ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

fn file(cost: &FileCost) -> String {
    format!("{:<72} {:>9} {:>9}", cost.path, ui::bytes(cost.stored), ui::bytes(cost.content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let file = |path: &str, stored| FileCost {
            path: path.to_owned(),
            package: "tool".to_owned(),
            content: 2 * stored,
            stored,
        };
        let package = |package: &str, stored, saves, goes_with: &[&str], because: &[&str]| PackageCost {
            package: package.to_owned(),
            files: 1,
            content: 2 * stored,
            stored,
            saves,
            goes_with: goes_with.iter().map(|name| (*name).to_owned()).collect(),
            because: because.iter().map(|name| (*name).to_owned()).collect(),
        };
        let spend = Spend {
            packages: vec![
                package("tool", 5_000_000, Some(5_040_000), &["a", "b", "c", "d", "e"], &["wished"]),
                package("made", 20_000, None, &[], &[]),
                package("lib", 1_000, Some(1_000), &[], &["essential", "tool"]),
            ],
            files: vec![file("/usr/bin/tool", 5_000_000), file("/etc/passwd", 21_000)],
            payload: vec![file("/usr/share/pilotlight/http/linux", 9_000_000)],
            boot: vec![file("vmlinuz", 14_000_000)],
            tables: 77_000,
        };
        insta::assert_snapshot!(table(&spend, 2));
    }
}
