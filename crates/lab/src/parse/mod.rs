//! `lab.toml` → [`Lab`], with everything that is wrong found in one pass.

mod cluster;
mod named;
mod network;
mod nodes;
mod profiles;

use std::collections::BTreeMap;

use named::Named;
use toml::de::DeTable;

use crate::{
    Config, ConfigKind, Lab, Operator, Problems, Tftp, Versions, check,
    problem::Problem,
    section::{At, Refused, Report, Section},
};

/// The longest `lab.toml` that is read, in bytes: thousands of nodes fit.
pub const MAX_LENGTH: usize = 1 << 20;

/// The longest template, in bytes: what Ignition and cloud-init are given is rarely a tenth of it.
const MAX_TEMPLATE: usize = 64 << 10;

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

pub(crate) fn lab(mut file: Section<'_>, report: &mut Report<'_>) -> Option<Lab> {
    let network = file.section(report, "network");
    let network = file.require(report, "network", "{ address = \"10.77.0.1/24\" }", network);
    let network = network.and_then(|section| network::network(section, report));
    let tftp = file.section(report, "tftp").map_or(Tftp::default(), |section| tftp(section, report));
    let operators = file.sections(report, "operators");
    let operators = self::operators(operators, report);
    let profiles = profiles::profiles(file.section(report, "profiles"), report);
    let configs = Named::read(file.section(report, "configs"), "configuration", report, config);
    let power = Named::read(file.section(report, "power"), "power device", report, cluster::power_device);
    let kubernetes = file.section(report, "kubernetes");
    let supplies = file.section(report, "mirror").map(|section| cluster::supplies(section, report));
    let known =
        nodes::Known { network: network.as_ref(), profiles: &profiles, configs: &configs, power: &power };
    let nodes = nodes::nodes(&mut file, &known, report);
    file.finish(report);
    let kubernetes = kubernetes.map(|section| {
        cluster::kubernetes(section, network.as_ref(), nodes.as_deref().unwrap_or_default(), report)
    });
    Some(Lab {
        network: network?,
        tftp,
        nodes: nodes?,
        profiles: profiles.checked,
        configs: configs.checked,
        kubernetes: kubernetes.map_or(Some(None), |kubernetes| kubernetes.map(Some))?,
        supplies: supplies.unwrap_or_default(),
        power: power.checked,
        operators: operators?,
        versions: Versions::default(),
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
        let name = section.needed(report, "name", "\"me\"", check::label);
        let key = section.needed(report, "key", "\"ssh-ed25519 AAAA… me@desk\"", check::ssh_key);
        section.finish(report);
        let name = name.and_then(|at| seen.once("operator", at, report));
        Some(Operator { name: name?, key: key?.value })
    };
    let operators: Vec<_> = sections.into_iter().map(&mut operator).collect();
    operators.into_iter().collect()
}

fn config(_: &str, mut section: Section<'_>, report: &mut Report<'_>) -> Option<Config> {
    let kind = section.needed(report, "kind", "\"cloud-config\"", |text| {
        check::choice(text, "kind of configuration", &ConfigKind::NAMES)
    });
    let template = section.needed(report, "template", "'''…'''", |text| {
        if text.len() > MAX_TEMPLATE {
            let message =
                format!("{} bytes are too long for a template: {MAX_TEMPLATE} are the most", text.len());
            return Err(Refused::new(message));
        }
        Ok(text.to_owned())
    });
    section.finish(report);
    Some(Config { kind: kind?.value, template: template?.value })
}

/// Where each name and address of the nodes was seen first.
#[derive(Default)]
pub(crate) struct Seen(BTreeMap<(&'static str, String), String>);

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
