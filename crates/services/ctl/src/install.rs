//! `pilotctl install`: which machines are installed at their next start, and which were.

use clap::Args;
use pilotlight_lab::Lab;

use crate::state::{Source, columns};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The node that is to be installed once more, by its name in lab.toml: its disk is ERASED at its next start from the
    /// network.
    node: Option<String>,
    #[command(flatten)]
    source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    arguments.source.print_or_ask("install", arguments.node.as_deref(), table)
}

/// The nodes that are installed without a question, and whether that was done.
fn table(_: &Lab, now: &Lab) -> String {
    let mut rows = vec![["NODE", "DISK", "AT ITS NEXT START FROM THE NETWORK"].map(str::to_owned)];
    for node in &now.nodes {
        let Some(disk) = now.erased(node) else { continue };
        let next = if node.installed { "starts from its disk" } else { "is installed, and its disk ERASED" };
        rows.push([node.name.clone(), disk.to_owned(), next.to_owned()]);
    }
    if rows.len() == 1 { "nothing is installed on any node by itself\n".to_owned() } else { columns(&rows) }
}

#[cfg(test)]
mod tests {
    use pilotlight_lab::LabState;

    use super::*;

    #[test]
    fn the_table_says_what_is_erased() {
        let node = |name: &str, number: u8, more: &str| {
            format!(
                "[[nodes]]\nname = {name:?}\nmac = \"52:54:00:00:00:{number:02}\"\naddress = \"10.77.0.{number}\"\n\
                 profile = \"debian-installer\"\n{more}\n"
            )
        };
        let disk = "install-to = \"/dev/sda\"";
        let text = format!(
            "[network]\naddress = \"10.77.0.1/24\"\n{}{}{}",
            node("one", 11, disk),
            node("two", 12, disk),
            node("asked", 13, "")
        );
        let lab = pilotlight_lab::parse(&text).unwrap();
        let mut state = LabState::default();
        state.install(&lab, "two");
        let expect = "\
NODE  DISK      AT ITS NEXT START FROM THE NETWORK
one   /dev/sda  is installed, and its disk ERASED
two   /dev/sda  starts from its disk
";
        assert_eq!(table(&lab, &state.applied(&lab)), expect);
        let text = format!("[network]\naddress = \"10.77.0.1/24\"\n{}", node("asked", 13, ""));
        let lab = pilotlight_lab::parse(&text).unwrap();
        assert_eq!(table(&lab, &lab), "nothing is installed on any node by itself\n");
    }
}
