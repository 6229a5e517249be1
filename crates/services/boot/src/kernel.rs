//! A kernel, its initrd and its command line, the same for every loader.

use pilotlight_lab::{ConfigKind, Lab, Node, Profile, ProfileKind, Release, System};

use crate::url;

/// What a loader needs to start a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kernel {
    pub(crate) linux: String,
    /// In the order in which the kernel unpacks them.
    pub(crate) initrd: Vec<String>,
    /// The command line, without what only one loader needs.
    pub(crate) arguments: Vec<String>,
}

/// How a profile is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// From the machine's own disk.
    Disk,
    /// By a kernel of the Pi's.
    Kernel(Kernel),
    /// Not at all: the Pi does not have it. Says what it has not.
    Missing(String),
}

/// Something that can be chosen in a menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// The profile's name, and behind a dot, which no profile's name has, the channel where that is not the usual one.
    pub(crate) name: String,
    /// One line for people.
    pub(crate) title: String,
    pub(crate) profile: &'a Profile,
    pub(crate) start: Start,
}

/// All that can be chosen: each profile, and behind it what else the Pi has of its system, for this one start.
pub(crate) fn entries<'a>(lab: &'a Lab, node: Option<&Node>) -> Vec<Entry<'a>> {
    let mut entries = Vec::new();
    for (name, profile) in &lab.profiles {
        let start = start(lab, name, profile, node);
        entries.push(Entry { name: name.clone(), title: profile.title.clone(), profile, start });
        let ProfileKind::Release(release) = &profile.kind else { continue };
        let usual = followed(release, own(name, node));
        for (channel, version) in lab.versions.here(release).filter(|(channel, _)| *channel != usual) {
            let start = start_with(lab, name, profile, node, Some(channel));
            let title = format!("{}, {channel} ({version}) this time", profile.title);
            entries.push(Entry { name: format!("{name}.{channel}"), title, profile, start });
        }
    }
    entries
}

/// The node, where this is the profile that it boots by itself.
fn own<'n>(name: &str, node: Option<&'n Node>) -> Option<&'n Node> {
    node.filter(|node| node.boots() == Some(name))
}

/// The channel that is meant when none is named. A node of another profile may follow one that this system has not got.
fn followed<'a>(release: &'a Release, own: Option<&'a Node>) -> &'a str {
    own.and_then(|node| node.channel.as_deref()).unwrap_or(&release.channel)
}

/// How a profile is started, on a node or on a machine that nobody named.
///
/// Only the node's own profile brings its configuration along: from any other entry the installer asks, and a system
/// that runs from memory comes up without a name.
pub(crate) fn start(lab: &Lab, name: &str, profile: &Profile, node: Option<&Node>) -> Start {
    start_with(lab, name, profile, node, None)
}

fn start_with(lab: &Lab, name: &str, profile: &Profile, node: Option<&Node>, channel: Option<&str>) -> Start {
    let own = own(name, node);
    let kernel = match &profile.kind {
        ProfileKind::LocalDisk => return Start::Disk,
        ProfileKind::DebianInstaller { release, architecture, .. } => {
            let asset = |file| url::asset(lab, &url::asset_path(*release, architecture.name(), file));
            let arguments = installer(lab, node, own.is_some());
            Kernel { linux: asset("linux"), initrd: vec![asset("initrd.gz")], arguments }
        }
        ProfileKind::Custom { linux, initrd, live } => Kernel {
            linux: url::asset(lab, linux),
            initrd: initrd.iter().map(|path| url::asset(lab, path)).collect(),
            arguments: custom(lab, live.as_deref(), own),
        },
        ProfileKind::Release(release) => {
            let channel = channel.unwrap_or_else(|| followed(release, own));
            match self::release(lab, release, channel, node, own) {
                Ok(kernel) => kernel,
                Err(missing) => return Start::Missing(missing),
            }
        }
    };
    let arguments = [kernel.arguments, profile.arguments.clone()].concat();
    Start::Kernel(Kernel { arguments, ..kernel })
}

fn installer(lab: &Lab, node: Option<&Node>, own: bool) -> Vec<String> {
    let Some(node) = node else { return Vec::new() };
    let mut arguments = if own { unattended(lab, node) } else { Vec::new() };
    arguments.push(format!("hostname={}", node.name));
    arguments.push(format!("domain={}", lab.network.domain));
    // With `interface=auto` the installer takes the interface that BOOTIF names (01 is Ethernet in ARP's
    // numbers); without it the first one with a link, which may be another wire.
    arguments.push("interface=auto".to_owned());
    arguments.push(boot_interface(node));
    arguments
}

/// The interface that the machine boots from: 01 is Ethernet in ARP's numbers.
fn boot_interface(node: &Node) -> String {
    format!("BOOTIF=01-{}", node.mac.hyphenated())
}

fn custom(lab: &Lab, live: Option<&str>, own: Option<&Node>) -> Vec<String> {
    let mut arguments = Vec::new();
    if let Some(root) = live {
        // live-boot's words: it takes its root from there and never looks at a disk.
        arguments.extend(["boot=live".to_owned(), "components".to_owned(), "noswap".to_owned()]);
        arguments.push(format!("fetch={}", url::asset(lab, root)));
        arguments.extend(own.map(|node| format!("hostname={}", node.name)));
    }
    arguments
}

fn release(
    lab: &Lab,
    release: &Release,
    channel: &str,
    node: Option<&Node>,
    own: Option<&Node>,
) -> Result<Kernel, String> {
    let system = release.system;
    let version = lab.versions.of(release, channel);
    let version =
        version.ok_or_else(|| format!("{} {channel}: the Pi has no version of it", system.title()))?;
    let folder = format!("{}/{version}/{}", system.name(), release.architecture);
    let digests = lab.versions.digests(release, version);
    let digests =
        digests.ok_or_else(|| format!("{} {version} ({channel}): not on the Pi", system.title()))?;
    let file = |name: &str| url::asset(lab, &format!("{folder}/{name}"));
    let files = system.files();
    let config = |kind: &str| own.map(|node| url::node(lab, node.mac, kind));
    let mut arguments = Vec::new();
    match system {
        System::Flatcar => {
            arguments.push("flatcar.first_boot=1".to_owned());
            arguments.extend(config("ignition").map(|url| format!("ignition.config.url={url}")));
        }
        System::FedoraCoreos => {
            arguments.extend(files.root.map(|root| format!("coreos.live.rootfs_url={}", file(root))));
            arguments.extend(["ignition.firstboot".to_owned(), "ignition.platform.id=metal".to_owned()]);
            arguments.extend(config("ignition").map(|url| format!("ignition.config.url={url}")));
        }
        System::Talos => {
            // What Talos' own documentation asks for beside it.
            let fixed = ["talos.platform=metal", "slab_nomerge", "pti=on", "init_on_alloc=1"];
            arguments.extend(fixed.map(str::to_owned));
            arguments.extend(config("talos").map(|url| format!("talos.config={url}")));
        }
        System::DebianRam => {
            let root = files.root.and_then(|root| Some((root, digests.get(root)?)));
            let (root, digest) =
                root.ok_or_else(|| format!("{} {version}: its root has no digest", system.title()))?;
            arguments.push(format!("pilotlight.root={}", file(root)));
            arguments.push(format!("pilotlight.sha256={digest}"));
            arguments.extend(node.map(boot_interface));
            arguments.extend(own.into_iter().flat_map(|node| configured(lab, node)));
            arguments.extend(own.into_iter().flat_map(|node| scripts(lab, node)));
        }
    }
    Ok(Kernel { linux: file(files.linux), initrd: vec![file(files.initrd)], arguments })
}

/// The scripts that a node with our own Debian runs at its start.
fn scripts(lab: &Lab, node: &Node) -> Vec<String> {
    let wanted = [
        ("disks", !node.disks.named().is_empty()),
        ("certificates", lab.is_enrolled(node)),
        ("report", true),
    ];
    let wanted = wanted.iter().filter(|(_, is_wanted)| *is_wanted);
    wanted.map(|(name, _)| format!("pilotlight.{name}={}", url::node(lab, node.mac, name))).collect()
}

/// Who configures a node that runs our own Debian: cloud-init, unless the lab has something for Ignition.
fn configured(lab: &Lab, node: &Node) -> Vec<String> {
    let config = node.config.as_ref().and_then(|name| lab.configs.get(name));
    match config.map(|config| config.kind) {
        Some(ConfigKind::Ignition | ConfigKind::Butane) => vec![
            "pilotlight.config=ignition".to_owned(),
            format!("ignition.config.url={}", url::node(lab, node.mac, "ignition")),
        ],
        // cloud-init wants the last slash: it puts the names of its files behind. `nocloud-net` is what Debian 12's
        // (22.4) has to read there to look on the network, and 25.1 still takes it for the same.
        _ => vec![
            "pilotlight.config=cloud-init".to_owned(),
            format!("ds=nocloud-net;s={}", url::node(lab, node.mac, "")),
        ],
    }
}

/// `auto` puts off the questions about language and keyboard until the preseed file is there. What it leaves
/// open is asked when there is no disk to install to (`high`, the installer's usual level); with one, only what
/// cannot go on without an answer is.
fn unattended(lab: &Lab, node: &Node) -> Vec<String> {
    let priority = if node.install_to.is_some() { "critical" } else { "high" };
    let mut arguments = vec!["auto=true".to_owned(), format!("priority={priority}")];
    // Debian 13's installer asks these before it has fetched the preseed file: whether to go on without a way out, and
    // then for a name server, although DHCP has named one. A blank would end the argument: one is enough.
    if lab.network.isolated() {
        arguments.push("netcfg/no_default_route=true".to_owned());
        let server = lab.network.dns.first().map(ToString::to_string).unwrap_or_default();
        arguments.push(format!("netcfg/get_nameservers={server}"));
    }
    arguments.push(format!("url={}", url::preseed(lab, node.mac)));
    arguments
}
