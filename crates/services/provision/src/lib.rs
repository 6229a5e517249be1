//! How a node is configured: what cloud-init, Ignition, Talos or the installer is given for it, rendered out of the
//! [`Lab`] and its templates.
//!
//! This crate does no I/O and no randomness. What a lab's owner writes into a variable never leaves its place: in
//! YAML and JSON every value is written as one whole JSON scalar (which YAML reads the same), and what came of a
//! template is read again as what it claims to be before anyone is given it.
//!
//! Dialects are kept apart. A node has one provisioner: cloud-init's YAML goes to cloud-init alone, and Ignition is
//! never given a higher version of its specification than the node's system takes.

mod butane;
mod certificates;
mod cloud;
mod context;
mod disks;
mod ignition;
mod metadata;
mod report;
mod script;
mod template;

pub use metadata::metadata;
use pilotlight_lab::{ConfigKind, Lab, Node, Profile, ProfileKind, System};

/// The account of Flatcar and Fedora CoreOS.
const CORE: &str = "core";
/// The name of the text that answers the installer's questions.
pub const PRESEED: &str = "preseed.cfg";
pub use certificates::NAME as CERTIFICATES;
pub use disks::NAME as DISKS;
pub use report::NAME as REPORT;

/// How a node is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provision {
    /// Who reads it.
    pub kind: ConfigKind,
    /// The texts, by the names that they are asked for beneath `/node/MAC/`. The first is the one that the others go
    /// with.
    pub texts: Vec<Text>,
}

/// Something that is sent to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its name beneath `/node/MAC/`.
    pub name: &'static str,
    /// What it says.
    pub body: String,
}

/// Why a node cannot be configured as the lab says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    /// The template is none, or asks for something that is not there.
    #[error("[configs.{config}] for {node}: {what}")]
    Template {
        /// The configuration.
        config: String,
        /// The node that it was rendered for.
        node: String,
        /// What is wrong, with the line of the template where one is known.
        what: String,
    },
    /// What came of the template is not what it claims to be.
    #[error("[configs.{config}] for {node}: what comes of it is no {wanted}: {what}")]
    Outcome {
        /// The configuration.
        config: String,
        /// The node that it was rendered for.
        node: String,
        /// What it should have been.
        wanted: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// Its system cannot be configured without a template.
    #[error(
        "{node}: {system} has no configuration of its own here: give the node a `config` of the kind {kind}"
    )]
    Missing {
        /// The node.
        node: String,
        /// Its system.
        system: &'static str,
        /// What it would take.
        kind: &'static str,
    },
}

/// How `node` is configured; none when nothing that it boots is.
///
/// # Errors
/// [`ProvisionError`] for a template that does not come to what it should for this node.
pub fn provision(lab: &Lab, node: &Node) -> Result<Option<Provision>, ProvisionError> {
    let Some(profile) = node.profile.as_ref().and_then(|name| lab.profiles.get(name)) else {
        return Ok(None);
    };
    let own = match node.config.as_ref().and_then(|name| Some((name, lab.configs.get(name)?))) {
        Some((name, config)) => Some((config.kind, template::render(lab, node, name, config)?)),
        None => None,
    };
    let (kind, own) = match own {
        Some((kind, text)) => (kind, Some(text)),
        None => match by_itself(profile, node)? {
            Some(kind) => (kind, None),
            None => return Ok(None),
        },
    };
    let fault = |wanted: &'static str, what: String| ProvisionError::Outcome {
        config: node.config.clone().unwrap_or_default(),
        node: node.name.clone(),
        wanted,
        what,
    };
    let highest = system(profile).and_then(System::ignition);
    let one = |name, body| vec![Text { name, body }];
    let (kind, texts) = match kind {
        ConfigKind::CloudConfig => (
            kind,
            cloud::texts(lab, node, profile, own.as_deref()).map_err(|what| fault("cloud-config", what))?,
        ),
        ConfigKind::Ignition => {
            let text = ignition::config(lab, node, profile, own.as_deref(), highest);
            (kind, one("ignition", text.map_err(|what| fault("Ignition configuration", what))?))
        }
        ConfigKind::Butane => {
            let text = butane::to_ignition(own.as_deref().unwrap_or_default())
                .and_then(|text| ignition::config(lab, node, profile, Some(&text), highest));
            let text = text.map_err(|what| fault("Butane configuration", what))?;
            (ConfigKind::Ignition, one("ignition", text))
        }
        ConfigKind::Talos => {
            let text = own.unwrap_or_default();
            template::yaml_documents(&text).map_err(|what| fault("machine configuration of Talos", what))?;
            (kind, one("talos", text))
        }
        ConfigKind::Preseed => (kind, one(PRESEED, preseed(lab, node, own.as_deref()))),
        ConfigKind::Text => (kind, one("config", own.unwrap_or_default())),
    };
    let report = (kind == ConfigKind::Ignition || has_units(profile)).then(|| report::text(lab, node));
    let scripts = [report, certificates::text(lab, node), disks::text(lab, node)];
    let texts = texts.into_iter().chain(scripts.into_iter().flatten()).collect();
    Ok(Some(Provision { kind, texts }))
}

/// What keeps the nodes of `lab` from being configured, in the order of the file; empty when all is well.
pub fn faults(lab: &Lab) -> Vec<ProvisionError> {
    lab.nodes.iter().filter_map(|node| provision(lab, node).err()).collect()
}

fn system(profile: &Profile) -> Option<System> {
    match &profile.kind {
        ProfileKind::Release(release) => Some(release.system),
        _ => None,
    }
}

/// Whether its system has units of its own for the scripts, its report that it is up among them: our own Debian does.
fn has_units(profile: &Profile) -> bool {
    system(profile) == Some(System::DebianRam)
}

/// What a node is given that the lab has no template for.
fn by_itself(profile: &Profile, node: &Node) -> Result<Option<ConfigKind>, ProvisionError> {
    if let ProfileKind::DebianInstaller { .. } = profile.kind {
        return Ok(Some(ConfigKind::Preseed));
    }
    let Some(system) = system(profile) else { return Ok(None) };
    match system.provisioners().first() {
        // A machine configuration holds the cluster's secrets: nobody can make one up.
        Some(kind @ ConfigKind::Talos) => Err(ProvisionError::Missing {
            node: node.name.clone(),
            system: system.title(),
            kind: kind.name(),
        }),
        kind => Ok(kind.copied()),
    }
}

/// The installer's answers: what every node gets, and behind it the lab's own, which counts more.
fn preseed(lab: &Lab, node: &Node, own: Option<&str>) -> String {
    let ours = pilotlight_boot::preseed(lab, node);
    let own = own.map(|own| format!("{own}\n"));
    [ours, own].into_iter().flatten().collect::<Vec<_>>().join("\n# The lab's own.\n")
}

/// The account that the lab's keys open: what each system's own documentation calls it.
fn account(profile: &Profile) -> &'static str {
    match system(profile) {
        Some(System::Flatcar | System::FedoraCoreos) => CORE,
        _ => "debian",
    }
}
