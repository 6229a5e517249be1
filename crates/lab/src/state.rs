//! What has become of the nodes since the lab was put in force: the channels that operators chose, what was installed, and
//! which machines were met that the lab does not know by their hardware addresses.
//!
//! Each is held against what `lab.toml` says of the node. Once that says something else, the file has the last word and
//! what was held against it is void: whoever edits the file need not know what was before.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Deserialize;

use crate::{Lab, MacAddr, Node, check, problem::meant, versions};

/// What has become of the nodes, by their names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabState {
    /// Whether it is gone with the Pi's next start.
    volatile: bool,
    channels: BTreeMap<String, Choice>,
    installed: BTreeMap<String, Installed>,
    met: BTreeMap<String, Met>,
}

/// A channel that was chosen for a node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Choice {
    channel: String,
    /// The profile and the channel that the lab had for the node then.
    profile: String,
    instead_of: String,
}

/// An installation that a node was given the answers for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Installed {
    profile: String,
    disk: String,
}

/// The machine that is a node which the lab does not know by its hardware address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Met {
    mac: String,
    /// What the lab knew it by then.
    known_by: String,
}

/// A choice as it came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// What the node is started from next.
    pub channel: String,
    /// The version that the Pi has of that now, if any.
    pub version: Option<String>,
    /// Whether that is what `lab.toml` says: no choice is left.
    pub of_the_lab: bool,
}

/// Why something cannot be had for a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoChoice {
    /// There is no such node.
    #[error("there is no node {name:?}: {hint}")]
    Node {
        /// The name.
        name: String,
        /// The nearest name, or all of them.
        hint: String,
    },
    /// What the node boots has no channels.
    #[error("{node} boots {what}, which has no channels")]
    NoChannels {
        /// The node.
        node: String,
        /// What it boots.
        what: String,
    },
    /// The Pi has no version of that channel.
    #[error("the Pi has no {system} {channel}; it has {}", if here.is_empty() { "none at all" } else { here })]
    NotHere {
        /// The node's system.
        system: &'static str,
        /// The channel.
        channel: String,
        /// The channels that there are, with their versions.
        here: String,
    },
    /// Nothing is installed on the node without a hand at it.
    #[error(
        "nothing is installed on {0} by itself: in lab.toml it has no installer's profile, or no `install-to`"
    )]
    NoInstaller(String),
    /// The lab itself says which machine it is.
    #[error("{0} is known by its hardware address in lab.toml: to name another one, write it there")]
    NamedByMac(String),
    /// That it was installed could not be remembered.
    #[error("nothing is installed by itself while the card cannot remember it: its data partition is amiss")]
    Volatile,
}

/// A text that is no state of a lab.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not as the keeper of the lab's state writes it: {0}")]
pub struct StateError(String);

impl LabState {
    /// What is assumed where there was a state that cannot be read any more: that whatever is installed by itself was. No
    /// disk is erased because a file is damaged.
    pub fn assumed(lab: &Lab) -> Self {
        let mut state = Self::default();
        for node in &lab.nodes {
            state.install(lab, &node.name);
        }
        state
    }

    /// Reads a state as [`LabState::text`] writes it.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn parse(text: &str) -> Result<Self, StateError> {
        let state: Self = toml::from_str(text).map_err(|error| StateError(error.message().to_owned()))?;
        let plain = |word: &String| versions::plain("node, channel or profile", word).map_err(StateError);
        for (node, Choice { channel, profile, instead_of }) in &state.channels {
            [node, channel, profile, instead_of].into_iter().try_for_each(plain)?;
        }
        for (node, Installed { profile, disk }) in &state.installed {
            [node, profile].into_iter().try_for_each(plain)?;
            check::disk(disk).map_err(|_| StateError(format!("{disk:?} is no disk")))?;
        }
        for (node, Met { mac, known_by }) in &state.met {
            plain(node)?;
            check::mac(mac).map_err(|_| StateError(format!("{mac:?} is no hardware address")))?;
            if known_by.contains(|c: char| c != ' ' && !c.is_ascii_graphic()) {
                return Err(StateError(format!("{known_by:?} is nothing to know a machine by")));
            }
        }
        Ok(state)
    }

    /// The state as TOML: the same text for the same state.
    pub fn text(&self) -> String {
        let mut out = String::from("# What has become of the nodes under this lab.toml.\n");
        // Writing to a string cannot fail.
        _ = writeln!(out, "volatile = {}", self.volatile);
        for (node, Choice { channel, profile, instead_of }) in &self.channels {
            _ = write!(
                out,
                "\n[channels.{node:?}]\nchannel = {channel:?}\nprofile = {profile:?}\ninstead-of = {instead_of:?}\n"
            );
        }
        for (node, Installed { profile, disk }) in &self.installed {
            _ = write!(out, "\n[installed.{node:?}]\nprofile = {profile:?}\ndisk = {disk:?}\n");
        }
        for (node, Met { mac, known_by }) in &self.met {
            _ = write!(out, "\n[met.{node:?}]\nmac = {mac:?}\nknown-by = {known_by:?}\n");
        }
        out
    }

    /// Notes whether the state is gone with the Pi's next start. While it is, nothing is installed by itself: it would be
    /// done again after that start.
    pub fn set_volatile(&mut self, volatile: bool) {
        self.volatile = volatile;
    }

    /// Chooses `channel` for the node of this name; none takes back what was chosen. `lab` is the lab as its file has it,
    /// with the versions that the Pi has.
    ///
    /// # Errors
    /// When nothing is to be chosen there, or the Pi has not got it: a choice never makes a node unbootable.
    pub fn choose(&mut self, lab: &Lab, name: &str, channel: Option<&str>) -> Result<Chosen, NoChoice> {
        let node = named(lab, name)?;
        let (release, usual) = lab.followed(node).ok_or_else(|| NoChoice::NoChannels {
            node: name.to_owned(),
            what: node.profile.clone().unwrap_or_else(|| "nothing by itself".to_owned()),
        })?;
        let version_of = |wanted: &str| lab.versions.here(release).find(|(channel, _)| *channel == wanted);
        let Some(channel) = channel.filter(|channel| *channel != usual) else {
            self.channels.remove(name);
            let version = version_of(usual).map(|(_, version)| version.to_owned());
            return Ok(Chosen { channel: usual.to_owned(), version, of_the_lab: true });
        };
        let (_, version) = version_of(channel).ok_or_else(|| {
            let here = lab.versions.here(release).map(|(channel, version)| format!("{channel} ({version})"));
            NoChoice::NotHere {
                system: release.system.title(),
                channel: channel.to_owned(),
                here: here.collect::<Vec<_>>().join(", "),
            }
        })?;
        let choice = Choice {
            channel: channel.to_owned(),
            profile: node.profile.clone().unwrap_or_default(),
            instead_of: usual.to_owned(),
        };
        self.channels.insert(name.to_owned(), choice);
        Ok(Chosen { channel: channel.to_owned(), version: Some(version.to_owned()), of_the_lab: false })
    }

    /// Notes that the node of this name was given what it needs to be installed without a question: it is not given that
    /// again by itself. A node on which nothing is installed so is left as it is.
    pub fn install(&mut self, lab: &Lab, name: &str) {
        let Some(node) = lab.node_by_name(name) else { return };
        if let Some(disk) = lab.erased(node) {
            let profile = node.profile.clone().unwrap_or_default();
            self.installed.insert(name.to_owned(), Installed { profile, disk: disk.to_owned() });
        }
    }

    /// Has the node of this name installed once more, from its next start on. Gives the disk that is erased then.
    ///
    /// # Errors
    /// When nothing is installed on it without a question.
    pub fn install_again<'a>(&mut self, lab: &'a Lab, name: &str) -> Result<&'a str, NoChoice> {
        let node = named(lab, name)?;
        let disk = lab.erased(node).ok_or_else(|| NoChoice::NoInstaller(name.to_owned()))?;
        if self.volatile {
            return Err(NoChoice::Volatile);
        }
        self.installed.remove(name);
        Ok(disk)
    }

    /// Notes that the machine with this hardware address is the node of this name, where the lab knows that by something
    /// else. The first one counts until it is forgotten, and a hardware address is one node's.
    pub fn meet(&mut self, lab: &Lab, name: &str, mac: MacAddr) {
        let known_by = lab.node_by_name(name).and_then(|node| node.identity.as_ref());
        let Some(known_by) = known_by.map(ToString::to_string) else { return };
        let known = self.met.get(name).is_some_and(|met| met.known_by == known_by);
        let mac_text = mac.to_string();
        let taken = lab.node_by_mac(mac).is_some()
            || self.met.iter().any(|(other, met)| other != name && met.mac == mac_text);
        if !known && !taken && check::mac(&mac_text).is_ok() {
            self.met.insert(name.to_owned(), Met { mac: mac_text, known_by });
        }
    }

    /// Forgets which machine the node of this name is: the next one that says what the lab knows it by is it. Gives the
    /// hardware address that it had; none where it was not met yet.
    ///
    /// # Errors
    /// When the lab knows it by its hardware address.
    pub fn forget(&mut self, lab: &Lab, name: &str) -> Result<Option<String>, NoChoice> {
        match named(lab, name)?.identity {
            Some(_) => Ok(self.met.remove(name).map(|met| met.mac)),
            None => Err(NoChoice::NamedByMac(name.to_owned())),
        }
    }

    /// Forgets the choices and meetings that are void under `lab`, so that they do not come back to life with a later one. What was
    /// installed is remembered: a lab that was in force by mistake erases no disk once the right one is back.
    pub fn tidy(&mut self, lab: &Lab) {
        self.channels
            .retain(|name, choice| lab.node_by_name(name).is_some_and(|node| choice.stands(lab, node)));
        self.met
            .retain(|name, met| lab.node_by_name(name).is_some_and(|node| met.stands(lab, node).is_some()));
    }

    /// The lab with what has become of it: each node follows the channel that counts, is as installed as it is, and has the
    /// hardware address that it was met with.
    pub fn applied(&self, lab: &Lab) -> Lab {
        let mut now = lab.clone();
        for (node, new) in lab.nodes.iter().zip(&mut now.nodes) {
            if let Some(choice) = self.channels.get(&node.name).filter(|choice| choice.stands(lab, node)) {
                new.channel = Some(choice.channel.clone());
            }
            if let Some(mac) = self.met.get(&node.name).and_then(|met| met.stands(lab, node)) {
                new.mac = mac;
            }
            let noted = self.installed.get(&node.name);
            new.installed = lab.erased(node).is_some()
                && (self.volatile || noted.is_some_and(|noted| noted.stands(lab, node)));
        }
        now
    }
}

impl Choice {
    /// Whether the lab still says of the node what this was chosen against.
    fn stands(&self, lab: &Lab, node: &Node) -> bool {
        node.profile.as_ref() == Some(&self.profile)
            && lab.followed(node).is_some_and(|(_, channel)| channel == self.instead_of)
    }
}

impl Installed {
    /// Whether the lab still wants the same installed on the same disk.
    fn stands(&self, lab: &Lab, node: &Node) -> bool {
        node.profile.as_ref() == Some(&self.profile) && lab.erased(node) == Some(&self.disk)
    }
}

impl Met {
    /// The hardware address, where the lab still knows the node by what it was met by, and no other node by that address.
    fn stands(&self, lab: &Lab, node: &Node) -> Option<MacAddr> {
        let mac: MacAddr = self.mac.parse().ok()?;
        let same = node.identity.as_ref()?.to_string() == self.known_by;
        (same && lab.node_by_mac(mac).is_none()).then_some(mac)
    }
}

fn named<'a>(lab: &'a Lab, name: &str) -> Result<&'a Node, NoChoice> {
    lab.node_by_name(name).ok_or_else(|| NoChoice::Node {
        name: name.to_owned(),
        hint: meant(name, lab.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Architecture, System, Versions};

    const LAB: &str = r#"
[network]
address = "10.77.0.1/24"

[[nodes]]
name = "one"
mac = "52:54:00:00:00:01"
address = "10.77.0.11"
profile = "flatcar"

[[nodes]]
name = "two"
mac = "52:54:00:00:00:02"
address = "10.77.0.12"
profile = "flatcar"
channel = "beta"

[[nodes]]
name = "disk"
mac = "52:54:00:00:00:03"
address = "10.77.0.13"

[[nodes]]
name = "new"
mac = "52:54:00:00:00:04"
address = "10.77.0.14"
profile = "debian-installer"
install-to = "/dev/sda"

[profiles.flatcar]
kind = "flatcar"
"#;

    fn lab(text: &str) -> Lab {
        let mut lab = crate::parse(text).unwrap();
        let key = |text: &str| (System::Flatcar, Architecture::Amd64, text.to_owned());
        lab.versions = Versions {
            channels: BTreeMap::from([
                (key("stable"), "1.0".to_owned()),
                (key("beta"), "2.0".to_owned()),
                (key("lts"), "0.9".to_owned()),
            ]),
            files: BTreeMap::from([(key("1.0"), BTreeMap::new()), (key("2.0"), BTreeMap::new())]),
        };
        lab
    }

    fn channel(state: &LabState, lab: &Lab, node: &str) -> Option<String> {
        state.applied(lab).node_by_name(node).unwrap().channel.clone()
    }

    #[test]
    fn the_last_word_counts() {
        let before = lab(LAB);
        let mut state = LabState::default();
        let chosen = state.choose(&before, "one", Some("beta")).unwrap();
        let expect =
            Chosen { channel: "beta".to_owned(), version: Some("2.0".to_owned()), of_the_lab: false };
        assert_eq!(chosen, expect);
        assert_eq!(channel(&state, &before, "one").as_deref(), Some("beta"));
        assert_eq!(channel(&state, &before, "two").as_deref(), Some("beta"));
        assert_eq!(LabState::parse(&state.text()), Ok(state.clone()), "{}", state.text());

        // The file says something else by now.
        let after =
            lab(&LAB.replace("profile = \"flatcar\"\n\n", "profile = \"flatcar\"\nchannel = \"lts\"\n\n"));
        assert_eq!(channel(&state, &after, "one").as_deref(), Some("lts"));
        let mut tidied = state.clone();
        tidied.tidy(&before);
        assert_eq!(tidied, state);
        tidied.tidy(&after);
        assert_eq!(tidied, LabState::default());

        for back in [None, Some("stable")] {
            let mut state = state.clone();
            let chosen = state.choose(&before, "one", back).unwrap();
            assert!(chosen.of_the_lab && chosen.channel == "stable", "{chosen:?}");
            assert_eq!(state, LabState::default());
        }
    }

    #[test]
    fn nothing_is_chosen_that_cannot_be_booted() {
        for (node, channel, expect) in [
            ("one", "lts", "the Pi has no Flatcar lts; it has beta (2.0), stable (1.0)"),
            ("one", "betta", "the Pi has no Flatcar betta; it has beta (2.0), stable (1.0)"),
            ("disk", "beta", "disk boots nothing by itself, which has no channels"),
            ("tow", "beta", "there is no node \"tow\": known: one, two, disk, new"),
        ] {
            let mut state = LabState::default();
            let refused = state.choose(&lab(LAB), node, Some(channel)).unwrap_err();
            assert_eq!((refused.to_string().as_str(), state), (expect, LabState::default()));
        }
    }

    #[test]
    fn nothing_is_installed_twice() {
        let before = lab(LAB);
        let mut state = LabState::default();
        let boots = |state: &LabState, lab: &Lab, name: &str| {
            state.applied(lab).node_by_name(name).unwrap().boots().map(str::to_owned)
        };
        assert_eq!(boots(&state, &before, "new").as_deref(), Some("debian-installer"));
        for name in ["new", "one", "disk", "nobody"] {
            state.install(&before, name);
        }
        assert_eq!(boots(&state, &before, "new").as_deref(), Some("local-disk"));
        assert_eq!(boots(&state, &before, "one").as_deref(), Some("flatcar"));
        assert_eq!(boots(&state, &before, "disk"), None);
        assert_eq!(LabState::parse(&state.text()), Ok(state.clone()), "{}", state.text());

        // Another disk is another installation.
        let after = lab(&LAB.replace("/dev/sda", "/dev/sdb"));
        assert_eq!(boots(&state, &after, "new").as_deref(), Some("debian-installer"));
        // A lab that was in force in between changes nothing.
        let mut tidied = state.clone();
        tidied.tidy(&after);
        assert_eq!(tidied, state);
        assert_eq!(LabState::assumed(&before), state);

        assert_eq!(state.install_again(&before, "new"), Ok("/dev/sda"));
        assert_eq!(boots(&state, &before, "new").as_deref(), Some("debian-installer"));
        for (name, expect) in [
            (
                "one",
                "nothing is installed on one by itself: in lab.toml it has no installer's profile, or no `install-to`",
            ),
            ("nwe", "there is no node \"nwe\": known: one, two, disk, new"),
        ] {
            assert_eq!(state.install_again(&before, name).unwrap_err().to_string(), expect);
        }
    }

    #[test]
    fn nothing_is_installed_that_could_not_be_remembered() {
        let lab = lab(LAB);
        let mut state = LabState::default();
        state.set_volatile(true);
        assert_eq!(state.applied(&lab).node_by_name("new").unwrap().boots(), Some("local-disk"));
        assert_eq!(state.applied(&lab).node_by_name("one").unwrap().boots(), Some("flatcar"));
        assert_eq!(state.install_again(&lab, "new"), Err(NoChoice::Volatile));
        assert_eq!(LabState::parse(&state.text()), Ok(state));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\[channels.one\\]\n|\\[installed.one\\]\n|volatile = true\n|disk = \"/dev/\"\n|channel = |profile = |instead-of = |\"[a-z]{0,4}\"\n|\\PC){0,20}") {
            if let Ok(state) = LabState::parse(&text) {
                prop_assert_eq!(LabState::parse(&state.text()), Ok(state.clone()));
                state.applied(&lab(LAB));
            }
        }
    }
}
