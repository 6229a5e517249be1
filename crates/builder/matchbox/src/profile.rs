//! Profiles: a kernel with its initrds and arguments, and the templates that go with it.

use pilotlight_lab::{self as lab, ConfigKind};
use serde::Deserialize;
use toml::Table;

use crate::{Store, host_name, template};

/// A profile as Matchbox has it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Raw {
    #[serde(default)]
    boot: Boot,
    #[serde(default)]
    ignition_id: String,
    #[serde(default)]
    cloud_id: String,
    #[serde(default)]
    generic_id: String,
}

#[derive(Debug, Default, Deserialize)]
struct Boot {
    #[serde(default)]
    kernel: String,
    #[serde(default)]
    initrd: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
}

/// A profile in the words of lab.toml.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) table: Table,
    /// The configuration of the nodes that boot it, and its name.
    pub(crate) config: Option<(String, Table)>,
}

/// Arguments that the boot scripts bring along for the systems that are known here, by their beginnings.
const BROUGHT: [&str; 9] = [
    "initrd=",
    "ignition.config.url=",
    "coreos.config.url=",
    "flatcar.config.url=",
    "flatcar.first_boot",
    "coreos.first_boot",
    "ignition.firstboot",
    "ignition.platform.id=",
    "coreos.live.rootfs_url=",
];

/// A system that is known here, told by its kernel's name.
enum Known {
    Flatcar { channel: Option<&'static str>, version: Option<String> },
    FedoraCoreos { channel: &'static str, version: String },
}

impl Profile {
    pub(crate) fn of(id: &str, raw: Raw, store: &Store, notes: &mut Vec<String>) -> Self {
        let (name, path) = (host_name(id), format!("profiles/{id}.json"));
        let mut table = Table::new();
        let known = known(&raw.boot.kernel);
        match &known {
            Some(Known::Flatcar { channel, version }) => {
                let told = channel.unwrap_or("stable");
                if channel.is_none() {
                    notes.push(format!(
                        "{path}: nothing says of which channel its Flatcar is; stable is assumed"
                    ));
                }
                release(&mut table, "flatcar", told, version.as_deref());
            }
            Some(Known::FedoraCoreos { channel, version }) => {
                release(&mut table, "fedora-coreos", channel, Some(version));
            }
            None => custom(&mut table, (&name, &path), &raw.boot, notes),
        }
        let arguments = arguments(&path, &raw.boot.args, known.is_some(), notes);
        if !arguments.is_empty() {
            table.insert("arguments".to_owned(), arguments.into());
        }
        let config = config(&path, &raw, known.is_some(), store, notes).map(|table| (name.clone(), table));
        Self { name, table, config }
    }
}

fn release(table: &mut Table, kind: &str, channel: &str, version: Option<&str>) {
    table.insert("kind".to_owned(), kind.into());
    table.insert("channel".to_owned(), channel.into());
    if let Some(version) = version {
        let held: Table = [(channel.to_owned(), version.into())].into_iter().collect();
        table.insert("versions".to_owned(), held.into());
    }
}

fn custom(table: &mut Table, (name, path): (&str, &str), boot: &Boot, notes: &mut Vec<String>) {
    let mut asset = |address: &str| {
        // An initrd may have a name of its own before it.
        let address = address.split_whitespace().last().unwrap_or_default();
        if let Some(path) = address.strip_prefix("/assets/") {
            return path.to_owned();
        }
        let file = address.rsplit('/').next().unwrap_or_default();
        // Kernels of different profiles may have one name.
        let place = format!("files/{name}/{file}");
        notes
            .push(format!("{path}: {address} is fetched from elsewhere: put it beneath /assets/ as {place}"));
        place
    };
    table.insert("kind".to_owned(), "custom".into());
    table.insert("linux".to_owned(), asset(&boot.kernel).into());
    let initrds: Vec<String> = boot.initrd.iter().map(|initrd| asset(initrd)).collect();
    if !initrds.is_empty() {
        table.insert("initrd".to_owned(), initrds.into());
    }
}

/// Which system a kernel is of: Flatcar's are called the same in all versions, which lie in folders of their own; Fedora CoreOS'
/// have their version in the name, and in it the number of the stream (1 next, 2 testing, 3 stable).
fn known(kernel: &str) -> Option<Known> {
    let mut parts = kernel.rsplit('/');
    let file = parts.next()?;
    let folder = parts.next().unwrap_or_default();
    let is_version = |text: &&str| text.split('.').count() >= 3 && text.split('.').all(is_number);
    if file == "flatcar_production_pxe.vmlinuz" {
        let channel = ["stable", "beta", "alpha", "lts"];
        let host = kernel.split("//").nth(1).unwrap_or_default();
        return Some(Known::Flatcar {
            channel: channel.into_iter().find(|channel| host.starts_with(&format!("{channel}."))),
            version: Some(folder).filter(is_version).map(str::to_owned),
        });
    }
    let version = file.strip_prefix("fedora-coreos-")?.split("-live-kernel").next()?;
    let channel = match version.split('.').nth(2)? {
        "1" => "next",
        "2" => "testing",
        "3" => "stable",
        _ => return None,
    };
    Some(version)
        .filter(is_version)
        .map(|version| Known::FedoraCoreos { channel, version: version.to_owned() })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn arguments(path: &str, all: &[String], is_known: bool, notes: &mut Vec<String>) -> Vec<String> {
    let brought = |argument: &&String| {
        argument.starts_with("initrd=") || is_known && BROUGHT.iter().any(|start| argument.starts_with(start))
    };
    let mut kept = Vec::new();
    for argument in all.iter().filter(|argument| !brought(argument)) {
        let fits = match kept.len() {
            lab::Profile::MAX_ARGUMENTS => Err(format!("{} are the most", lab::Profile::MAX_ARGUMENTS)),
            _ => lab::Profile::argument(argument),
        };
        match fits {
            Ok(()) => kept.push(argument.clone()),
            Err(what) => notes.push(format!("{path}: left out the argument {argument:?}: {what}")),
        }
    }
    kept
}

/// The one template that the profile's nodes are configured with.
fn config(path: &str, raw: &Raw, is_known: bool, store: &Store, notes: &mut Vec<String>) -> Option<Table> {
    let all = [
        ("ignition", &raw.ignition_id, &store.ignition),
        ("cloud", &raw.cloud_id, &store.cloud),
        ("generic", &raw.generic_id, &store.generic),
    ];
    let mut named = all.into_iter().filter(|(_, id, _)| !id.is_empty());
    let (folder, id, texts) = named.next()?;
    for (folder, id, _) in named {
        notes.push(format!("{path}: a node has one configuration here; left out {folder}/{id}"));
    }
    let file = format!("{folder}/{id}");
    let Some(text) = texts.get(id.as_str()) else {
        notes.push(format!("{path}: there is no {file}"));
        return None;
    };
    let kind = match folder {
        "ignition" if text.trim_start().starts_with('{') => ConfigKind::Ignition,
        "ignition" if text.lines().any(|line| line.starts_with("variant:")) => ConfigKind::Butane,
        "ignition" => {
            notes.push(format!(
                "{file}: it is neither Ignition nor Butane (`variant:`): bring it into one of them"
            ));
            return None;
        }
        "cloud" if is_known => {
            notes.push(format!("{file}: its system is configured by Ignition here, not by cloud-config"));
            return None;
        }
        "cloud" => ConfigKind::CloudConfig,
        _ => ConfigKind::Text,
    };
    match template::converted(text, kind) {
        Ok(text) => Some(
            [("kind", kind.name().to_owned()), ("template", text)]
                .map(|(key, value)| (key.to_owned(), value.into()))
                .into_iter()
                .collect(),
        ),
        Err(what) => {
            notes.push(format!("{file}: {what}"));
            None
        }
    }
}
