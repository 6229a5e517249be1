//! `pilotctl forget`: which machines were met as nodes that the lab knows by something else than a hardware address.

use clap::Args;
use pilotlight_lab::Lab;

use crate::state::{Source, columns};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The node, by its name in lab.toml, that has another network card or is another machine now: the next machine with its
    /// UUID or serial number is it.
    node: Option<String>,
    #[command(flatten)]
    source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    arguments.source.print_or_ask("forget", arguments.node.as_deref(), table)
}

fn table(_: &Lab, now: &Lab) -> String {
    let mut rows = vec![["NODE", "KNOWN BY", "HARDWARE ADDRESS"].map(str::to_owned)];
    for node in &now.nodes {
        let Some(identity) = &node.identity else { continue };
        let mac = if node.is_met() { node.mac.to_string() } else { "not met yet".to_owned() };
        rows.push([node.name.clone(), identity.to_string(), mac]);
    }
    if rows.len() == 1 {
        "lab.toml knows every node by its hardware address\n".to_owned()
    } else {
        columns(&rows)
    }
}

#[cfg(test)]
mod tests {
    use pilotlight_lab::{LabState, MacAddr};

    use super::*;

    #[test]
    fn the_table_says_who_was_met() {
        let node = |name: &str, number: u8, known_by: &str| {
            format!("[[nodes]]\nname = {name:?}\naddress = \"10.77.0.{number}\"\n{known_by}\n")
        };
        let text = format!(
            "[network]\naddress = \"10.77.0.1/24\"\n{}{}{}",
            node("one", 11, "mac = \"52:54:00:00:00:01\""),
            node("two", 12, "uuid = \"4c4c4544-0042-3510-8052-b4c04f564433\""),
            node("three", 13, "uuid = \"4c4c4544-0042-3510-8052-b4c04f564434\""),
        );
        let lab = pilotlight_lab::parse(&text).unwrap();
        let mut state = LabState::default();
        state.meet(&lab, "two", MacAddr([0x52, 0x54, 0, 0, 0, 2]));
        let expect = "\
NODE   KNOWN BY                                   HARDWARE ADDRESS
two    UUID 4c4c4544-0042-3510-8052-b4c04f564433  52:54:00:00:00:02
three  UUID 4c4c4544-0042-3510-8052-b4c04f564434  not met yet
";
        assert_eq!(table(&lab, &state.applied(&lab)), expect);
    }
}
