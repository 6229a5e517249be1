//! `[[nodes]]` and the `[groups]` that they belong to: what a group says holds for its nodes, and their own words count
//! more.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::{Seen, named::Named, profiles};
use crate::{
    Config, Disks, Identity, Loader, MacAddr, Mode, Network, Node, Power, PowerDevice, Profile, ProfileKind,
    Role, Variable, check,
    section::{At, Refused, Report, Section, kind},
};

/// The most groups from a node's up to the one that extends no other.
const MAX_DEPTH: usize = 8;
/// How deep lists may lie in one another.
const MAX_NESTING: usize = 3;

/// What nodes and groups may name.
pub(super) struct Known<'a> {
    pub(super) network: Option<&'a Network>,
    pub(super) profiles: &'a Named<Profile>,
    pub(super) configs: &'a Named<Config>,
    pub(super) power: &'a Named<PowerDevice>,
}

/// What nodes and groups alike may say.
#[derive(Clone, Default)]
struct Words {
    role: Option<Role>,
    profile: Option<String>,
    channel: Option<At<String>>,
    loader: Option<Loader>,
    config: Option<At<String>>,
    variables: BTreeMap<String, Variable>,
    ssh_keys: Vec<String>,
}

struct Group {
    extends: Option<At<String>>,
    words: Words,
}

/// Reads the nodes, their groups and the keys that open them all.
pub(super) fn nodes(file: &mut Section<'_>, known: &Known<'_>, report: &mut Report<'_>) -> Option<Vec<Node>> {
    let keys = file.checked_list(report, "ssh-keys", check::ssh_key);
    let lab = Words { ssh_keys: keys.into_iter().map(|at| at.value).collect(), ..Words::default() };
    let groups = Named::read(file.section(report, "groups"), "group", report, |_, mut section, report| {
        let words = words(&mut section, known, report);
        let extends = section.text(report, "extends");
        section.finish(report);
        Some(Group {
            extends: extends.map(|at| At { value: at.value.to_owned(), span: at.span, key: at.key }),
            words,
        })
    });
    for group in groups.checked.values() {
        if let Some(extends) = group.extends.clone() {
            extends.read(report, |name| groups.named(name));
        }
    }
    let names = || groups.checked.keys().map(String::as_str);
    for name in names() {
        let refused = match line_of(name, &groups) {
            Ok(_) => continue,
            Err(fault) => fault,
        };
        if let Some(extends) = groups.checked.get(name).and_then(|group| group.extends.as_ref()) {
            report.refuse(extends, refused);
        }
    }
    let whole = |name| {
        let line = line_of(name, &groups).unwrap_or_default();
        line.into_iter().rev().fold(lab.clone(), Words::and)
    };
    let whole: BTreeMap<&str, Words> = names().map(|name| (name, whole(name))).collect();
    let mut seen = Seen::default();
    let mut judged = Vec::new();
    let sections = file.sections(report, "nodes");
    let nodes: Vec<_> = sections
        .into_iter()
        .map(|section| {
            let group = |text: &str| groups.named(text);
            node(section, known, (&lab, &whole, &group), &mut seen, &mut judged, report)
        })
        .collect();
    nodes.into_iter().collect()
}

/// The words of a group and of those that it extends, the nearest first. A circle farther up is told of there.
fn line_of<'g>(name: &'g str, groups: &'g Named<Group>) -> Result<Vec<&'g Words>, Refused> {
    let (mut line, mut seen) = (Vec::new(), Vec::new());
    let mut next = Some(name);
    while let Some((at, group)) = next.and_then(|at| Some((at, groups.checked.get(at)?))) {
        match seen.iter().position(|earlier| *earlier == at) {
            Some(0) => return Err(Refused::new("this group extends itself, at once or by way of others")),
            Some(_) => break,
            None if line.len() == MAX_DEPTH => {
                return Err(Refused::new(format!("{MAX_DEPTH} groups that extend one another are the most")));
            }
            None => {}
        }
        seen.push(at);
        line.push(&group.words);
        next = group.extends.as_ref().map(|at| at.value.as_str());
    }
    Ok(line)
}

impl Words {
    /// These words, and `more` that count more.
    fn and(mut self, more: &Self) -> Self {
        self.role = more.role.or(self.role);
        self.profile = more.profile.clone().or(self.profile);
        self.channel = more.channel.clone().or(self.channel);
        self.loader = more.loader.or(self.loader);
        self.config = more.config.clone().or(self.config);
        self.variables.extend(more.variables.clone());
        for key in &more.ssh_keys {
            if !self.ssh_keys.contains(key) {
                self.ssh_keys.push(key.clone());
            }
        }
        self
    }
}

fn words(section: &mut Section<'_>, known: &Known<'_>, report: &mut Report<'_>) -> Words {
    let role = section.checked(report, "role", |text| check::choice(text, "role", &Role::NAMES));
    let profile = section.checked(report, "profile", |text| known.profiles.named(text));
    let channel = section.checked(report, "channel", |text| Ok(text.to_owned()));
    let loader = section.checked(report, "loader", |text| check::choice(text, "boot loader", &Loader::NAMES));
    let config = section.checked(report, "config", |text| known.configs.named(text));
    let variables = section.section(report, "variables").map(|section| variables(section, report));
    let ssh_keys = section.checked_list(report, "ssh-keys", check::ssh_key);
    Words {
        role: role.map(|at| at.value),
        profile: profile.map(|at| at.value),
        channel,
        loader: loader.map(|at| at.value),
        config,
        variables: variables.unwrap_or_default(),
        ssh_keys: ssh_keys.into_iter().map(|at| at.value).collect(),
    }
}

fn variables(section: Section<'_>, report: &mut Report<'_>) -> BTreeMap<String, Variable> {
    let mut variables = BTreeMap::new();
    for (name, at) in section.values() {
        let name = name.read(report, |text| check::variable_name(text));
        let value = at.read(report, |value| variable(value, 0));
        variables.extend(name.and_then(|name| Some((name.value, value?.value))));
    }
    variables
}

fn variable(value: &DeValue<'_>, depth: usize) -> Result<Variable, Refused> {
    match value {
        DeValue::String(text) => check::variable_text(text).map(Variable::Text),
        DeValue::Boolean(truth) => Ok(Variable::Truth(*truth)),
        DeValue::Integer(number) => {
            let read = i64::from_str_radix(number.as_str(), number.radix());
            read.map(Variable::Integer).map_err(|_| Refused::new("a number of more than 64 bits"))
        }
        DeValue::Array(list) if depth < MAX_NESTING => {
            let values = list.iter().map(|item| variable(item.get_ref(), depth + 1));
            values.collect::<Result<_, _>>().map(Variable::List)
        }
        DeValue::Array(_) => {
            Err(Refused::new(format!("lists lie at most {MAX_NESTING} deep in one another")))
        }
        other => {
            let wanted = "a text, a whole number, true or false, or a list of these is wanted here";
            Err(Refused::new(format!("{wanted}, not {}", kind(other))))
        }
    }
}

/// The lab's own words, each group's with all that it extends, and whether there is a group of a name.
type Groups<'a> = (&'a Words, &'a BTreeMap<&'a str, Words>, &'a dyn Fn(&str) -> Result<String, Refused>);

fn node(
    mut section: Section<'_>,
    known: &Known<'_>,
    (lab, groups, group): Groups<'_>,
    seen: &mut Seen,
    judged: &mut Vec<usize>,
    report: &mut Report<'_>,
) -> Option<Node> {
    let network = known.network;
    let name = section.needed(report, "name", "\"node1\"", check::node_name);
    let known_by = known_by(&mut section, network, seen, report);
    let address_read = |text: &str| {
        let address = check::address(text)?;
        network.map_or(Ok(address), |network| check::for_another(network, address))
    };
    let address = if network.is_none_or(|network| network.mode == Mode::Server) {
        section.needed(report, "address", "\"10.77.0.11\"", address_read).map(Some)
    } else if section.has("address") {
        section.checked(report, "address", address_read).map(Some)
    } else {
        Some(None)
    };
    let group = section.checked(report, "group", group);
    let own = words(&mut section, known, report);
    let power = section.section(report, "power").map(|section| power(section, known.power, report));
    let disks = section.section(report, "disks").map(|section| disks(section, report));
    let install_to = section.checked(report, "install-to", check::disk);
    section.finish(report);

    let name = name.and_then(|at| seen.once("name", at, report));
    let address = match address? {
        Some(at) => seen.once("address", at, report).map(Some),
        None => Some(None),
    };
    let inherited = group.as_ref().and_then(|at| groups.get(at.value.as_str())).unwrap_or(lab);
    let words = inherited.clone().and(&own);
    let [scratch, state] = disks.unwrap_or_default();
    fits(&words, scratch.as_ref().or(state.as_ref()), known, judged, report);
    let disks = Disks { scratch: scratch.map(|at| at.value), state: state.map(|at| at.value) };
    let (mac, identity) = known_by?;
    Some(Node {
        name: name?,
        mac,
        identity,
        address: address?,
        group: group.map(|at| at.value),
        role: words.role,
        profile: words.profile,
        channel: words.channel.map(|at| at.value),
        config: words.config.map(|at| at.value),
        variables: words.variables,
        ssh_keys: words.ssh_keys,
        power: match power {
            Some(power) => Some(power?),
            None => None,
        },
        disks,
        loader: words.loader.unwrap_or_default(),
        install_to: install_to.map(|at| at.value),
        installed: false,
    })
}

/// What the node's machine is known by: its hardware address, or one thing in the place of that.
fn known_by(
    section: &mut Section<'_>,
    network: Option<&Network>,
    seen: &mut Seen,
    report: &mut Report<'_>,
) -> Option<(MacAddr, Option<Identity>)> {
    let uuid = section.checked(report, "uuid", check::uuid);
    let serial = section.checked(report, "serial", check::machine_serial);
    if !section.has("uuid") && !section.has("serial") {
        let mac = section.needed(report, "mac", "\"52:54:00:12:34:56\"", check::mac)?;
        return seen.once("hardware address", mac, report).map(|mac| (mac, None));
    }
    let mac = section.checked(report, "mac", check::mac).map(|at| at.map(|_| ()));
    if let Some(second) = mac.or(uuid.as_ref().filter(|_| serial.is_some()).map(|at| at.map(|_| ()))) {
        let fault = Refused::new("a machine is known by one of `mac`, `uuid` and `serial`");
        report.refuse(&second, fault.hint("leave the others out"));
        return None;
    }
    let no_pool = network.is_some_and(|network| network.mode == Mode::Server && network.pool.is_none());
    if let Some(serial) = serial.as_ref().filter(|_| no_pool) {
        let fault =
            Refused::new("a machine says its serial number once it has an address, and there is no pool");
        report.refuse(serial, fault.hint("add `pool` to [network], or name the machine by its `uuid`"));
        return None;
    }
    let identity = match (uuid, serial) {
        (Some(uuid), _) => {
            let one = seen.once("UUID", uuid.map(|uuid| uuid.sorted()), report).map(|_| uuid.value);
            Identity::Uuid(one?)
        }
        (None, serial) => Identity::Serial(seen.once("serial number", serial?, report)?),
    };
    Some((MacAddr::UNKNOWN, Some(identity)))
}

/// Refuses a channel, a configuration or a disk that the node's profile knows nothing of. One that comes from a group is told
/// once, for the first of its nodes: `judged` are the places that were told of.
fn fits(
    words: &Words,
    disk: Option<&At<String>>,
    known: &Known<'_>,
    judged: &mut Vec<usize>,
    report: &mut Report<'_>,
) {
    let profile = words.profile.as_ref().and_then(|name| Some((name, known.profiles.checked.get(name)?)));
    let Some((name, profile)) = profile else { return };
    let mut refuse = |at: &At<String>, refused: Refused| {
        if !judged.contains(&at.span.start) {
            judged.push(at.span.start);
            report.refuse(at, refused.context(&format!("with the profile {name}")));
        }
    };
    if let Some(at) = &words.channel {
        match &profile.kind {
            ProfileKind::Release(release) => {
                if let Err(refused) = profiles::channel(release.system, &at.value) {
                    refuse(at, refused);
                }
            }
            _ => refuse(at, Refused::new("there are no channels")),
        }
    }
    if let Some(at) = disk.filter(|_| !profile.mounts_disks()) {
        let fault = Refused::new("what is started mounts no disk of the lab's");
        refuse(at, fault.hint("debian-ram, flatcar and fedora-coreos do; leave `disks` out for others"));
    }
    let config = words.config.as_ref().and_then(|at| Some((at, known.configs.checked.get(&at.value)?)));
    if let Some((at, config)) = config
        && !profile.provisioners().contains(&config.kind)
    {
        let kinds: Vec<_> = profile.provisioners().iter().map(|kind| kind.name()).collect();
        let hint = match kinds.as_slice() {
            [] => "it takes no configuration".to_owned(),
            kinds => format!("it takes {}", kinds.join(", ")),
        };
        refuse(at, Refused::new(format!("{} has no reader", config.kind.name())).hint(hint));
    }
}

fn power(mut section: Section<'_>, devices: &Named<PowerDevice>, report: &mut Report<'_>) -> Option<Power> {
    let before = report.problems.len();
    let device = section.checked(report, "device", |text| devices.named(text));
    let outlet = section.integer(report, "outlet");
    let system = section.checked(report, "system", check::system);
    let wake = section.truth(report, "wake-on-lan");
    let whole = At { value: (), span: section.span(), key: section.key().to_owned() };
    section.finish(report);
    let outlet = outlet.and_then(|at| {
        at.read(report, |number| match u8::try_from(*number) {
            Ok(number @ 1..=64) => Ok(number),
            _ => Err(Refused::new(format!("{number} is no outlet: they count from 1 to 64"))),
        })
    });
    match (device, outlet, system, wake) {
        (Some(device), Some(outlet), None, None) => {
            Some(Power::Outlet { device: device.value, outlet: outlet.value })
        }
        (Some(device), None, Some(system), None) => {
            Some(Power::System { device: device.value, system: system.value })
        }
        (None, None, None, Some(At { value: true, .. })) => Some(Power::WakeOnLan),
        // A part that was refused is the reason for what is missing.
        _ if report.problems.len() > before => None,
        _ => {
            let fault = Refused::new("this does not say how the machine is switched");
            let ways = "{ device = \"…\", outlet = 1 }, { device = \"…\", system = \"1\" } or { wake-on-lan = true }";
            report.refuse(&whole, fault.hint(format!("write {ways}")));
            None
        }
    }
}

/// The disk for scratch, and the one for state.
fn disks(mut section: Section<'_>, report: &mut Report<'_>) -> [Option<At<String>>; 2] {
    let scratch = section.checked(report, "scratch", check::disk_serial);
    let state = section.checked(report, "state", check::disk_serial);
    section.finish(report);
    if let (Some(scratch), Some(state)) = (&scratch, &state)
        && scratch.value == state.value
    {
        report
            .refuse(state, Refused::new("this disk is the one for scratch: what has to stay needs another"));
    }
    [scratch, state]
}
