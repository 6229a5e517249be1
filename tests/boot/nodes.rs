//! Machines without a system of their own become nodes: from nothing to "ready", by the Pi alone, each of its own channel, and
//! their disks are left as they were.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_emulator::{
    pc::{Disk, Firmware, Marks, Pc},
    pi::Kind,
    scene::Scene,
};
use pilotlight_image::Digest;
use serde_json::Value;

use crate::{
    PATIENCE, card,
    own_disks::{self, Content},
    pcs::{self, Step, got, is},
    used,
};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA0000000000000000000000000000000000000000000 me@desk";

/// A machine of the lab `nodes.toml`.
#[derive(Debug, Clone, Copy)]
struct Machine {
    node: &'static str,
    role: &'static str,
    firmware: Firmware,
    mac: &'static str,
    /// What the lab knows it by where that is not its hardware address, and which service sees it.
    marks: (Marks<'static>, Option<&'static str>),
    address: &'static str,
    /// How the release of its kernel begins, by its channel.
    kernel: &'static str,
    /// What it fetches to be configured.
    configuration: &'static str,
    /// How many certificates it is given.
    certificates: usize,
    /// How the controller's etcd answers it, with what it has.
    etcd: &'static str,
    /// Its own disks: what each is for, what is on it, and what it says of it.
    disks: &'static [(&'static str, Content, &'static str)],
    /// Where those are then.
    mounts: &'static str,
    /// What an earlier start left on the one that stays.
    kept: &'static str,
}

impl Machine {
    /// How systemd finds it in the end: the unit for its disks has failed where there is one that it leaves alone.
    fn state(&self) -> &'static str {
        let used = |did: &str| matches!(did, "formatted" | "mounted");
        if self.disks.iter().all(|(_, _, said)| used(said)) { "running" } else { "degraded" }
    }
}

/// What etcd tells those that have no business there (RFC 8446 § 6.2): of their certificates it knows no authority.
const ALERT: &str = "alert ";

const MACHINES: [Machine; 3] = [
    Machine {
        node: "control",
        role: "controller",
        firmware: Firmware::Bios,
        mac: "52:54:00:77:00:21",
        marks: (Marks { uuid: None, serial: None }, None),
        address: "10.77.0.21",
        kernel: "6.12.",
        configuration: "user-data",
        certificates: 11,
        etcd: "\"health\":\"true\"",
        disks: &[("state", Content::Blank, "formatted"), ("scratch", Content::HalfMade, "formatted")],
        mounts: "/mnt/scratch /mnt/state /var/lib/containerd /var/lib/containers /var/lib/docker /var/lib/etcd \
                 /var/lib/kubelet",
        kept: "nothing",
    },
    Machine {
        node: "worker1",
        role: "worker",
        firmware: Firmware::Uefi,
        mac: "52:54:00:77:00:22",
        marks: (
            Marks { uuid: Some("4c4c4544-0042-3510-8052-b4c04f564433"), serial: Some("CZ 1234/1") },
            Some("dhcp"),
        ),
        address: "10.77.0.22",
        kernel: "7.",
        configuration: "user-data",
        certificates: 2,
        etcd: ALERT,
        disks: &[
            ("state", Content::Blank, "formatted"),
            ("scratch", Content::Used, "there is something on it (gpt)"),
        ],
        mounts: "/mnt/state /var/lib/etcd",
        kept: "nothing",
    },
    Machine {
        node: "worker2",
        role: "worker",
        firmware: Firmware::UefiHttp,
        mac: "52:54:00:77:00:23",
        marks: (Marks { uuid: None, serial: Some("CZ 1234/2") }, Some("http")),
        address: "10.77.0.23",
        kernel: "6.12.",
        configuration: "ignition",
        certificates: 2,
        etcd: ALERT,
        disks: &[
            ("state", Content::Damaged, "its file system is damaged"),
            ("scratch", Content::Damaged, "formatted"),
        ],
        mounts: "/mnt/scratch /var/lib/containerd /var/lib/containers /var/lib/docker /var/lib/kubelet",
        kept: "nothing",
    },
];

/// The controller first, since the workers try its etcd; then both workers at once.
pub(crate) fn three_machines() -> Result<()> {
    let mut scene = card::scene("virt-nodes")?;
    // A year behind: certificates are good all the same, once somebody has said what time it is.
    let card = card::of_lab(&scene, "nodes")?.at_time(Some("2025-10-01T00:00:00"));
    let ready = card::start_beside_shell(&mut scene, Kind::Virt, "ttyAMA0", &card)?;
    ensure!(ready.contains("failed units: none") && ready.contains("lab: card"), "{ready}");
    // Certificates are made by a clock that somebody has vouched for.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    scene.type_text(card::PI, &format!("pilotctl clock --set @{now}\n"))?;
    pcs::event(&scene, "that the clock was set", |event| is(event, "ntp", "set"))?;
    let [control, workers @ ..] = &MACHINES;
    let disk = becomes_a_node(&mut scene, control).context(control.node)?;
    let mut started = Vec::new();
    for machine in workers {
        started.push((machine, Before::power_on(&mut scene, machine).context(machine.node)?));
    }
    for (machine, disk) in started {
        is_a_node(&scene, machine).context(machine.node)?;
        disk.is_untouched(&mut scene, machine).context(machine.node)?;
    }
    flipped(&mut scene).context("flipped to another channel")?;
    disk.is_untouched(&mut scene, control).context(control.node)?;
    card::tidy(scene)
}

/// An operator has a worker follow the other channel: its next start is of that one, and the Pi goes on as it is.
fn flipped(scene: &mut Scene) -> Result<()> {
    scene.type_text(card::PI, "pilotctl channel set worker1 oldstable\n")?;
    scene.wait_for(card::PI, "worker1 follows oldstable (", PATIENCE)?;
    pcs::event(scene, "the choice", |event| {
        is(event, "lab-state", "channel") && event["node"] == "worker1" && event["channel"] == "oldstable"
    })?;
    const DISKS: [(&str, Content, &str); 2] = [("state", Content::Kept, "mounted"), MACHINES[1].disks[1]];
    let worker = Machine { kernel: "6.1.", disks: &DISKS, kept: "by worker1", ..MACHINES[1] };
    becomes_a_node(scene, &worker)?.is_untouched(scene, &worker)
}

/// A node's disk that it is to leave alone, and what was on it before.
struct Before {
    path: PathBuf,
    digest: (Digest, u64),
}

impl Before {
    /// Starts the machine, with such a disk beside its own.
    fn power_on(scene: &mut Scene, machine: &Machine) -> Result<Self> {
        let used =
            used::disk(scene.folder(), machine.node).context("could not make a disk with something on it")?;
        let digest = Digest::of_file(&used)?;
        let mut disks = vec![Disk { path: used.clone(), serial: format!("used-{}", machine.node) }];
        for (purpose, content, _) in machine.disks {
            disks.extend(own_disks::disk(scene.folder(), machine.node, purpose, *content)?);
        }
        scene.start_pc(&Pc {
            name: machine.node,
            firmware: machine.firmware,
            memory_mib: 2048,
            hub: Path::new(""),
            mac: machine.mac,
            disks: &disks,
            marks: machine.marks.0,
        })?;
        Ok(Self { path: used, digest })
    }

    fn is_untouched(&self, scene: &mut Scene, machine: &Machine) -> Result<()> {
        scene.end(machine.node);
        ensure!(self.digest == Digest::of_file(&self.path)?, "its disk was written to");
        Ok(())
    }
}

fn becomes_a_node(scene: &mut Scene, machine: &Machine) -> Result<Before> {
    let before = Before::power_on(scene, machine)?;
    is_a_node(scene, machine)?;
    Ok(before)
}

/// Waits for all that a node says of itself and that the Pi says of it.
fn is_a_node(scene: &Scene, machine: &Machine) -> Result<()> {
    let own = machine.disks.iter().filter(|(_, content, _)| *content != Content::Used);
    for (what, expect) in [
        ("name", machine.node.to_owned()),
        ("role", machine.role.to_owned()),
        ("greeting", "a: \"greeting\" for ${everyone}".to_owned()),
        ("key", KEY.to_owned()),
        ("sudo", "1".to_owned()),
        ("address", machine.address.to_owned()),
        ("mounts", machine.mounts.to_owned()),
        ("kept", machine.kept.to_owned()),
        ("swap", "0".to_owned()),
        // The used one, and its own.
        ("disks", (1 + own.count()).to_string()),
        // What the node's own eyes make of its disk: nothing of it was started.
        ("types", "LVM2_member ext4 linux_raid_member swap".to_owned()),
        ("account", if machine.role == "controller" { "has its key" } else { "has none" }.to_owned()),
        ("certificates", machine.certificates.to_string()),
        ("verified", "kubelet.crt: OK".to_owned()),
    ] {
        let said = scene.wait_for(machine.node, &format!("node says: {what} "), PATIENCE)?;
        let (_, said) = said.split_once(&format!("node says: {what} ")).unwrap_or_default();
        ensure!(said.trim() == expect, "its {what} is {said:?}, not {expect:?}");
    }
    let kernel = scene.wait_for(machine.node, "node says: kernel ", PATIENCE)?;
    ensure!(kernel.contains(&format!("kernel {}", machine.kernel)), "another channel's kernel: {kernel}");
    let etcd = scene.wait_for(machine.node, "node says: etcd ", PATIENCE)?;
    ensure!(etcd.contains(machine.etcd), "etcd answers it otherwise: {etcd}");
    let ours = |event: &Value| event["node"] == machine.node;
    let steps: [Step<'_>; 9] = [
        ("that it was armed", &|event| is(event, "pki", "armed") && event["by"] == "itself"),
        ("its token", &|event| is(event, "pki", "token")),
        ("its certificate", &|event| is(event, "pki", "issued") && event["purpose"] == "kubelet"),
        ("its address", &|event| is(event, "dhcp", "ack") && event["address"] == machine.address),
        ("its kernel", &|event| got(event, "/assets/debian-ram/") && ends(event, "/linux")),
        ("its initrd", &|event| got(event, "/assets/debian-ram/") && ends(event, "/initrd.img")),
        ("its root", &|event| got(event, "/assets/debian-ram/") && ends(event, "/root.squashfs")),
        ("its configuration", &|event| got(event, "/node/") && ends(event, machine.configuration)),
        ("its report", &|event| {
            is(event, "http", "ready")
                && event["hostname"] == machine.node
                && event["kernel"].as_str().is_some_and(|kernel| kernel.starts_with(machine.kernel))
                && event["state"] == machine.state()
        }),
    ];
    for (what, wanted) in steps {
        pcs::event(scene, what, |event| ours(event) && wanted(event))?;
    }
    if let Some(service) = machine.marks.1 {
        pcs::event(scene, "that it was met", |event| {
            ours(event) && is(event, service, "met") && event["mac"] == machine.mac
        })?;
    }
    for (purpose, _, said) in machine.disks {
        let says =
            |event: &Value, fact: &str| event[fact].as_str().is_some_and(|text| text.starts_with(said));
        pcs::event(scene, &format!("that its disk for {purpose} is {said}"), |event| {
            ours(event)
                && (event["service"] == "http" && event["stage"] == "disk" && event["purpose"] == *purpose)
                && (says(event, "did") || says(event, "reason"))
        })?;
    }
    Ok(())
}

fn ends(event: &Value, end: &str) -> bool {
    event["path"].as_str().is_some_and(|path| path.ends_with(end))
}
