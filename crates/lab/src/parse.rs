//! `lab.toml` → [`Lab`], with everything that is wrong found in one pass.

use std::{collections::BTreeMap, time::Duration};

use toml::de::DeTable;

use crate::{
    Lab, Loader, Mode, Network, Node, Operator, Pool, Problems, Profile, ProfileKind, Tftp, check,
    problem::{Problem, meant},
    section::{At, Refused, Report, Section},
};

/// The longest `lab.toml` that is read, in bytes: thousands of nodes fit.
pub const MAX_LENGTH: usize = 1 << 20;

const DEFAULT_INTERFACE: &str = "eth0";
/// RFC 8375: the domain that never leaves a home network.
const DEFAULT_DOMAIN: &str = "lab.home.arpa";
const DEFAULT_LEASE: Duration = Duration::from_secs(3600);
const DEFAULT_RELEASE: u32 = 13;
const DEFAULT_ARCHITECTURE: &str = "amd64";
/// Linux stops at more than 32 that it does not know itself; what the boot scripts add needs some of them.
const MAX_ARGUMENTS: usize = 16;
const KINDS: [&str; 2] = ["debian-installer", "local-disk"];
const MODES: [&str; 2] = ["server", "proxy"];

/// Reads a `lab.toml`.
///
/// # Errors
/// Every mistake is reported, not the first alone; where the text is no TOML at all, only those faults are.
pub fn parse(text: &str) -> Result<Lab, Problems> {
    if text.len() > MAX_LENGTH {
        let message = format!("{} bytes are too long for a lab.toml: {MAX_LENGTH} are the most", text.len());
        return Err(Problems::new(vec![Problem::new(text, 0..0, "", message, None)]));
    }
    let (document, faults) = DeTable::parse_recoverable(text);
    if !faults.is_empty() {
        let problem = |fault: &toml::de::Error| {
            Problem::new(text, fault.span().unwrap_or(0..0), "", fault.message(), None)
        };
        return Err(Problems::new(faults.iter().map(problem).collect()));
    }
    let mut report = Report::new(text);
    match lab(Section::new(document.get_ref(), 0..0, String::new()), &mut report) {
        Some(lab) if report.problems.is_empty() => Ok(lab),
        _ => Err(Problems::new(report.problems)),
    }
}

fn lab(mut file: Section<'_>, report: &mut Report<'_>) -> Option<Lab> {
    let network = file.section(report, "network");
    let network = file.require(report, "network", "{ address = \"10.77.0.1/24\" }", network);
    let network = network.and_then(|section| self::network(section, report));
    let tftp = file.section(report, "tftp").map_or(Tftp::default(), |section| tftp(section, report));
    let profiles = Profiles::read(file.section(report, "profiles"), report);
    let sections = file.sections(report, "nodes");
    let operators = file.sections(report, "operators");
    file.finish(report);
    let operators = self::operators(operators, report);
    let mut seen = Seen::default();
    let nodes: Vec<_> = sections
        .into_iter()
        .map(|section| node(section, network.as_ref(), &profiles, &mut seen, report))
        .collect();
    Some(Lab {
        network: network?,
        tftp,
        nodes: nodes.into_iter().collect::<Option<_>>()?,
        profiles: profiles.checked,
        operators: operators?,
    })
}

fn tftp(mut section: Section<'_>, report: &mut Report<'_>) -> Tftp {
    let single_port = section.truth(report, "single-port");
    section.finish(report);
    Tftp { single_port: single_port.is_some_and(|at| at.value) }
}

fn operators(sections: Vec<Section<'_>>, report: &mut Report<'_>) -> Option<Vec<Operator>> {
    let mut seen = Seen::default();
    let mut operator = |mut section: Section<'_>| {
        let name = section.text(report, "name");
        let name = section.require(report, "name", "\"me\"", name);
        let key = section.text(report, "key");
        let key = section.require(report, "key", "\"ssh-ed25519 AAAA… me@desk\"", key);
        section.finish(report);
        let name = name.and_then(|at| at.read(report, |text| check::label(text)));
        let key = key.and_then(|at| at.read(report, |text| check::ssh_key(text)));
        let name = name.and_then(|at| seen.once("operator", at, report));
        Some(Operator { name: name?, key: key?.value })
    };
    let operators: Vec<_> = sections.into_iter().map(&mut operator).collect();
    operators.into_iter().collect()
}

fn network(mut section: Section<'_>, report: &mut Report<'_>) -> Option<Network> {
    let interface = section.text(report, "interface");
    let own = section.text(report, "address");
    let own = section.require(report, "address", "\"10.77.0.1/24\"", own);
    let mode = section.text(report, "mode");
    let domain = section.text(report, "domain");
    let router = section.text(report, "router");
    let dns = section.texts(report, "dns");
    let upstream = section.texts(report, "upstream");
    let lease = section.text(report, "lease");
    let probe_first = section.truth(report, "probe-first");
    let pool = section.section(report, "pool");
    section.finish(report);

    let interface = interface.and_then(|at| at.read(report, |text| check::interface(text)));
    let domain = domain.and_then(|at| at.read(report, |text| check::domain(text)));
    let mode =
        mode.and_then(|at| at.read(report, |text| self::mode(text))).map_or(Mode::Server, |at| at.value);
    if mode == Mode::Proxy {
        let pool = pool.as_ref().map(|pool| (pool.span(), "pool"));
        let lease = lease.as_ref().map(|at| (at.span.clone(), "lease"));
        let probe = probe_first.as_ref().filter(|at| at.value).map(|at| (at.span.clone(), "probe-first"));
        for (span, key) in [pool, lease, probe].into_iter().flatten() {
            let hint = format!("leave {key} out, or write mode = \"server\"");
            let message = "the Pi gives out no addresses: mode is \"proxy\"";
            report.add(span, &format!("network.{key}"), message, Some(hint));
        }
    }
    let lease = lease.and_then(|at| at.read(report, |text| check::lease(text)));
    let router = router.and_then(|at| at.read(report, |text| check::address(text)));
    let dns: Vec<_> = dns.into_iter().filter_map(|at| at.read(report, |text| check::address(text))).collect();
    let upstream: Vec<_> =
        upstream.into_iter().filter_map(|at| at.read(report, |text| check::address(text))).collect();
    let own = own.and_then(|at| at.read(report, |text| check::interface_address(text)));
    let network = own.map(|At { value: (address, prefix), .. }| Network {
        interface: interface.map_or(DEFAULT_INTERFACE.to_owned(), |at| at.value),
        address,
        prefix,
        mode,
        domain: domain.map_or(DEFAULT_DOMAIN.to_owned(), |at| at.value),
        router: router.as_ref().map(|at| at.value),
        dns: if dns.is_empty() { vec![address] } else { dns.iter().map(|at| at.value).collect() },
        upstream: upstream.iter().map(|at| at.value).collect(),
        pool: None,
        lease: lease.map_or(DEFAULT_LEASE, |at| at.value),
        probe_first: probe_first.is_some_and(|at| at.value),
    });
    let Some(network) = network else {
        // Without the network itself, only the pool's own keys and spelling can be checked.
        pool.and_then(|pool| self::pool(pool, None, &[], report));
        return None;
    };
    for at in upstream {
        at.read(report, |address| check::upstream(&network, *address));
    }
    let router = router.and_then(|at| at.read(report, |router| check::in_network(&network, *router)));
    let local = dns.into_iter().filter(|at| network.contains(at.value));
    let fixed: Vec<_> = router.into_iter().chain(local).collect();
    let pool = pool.and_then(|pool| self::pool(pool, Some(&network), &fixed, report));
    Some(Network { pool, ..network })
}

fn pool(
    mut section: Section<'_>,
    network: Option<&Network>,
    fixed: &[At<std::net::Ipv4Addr>],
    report: &mut Report<'_>,
) -> Option<Pool> {
    let mut end = |key, example| {
        let at = section.text(report, key);
        let at = section.require(report, key, example, at)?;
        at.read(report, |text| {
            let address = check::address(text)?;
            network.map_or(Ok(address), |network| check::in_network(network, address))
        })
    };
    let first = end("first", "\"10.77.0.100\"");
    let last = end("last", "\"10.77.0.199\"");
    let span = section.span();
    section.finish(report);
    let (first, last) = (first?, last?);
    let pool = Pool { first: first.value, last: last.value };
    if pool.first > pool.last {
        let hint = format!("first = \"{}\", last = \"{}\"", pool.last, pool.first);
        let message = format!("{} lies after the pool's last address {}", pool.first, pool.last);
        report.refuse(&first, Refused::new(message).hint(hint));
        return None;
    }
    let inside = |address| (pool.first..=pool.last).contains(&address);
    let own = network.map(|network| network.address).filter(|own| inside(*own));
    if let Some(own) = own {
        let message = format!("the pool holds the Pi's own address {own}");
        report.add(span, "network.pool", message, Some("let it begin after or end before it".into()));
    }
    for at in fixed.iter().filter(|at| inside(at.value)) {
        let message = format!("{} lies in the pool: it would be given to a machine as well", at.value);
        report.refuse(at, Refused::new(message));
    }
    Some(pool)
}

/// Where each name and address of the nodes was seen first.
#[derive(Default)]
struct Seen(BTreeMap<(&'static str, String), String>);

impl Seen {
    /// Refuses a value that an earlier node has.
    fn once<T: ToString>(&mut self, what: &'static str, at: At<T>, report: &mut Report<'_>) -> Option<T> {
        let text = at.value.to_string();
        let refused = match self.0.get(&(what, text.clone())) {
            Some(first) => Refused::new(format!("this {what}, {text}, is given twice: {first} has it too")),
            None => {
                self.0.insert((what, text), at.key);
                return Some(at.value);
            }
        };
        report.refuse(&at, refused);
        None
    }
}

fn node(
    mut section: Section<'_>,
    network: Option<&Network>,
    profiles: &Profiles,
    seen: &mut Seen,
    report: &mut Report<'_>,
) -> Option<Node> {
    let name = section.text(report, "name");
    let name = section.require(report, "name", "\"node1\"", name);
    let mac = section.text(report, "mac");
    let mac = section.require(report, "mac", "\"52:54:00:12:34:56\"", mac);
    let address = section.text(report, "address");
    let needs_address = network.is_none_or(|network| network.mode == Mode::Server);
    let address = match address {
        None if needs_address => section.require(report, "address", "\"10.77.0.11\"", None).map(Some),
        address => Some(address),
    };
    let profile = section.text(report, "profile");
    let loader = section.text(report, "loader");
    let install_to = section.text(report, "install-to");
    section.finish(report);

    let name = name.and_then(|at| at.read(report, |text| check::node_name(text)));
    let mac = mac.and_then(|at| at.read(report, |text| check::mac(text)));
    let address = optional(address, |at| {
        at.read(report, |text| {
            let address = check::address(text)?;
            network.map_or(Ok(address), |network| check::for_another(network, address))
        })
    });
    let profile = profile.and_then(|at| at.read(report, |text| profiles.named(text)));
    let loader = loader.and_then(|at| at.read(report, |text| self::loader(text)));
    let install_to = install_to.and_then(|at| at.read(report, |text| check::disk(text)));

    let name = name.and_then(|at| seen.once("name", at, report));
    let mac = mac.and_then(|at| seen.once("hardware address", at, report));
    let address = optional(address, |at| seen.once("address", at, report));
    Some(Node {
        name: name?,
        mac: mac?,
        address: address?,
        profile: profile.map(|at| at.value),
        loader: loader.map_or(Loader::default(), |at| at.value),
        install_to: install_to.map(|at| at.value),
    })
}

/// Reads on what may be left out: the outer none is a mistake that was reported.
fn optional<T, U>(value: Option<Option<T>>, read: impl FnOnce(T) -> Option<U>) -> Option<Option<U>> {
    match value? {
        Some(value) => read(value).map(Some),
        None => Some(None),
    }
}

fn mode(text: &str) -> Result<Mode, Refused> {
    match text {
        "server" => Ok(Mode::Server),
        "proxy" => Ok(Mode::Proxy),
        _ => Err(Refused::new(format!("{text:?} is no mode")).hint(meant(text, MODES))),
    }
}

fn loader(text: &str) -> Result<Loader, Refused> {
    let known = Loader::NAMES.into_iter().find(|(name, _)| *name == text);
    known.map(|(_, loader)| loader).ok_or_else(|| {
        let names = Loader::NAMES.map(|(name, _)| name);
        Refused::new(format!("{text:?} is no boot loader")).hint(meant(text, names))
    })
}

/// The profiles, and the names of those that were written wrongly: a node that names one has no fault of its own.
struct Profiles {
    checked: BTreeMap<String, Profile>,
    faulty: Vec<String>,
}

impl Profiles {
    fn read(section: Option<Section<'_>>, report: &mut Report<'_>) -> Self {
        let mut profiles = Self { checked: built_in(), faulty: Vec::new() };
        for (name, section) in section.map(|section| section.named(report)).unwrap_or_default() {
            let written = name.value.to_owned();
            let name = name.read(report, |text| check::profile_name(text));
            let profile = profile(section, &written, report);
            match name.and_then(|name| Some((name.value, profile?))) {
                Some((name, profile)) => drop(profiles.checked.insert(name, profile)),
                None => profiles.faulty.push(written),
            }
        }
        profiles
    }

    fn named(&self, text: &str) -> Result<String, Refused> {
        let names = || self.checked.keys().chain(&self.faulty).map(String::as_str);
        if names().any(|name| name == text) {
            return Ok(text.to_owned());
        }
        let known: Vec<_> = names().collect();
        Err(Refused::new(format!("there is no profile {text:?}")).hint(meant(text, known)))
    }
}

/// What every lab has without writing it. A profile of the same name in the file takes its place.
fn built_in() -> BTreeMap<String, Profile> {
    let installer = ProfileKind::DebianInstaller {
        release: DEFAULT_RELEASE,
        architecture: DEFAULT_ARCHITECTURE.to_owned(),
        arguments: Vec::new(),
        mirror: None,
        authorized_keys: Vec::new(),
    };
    let profile = |title: String, kind| Profile { title, kind };
    BTreeMap::from([
        (
            "debian-installer".to_owned(),
            profile(installer_title(DEFAULT_RELEASE, DEFAULT_ARCHITECTURE), installer),
        ),
        ("local-disk".to_owned(), profile(LOCAL_DISK_TITLE.to_owned(), ProfileKind::LocalDisk)),
    ])
}

const LOCAL_DISK_TITLE: &str = "Boot from the disk of this machine";

fn installer_title(release: u32, architecture: &str) -> String {
    format!("Install Debian {release} ({architecture})")
}

fn profile(mut section: Section<'_>, name: &str, report: &mut Report<'_>) -> Option<Profile> {
    let kind = section.text(report, "kind");
    let example = if name == "local-disk" { "\"local-disk\"" } else { "\"debian-installer\"" };
    let kind = section.require(report, "kind", example, kind);
    let kind = kind.and_then(|at| {
        at.read(report, |text| {
            let known = KINDS.into_iter().find(|kind| kind == text);
            let known = known.ok_or_else(|| {
                Refused::new(format!("{text:?} is no kind of profile")).hint(meant(text, KINDS))
            })?;
            if name == "local-disk" && known != name {
                let fault = Refused::new("a profile with the name local-disk can only boot the local disk");
                return Err(fault.hint("choose another name"));
            }
            Ok(known)
        })
    });
    let title = section.text(report, "title");
    let title = title.and_then(|at| at.read(report, |text| check::title(text)));
    let title = title.map(|at| at.value);
    if kind.as_ref().is_some_and(|kind| kind.value == "local-disk") {
        section.finish(report);
        return Some(Profile {
            title: title.unwrap_or(LOCAL_DISK_TITLE.to_owned()),
            kind: ProfileKind::LocalDisk,
        });
    }
    // A kind that was refused is read as the one with the most keys, so that these are checked too.
    let release = section.integer(report, "release");
    let architecture = section.text(report, "architecture");
    let arguments = section.texts(report, "arguments");
    let mirror = section.text(report, "mirror");
    let keys = section.texts(report, "authorized-keys");
    section.finish(report);

    let release = release.and_then(|at| at.read(report, |number| check::release(*number)));
    let architecture = architecture.and_then(|at| at.read(report, |text| check::architecture(text)));
    if let Some(at) = arguments.get(MAX_ARGUMENTS) {
        report.refuse(at, Refused::new(format!("{MAX_ARGUMENTS} arguments are the most")));
    }
    let arguments: Vec<_> =
        arguments.into_iter().filter_map(|at| at.read(report, |text| check::argument(text))).collect();
    let mirror = mirror.and_then(|at| at.read(report, |text| check::mirror(text)));
    let keys: Vec<_> =
        keys.into_iter().filter_map(|at| at.read(report, |text| check::ssh_key(text))).collect();
    kind?;
    let release = release.map_or(DEFAULT_RELEASE, |at| at.value);
    let architecture = architecture.map_or(DEFAULT_ARCHITECTURE.to_owned(), |at| at.value);
    Some(Profile {
        title: title.unwrap_or_else(|| installer_title(release, &architecture)),
        kind: ProfileKind::DebianInstaller {
            release,
            architecture,
            arguments: arguments.into_iter().map(|at| at.value).collect(),
            mirror: mirror.map(|at| at.value),
            authorized_keys: keys.into_iter().map(|at| at.value).collect(),
        },
    })
}
