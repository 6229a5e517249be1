//! The state of the lab: read where it lies, changed by the daemon that keeps it.

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use clap::Args;
use pilotlight_kit::lab::{self, Current};
use pilotlight_lab::{Lab, paths};

use crate::ask::ask;

/// A change is on the card before its answer comes, and a card may take a second for it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where it all is.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The lab in force.
    #[arg(long, value_name = "FILE", default_value = paths::LAB)]
    lab: PathBuf,
    /// What has become of its nodes since.
    #[arg(long, value_name = "FILE", default_value = paths::LAB_STATE)]
    lab_state: PathBuf,
    /// Folders whose index says which versions of systems the Pi has; may be given more than once.
    #[arg(long = "index", value_name = "DIR", default_values = [paths::HTTP_ROOT, paths::ASSETS])]
    indexes: Vec<PathBuf>,
    /// The socket over which it is changed.
    #[arg(long, value_name = "SOCKET", default_value = paths::LAB_STATE_SOCKET)]
    socket: PathBuf,
}

impl Source {
    /// Prints what `table` makes of the lab as its file has it and of the lab as it is now.
    pub(crate) fn print(&self, table: impl Fn(&Lab, &Lab) -> String) -> anyhow::Result<()> {
        let current = Current::new(lab::load(&self.lab)?, &self.lab_state, &self.indexes);
        print!("{}", table(current.in_force(), &current.now()));
        match current.faults().first() {
            Some(fault) => bail!("what became of the nodes, or what the Pi has, is not all known: {fault}"),
            None => Ok(()),
        }
    }

    /// Prints `table`, or has `verb` done to the node that is named.
    pub(crate) fn print_or_ask(
        &self,
        verb: &str,
        node: Option<&str>,
        table: impl Fn(&Lab, &Lab) -> String,
    ) -> anyhow::Result<()> {
        match node {
            None => self.print(table),
            Some(node) => self.ask(&format!("{verb} {node}")),
        }
    }

    /// Asks for a change, and prints what came of it.
    pub(crate) fn ask(&self, question: &str) -> anyhow::Result<()> {
        let silence = "whether anything is changed is not known: no answer came";
        let who = "nothing is changed: the keeper of the lab's state, which listens to operators alone,";
        ask(who, &self.socket, Some(question), PATIENCE, silence)
    }
}

/// Rows with their columns below one another.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
