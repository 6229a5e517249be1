//! `pilotctl channel`: what nodes follow, and what they are to follow from their next start on.

use clap::{Args, Subcommand};
use pilotlight_lab::Lab;

use crate::state::{Source, columns};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Has a node follow a channel from its next start on, until lab.toml says something else of it than now.
    Set {
        /// Its name in lab.toml.
        node: String,
        /// The channel, such as `beta`.
        channel: String,
    },
    /// Takes back what was chosen for a node.
    Reset {
        /// Its name in lab.toml.
        node: String,
    },
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.verb {
        None => arguments.source.print(table),
        Some(Verb::Set { node, channel }) => arguments.source.ask(&format!("channel {node} {channel}")),
        Some(Verb::Reset { node }) => arguments.source.ask(&format!("channel {node}")),
    }
}

/// What each node follows `now`, beside what it follows as its lab's file has it, and what else the Pi has.
fn table(lab: &Lab, now: &Lab) -> String {
    let mut rows = vec![["NODE", "SYSTEM", "CHANNEL", "VERSION", ""].map(str::to_owned)];
    for (node, before) in now.nodes.iter().zip(&lab.nodes) {
        let (Some((release, follows)), Some((_, usual))) = (now.followed(node), lab.followed(before)) else {
            continue;
        };
        let version = now.versions.here(release).find(|(channel, _)| *channel == follows);
        let version = version.map_or("not on the Pi", |(_, version)| version).to_owned();
        let others = now.versions.here(release).filter(|(channel, _)| *channel != follows);
        let others: Vec<_> = others.map(|(channel, version)| format!("{channel} ({version})")).collect();
        let mut remarks = Vec::new();
        if follows != usual {
            remarks.push(format!("lab.toml: {usual}"));
        }
        if !others.is_empty() {
            remarks.push(format!("or {}", others.join(", ")));
        }
        let system = release.system.title().to_owned();
        rows.push([node.name.clone(), system, follows.to_owned(), version, remarks.join("; ")]);
    }
    if rows.len() == 1 { "no node of this lab boots what has channels\n".to_owned() } else { columns(&rows) }
}

#[cfg(test)]
mod tests {
    use pilotlight_lab::{LabState, Versions};

    use super::*;

    const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
[[nodes]]
name = "one"
mac = "52:54:00:00:00:01"
address = "10.77.0.11"
profile = "ram"
[[nodes]]
name = "two"
mac = "52:54:00:00:00:02"
address = "10.77.0.12"
profile = "ram"
channel = "sid"
[[nodes]]
name = "disk"
mac = "52:54:00:00:00:03"
address = "10.77.0.13"
[profiles.ram]
kind = "debian-ram"
"#;

    const INDEX: &str = r#"
[[release]]
system = "debian-ram"
architecture = "amd64"
version = "13.2"
channels = ["stable"]
files = {}
[[release]]
system = "debian-ram"
architecture = "amd64"
version = "12.12"
channels = ["oldstable"]
files = {}
"#;

    #[test]
    fn the_table_says_what_counts_and_what_there_is() {
        let mut lab = pilotlight_lab::parse(LAB).unwrap();
        lab.versions = Versions::parse(INDEX).unwrap();
        let mut state = LabState::default();
        state.choose(&lab, "one", Some("oldstable")).unwrap();
        let expect = "\
NODE  SYSTEM            CHANNEL    VERSION
one   Debian in memory  oldstable  12.12          lab.toml: stable; or stable (13.2)
two   Debian in memory  sid        not on the Pi  or oldstable (12.12), stable (13.2)
";
        assert_eq!(table(&lab, &state.applied(&lab)), expect);
        lab.nodes.retain(|node| node.profile.is_none());
        assert_eq!(table(&lab, &lab), "no node of this lab boots what has channels\n");
    }
}
