//! `cargo xtask compare`: our root against one that `mmdebstrap` makes of the very same packages. A developer's verb:
//! nothing else needs `mmdebstrap`, and a build never does.

use std::{fmt::Write as _, fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use pilotlight_card::{DIFFERENCES, Verdict, Workshop};

use crate::{BOARD, Source, ui, usual};

const SCRIPT: &str = include_str!("compare.sh");
/// How many differences are shown, unless all are asked for.
const SHOWN: usize = 60;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The board: a file of boards/ without its ending
    #[arg(long, default_value = BOARD)]
    board: String,
    /// A tar archive of a root that was made the usual way [default: one made now with mmdebstrap, kept in target/usual]
    #[arg(long, value_name = "ROOT.TAR")]
    usual: Option<PathBuf>,
    /// Show every difference that has no reason, not the first few
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    pub(crate) source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let usual = match &arguments.usual {
        Some(usual) => usual.clone(),
        None => usual_root(&workshop, &arguments.board)?,
    };
    let verdict = workshop.compare(&arguments.board, &usual)?;
    print!("{}", told(&verdict, if arguments.all { usize::MAX } else { SHOWN }));
    Ok(ExitCode::from(u8::from(!verdict.is_clean())))
}

fn told(verdict: &Verdict, shown: usize) -> String {
    let mut text = String::new();
    for (reason, count) in &verdict.explained {
        _ = writeln!(text, "{count:>6}  {reason}");
    }
    let explained: usize = verdict.explained.values().sum();
    _ = writeln!(text, "{} paths, {explained} differences with a reason", verdict.paths);
    for difference in verdict.unexplained.iter().take(shown) {
        _ = writeln!(text, "{difference}");
    }
    if verdict.unexplained.len() > shown {
        _ = writeln!(text, "and {} more: --all shows them", verdict.unexplained.len() - shown);
    }
    for unused in &verdict.unused {
        _ = writeln!(text, "{DIFFERENCES} explains what is not there: {unused}");
    }
    if !verdict.is_clean() {
        _ = writeln!(
            text,
            "{} differences without a reason, {} lines too many in {DIFFERENCES}",
            verdict.unexplained.len(),
            verdict.unused.len()
        );
    }
    text
}

/// The usual root of the packages in the lock, made unless it is there.
fn usual_root(workshop: &Workshop, board: &str) -> anyhow::Result<PathBuf> {
    let selection = workshop.selection(&workshop.root_sets(&workshop.board(board)?.0))?;
    let modules = workshop.root_modules(board)?.join("\n") + "\n";
    let key = usual::key(&selection, &[SCRIPT, &modules]);
    let parent = workshop.target().join("usual");
    let done = parent.join(format!("{key}.tar"));
    if done.is_file() {
        return Ok(done);
    }
    fs::create_dir_all(&parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
    let work =
        tempfile::tempdir_in(&parent).with_context(|| format!("cannot write in {}", parent.display()))?;
    let list = work.path().join("modules");
    fs::write(&list, modules).with_context(|| format!("cannot write {}", list.display()))?;
    let command = usual::command(&selection, work.path(), SCRIPT)?;
    eprintln!("{:>12} a root with mmdebstrap, which takes minutes", "Making");
    usual::run(command, &parent.join("make.log"))?;
    fs::rename(work.path().join("root.tar"), &done)
        .with_context(|| format!("cannot name {}", done.display()))?;
    Ok(done)
}
