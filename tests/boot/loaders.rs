//! Firmware and loaders of other people's, each in a machine of its own on one wire: who is given what, and how far each
//! gets with it.

use std::path::Path;

use anyhow::{Result, ensure};
use pilotlight_emulator::{
    pc::{Firmware, Marks, Pc},
    pi::Kind,
    scene::Scene,
};
use serde_json::Value;

use crate::{
    PATIENCE,
    card::{self, PI},
    pcs::{got, is},
};

/// A machine of the lab `loaders.toml`, and the steps that it must be seen to do, in this order.
struct Machine {
    node: &'static str,
    firmware: Firmware,
    /// In MiB. GRUB and a kernel that it loads want more than 512.
    memory: u32,
    steps: &'static [Step],
}

/// A step, as the Pi tells of it.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It has its address, and was told this file.
    Told(&'static str),
    /// It has fetched this file over TFTP.
    Loaded(&'static str),
    /// It has fetched what begins so over HTTP.
    Fetched(&'static str),
    /// It has asked for this over TFTP, which is not on the card.
    Missed(&'static str),
    /// It has told that it is up.
    Ready,
    /// When its console has said the first, the second is typed there.
    Typed(&'static str, &'static str),
}

const SCRIPT: &str = "http://10.77.0.1/boot.ipxe";
const KERNEL: &str = "/assets/debian-installer/13/amd64/linux";
const INITRD: &str = "/assets/debian-installer/13/amd64/initrd.gz";
const NODE: &str = "/assets/debian-ram/";

const PCS: [Machine; 3] = [
    // A PXELINUX with a TCP of its own, upon the UNDI driver of the iPXE in the ROM.
    Machine {
        node: "lpxelinux",
        firmware: Firmware::Bios,
        memory: 1024,
        steps: &[
            Step::Told("lpxelinux.0"),
            Step::Loaded("lpxelinux.0"),
            Step::Loaded("ldlinux.c32"),
            Step::Loaded("pxelinux.cfg/01-52-54-00-77-00-31"),
            Step::Fetched(KERNEL),
            Step::Fetched(INITRD),
        ],
    },
    // An iPXE that has another one put in its place, which asks with the same words and gets no third.
    Machine {
        node: "undionly",
        firmware: Firmware::Bios,
        memory: 1024,
        steps: &[
            Step::Told(SCRIPT),
            Step::Fetched("/ipxe"),
            Step::Loaded("undionly.kpxe"),
            Step::Told(SCRIPT),
            Step::Fetched("/ipxe"),
            Step::Fetched(KERNEL),
            Step::Fetched(INITRD),
        ],
    },
    Machine {
        node: "grub",
        firmware: Firmware::Uefi,
        memory: 1024,
        steps: &[
            Step::Told("shimx64.efi"),
            Step::Loaded("shimx64.efi"),
            Step::Loaded("grubx64.efi"),
            Step::Loaded("grub/grub.cfg"),
            Step::Loaded("grub/grub.cfg-01-52:54:00:77:00:33"),
            Step::Fetched(KERNEL),
            Step::Fetched(INITRD),
        ],
    },
];

const ARM: [Machine; 2] = [
    // All the way: from its firmware to a system in memory that says it is up.
    Machine {
        node: "arm",
        firmware: Firmware::UefiArm64,
        // Its root stays in memory as it was fetched.
        memory: 2048,
        steps: &[
            Step::Told("ipxe-arm64.efi"),
            Step::Loaded("ipxe-arm64.efi"),
            Step::Told(SCRIPT),
            Step::Fetched("/ipxe"),
            Step::Fetched(NODE),
            Step::Ready,
        ],
    },
    // By itself it asks in its own name, then in that of an UEFI, fetches its file and does not start it (docs/clients.md
    // says why). A hand at the console has it do what boards with
    // `pxe` among their boot targets do by themselves.
    Machine {
        node: "u-boot",
        firmware: Firmware::UBootArm64,
        memory: 1024,
        steps: &[
            Step::Told("u-boot/ipxe-arm64.efi"),
            Step::Told("ipxe-arm64.efi"),
            Step::Loaded("ipxe-arm64.efi"),
            Step::Typed(
                "(0 bootflows, 0 valid)",
                "\nsetenv bootp_vci; setenv bootp_arch; dhcp ${kernel_addr_r} && pxe get && pxe boot\n",
            ),
            Step::Told("u-boot/ipxe-arm64.efi"),
            Step::Loaded("u-boot/ipxe-arm64.efi"),
            Step::Loaded("u-boot/pxelinux.cfg/01-52-54-00-77-00-35"),
            Step::Missed("u-boot/assets/debian-installer/13/arm64/linux"),
        ],
    },
];

pub(crate) fn each_gets_its_own() -> Result<()> {
    let mut scene = card::scene("virt-loaders")?;
    let card = card::of_lab(&scene, "loaders")?;
    let ready = card::start(&mut scene, Kind::Virt, &card)?;
    ensure!(ready.contains("failed units: none") && ready.contains("lab: card"), "{ready}");
    // U-Boot has the wire to itself: its driver for QEMU's network card never hears again once 32 frames have come while it
    // waited at its prompt, which a machine that boots beside it sends in seconds (docs/clients.md).
    for machines in [&PCS[..], &ARM[..1], &ARM[1..]] {
        for machine in machines {
            machine.switch_on(&mut scene)?;
        }
        for machine in machines {
            machine.follow(&mut scene)?;
            scene.end(machine.node);
        }
    }
    stranger(&mut scene)?;
    card::tidy(scene)
}

/// An AArch64 that nobody named sees in its menu what an AArch64 can start.
fn stranger(scene: &mut Scene) -> Result<()> {
    const NAME: &str = "stranger";
    let firmware = Firmware::UefiArm64;
    let (mac, hub) = ("52:54:00:77:00:3f", Path::new(""));
    scene.start_pc(&Pc {
        name: NAME,
        firmware,
        memory_mib: 1024,
        hub,
        mac,
        disks: &[],
        marks: Marks::default(),
    })?;
    // The last line of the menu.
    scene.wait_for(NAME, "iPXE shell", PATIENCE)?;
    let said = scene.heard(NAME, |heard| {
        heard.lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>().join("\n")
    })?;
    ensure!(said.contains("(arm64)") && said.contains("Boot from the disk"), "its menu is\n{said}");
    ensure!(
        !said.contains("(amd64)") && !said.contains("serial console"),
        "it is offered what it cannot start:\n{said}"
    );
    scene.end(NAME);
    Ok(())
}

impl Machine {
    fn switch_on(&self, scene: &mut Scene) -> Result<()> {
        let lab = std::fs::read_to_string(card::lab_file("loaders"))?;
        let lab = pilotlight_lab::parse(&lab).map_err(|problems| anyhow::anyhow!("{problems}"))?;
        let mac = lab.node_by_name(self.node).map(|node| node.mac.to_string()).unwrap_or_default();
        Ok(scene.start_pc(&Pc {
            name: self.node,
            firmware: self.firmware,
            memory_mib: self.memory,
            hub: Path::new(""),
            mac: &mac,
            disks: &[],
            marks: Marks::default(),
        })?)
    }

    /// Waits until all its steps were seen, one after the other.
    fn follow(&self, scene: &mut Scene) -> Result<()> {
        for (count, step) in (1..).zip(self.steps) {
            if let Step::Typed(after, text) = step {
                scene.wait_for(self.node, after, PATIENCE)?;
                scene.type_text(self.node, text)?;
                continue;
            }
            let steps = self.steps[..count].iter().filter(|step| !matches!(step, Step::Typed(..)));
            scene.wait(PI, &format!("{}: {step:?}", self.node), PATIENCE, |heard| {
                let mut events = heard.events.iter().map(|seen| &seen.event);
                // Each is looked for behind the one before.
                steps.clone().all(|step| events.any(|event| self.is(event, step))).then_some(())
            })?;
        }
        // Each loader is fetched once: none is given itself again. The hand at the console has its own will.
        if self.steps.iter().any(|step| matches!(step, Step::Typed(..))) {
            return Ok(());
        }
        let mut loaded = scene.heard(PI, |heard| {
            let sent = heard.events.iter().map(|seen| &seen.event).filter(|event| is(event, "tftp", "sent"));
            let ours = sent.filter(|event| event["node"] == self.node).map(|event| event["file"].to_string());
            ours.filter(|file| !file.contains(".cfg")).collect::<Vec<_>>()
        })?;
        let all = loaded.len();
        loaded.sort();
        loaded.dedup();
        ensure!(loaded.len() == all, "{} fetched more than once what is among {loaded:?}", self.node);
        Ok(())
    }

    fn is(&self, event: &Value, step: &Step) -> bool {
        let named = |value: &Value, name: &str| {
            value.as_str().is_some_and(|value| value.trim_start_matches('/') == name)
        };
        event["node"] == self.node
            && match step {
                Step::Told(file) => is(event, "dhcp", "ack") && named(&event["file"], file),
                Step::Loaded(file) => is(event, "tftp", "sent") && named(&event["file"], file),
                Step::Fetched(path) => got(event, path),
                Step::Ready => is(event, "http", "ready") && event["hostname"] == self.node,
                Step::Missed(file) => {
                    event["service"] == "tftp" && event["stage"] == "error" && named(&event["file"], file)
                }
                Step::Typed(..) => false,
            }
    }
}
