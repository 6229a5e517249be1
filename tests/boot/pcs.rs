//! PCs that boot from the Pi on `-M virt`, all the way to the installer that has read its preseed file.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pilotlight_emulator::{
    pc::{Firmware, Marks, Pc},
    pi::Kind,
    scene::{Scene, SceneError},
};
use serde_json::Value;

use crate::{
    PATIENCE,
    card::{self, PI},
};

/// A PC of the lab `scene.toml`, and what it must be seen to do.
struct Expect {
    node: &'static str,
    firmware: Firmware,
    mac: &'static str,
    address: &'static str,
    /// The end of the name of the loader that it fetches, and over what.
    loader: &'static str,
    over: &'static str,
    /// Whether the lab has it installed on a disk without a question.
    installs: bool,
}

const PCS: [Expect; 3] = [
    // iPXE ROM, PXELINUX, installer.
    Expect {
        node: "bios",
        firmware: Firmware::Bios,
        mac: "52:54:00:77:00:11",
        address: "10.77.0.11",
        loader: "pxelinux.0",
        over: "tftp",
        installs: true,
    },
    // Its own PXE client, iPXE, installer.
    Expect {
        node: "uefi",
        firmware: Firmware::Uefi,
        mac: "52:54:00:77:00:12",
        address: "10.77.0.12",
        loader: "ipxe.efi",
        over: "tftp",
        installs: false,
    },
    // Its own HTTP boot, iPXE, installer: no TFTP at all.
    Expect {
        node: "uefi-http",
        firmware: Firmware::UefiHttp,
        mac: "52:54:00:77:00:13",
        address: "10.77.0.13",
        loader: "ipxe.efi",
        over: "http",
        installs: false,
    },
];

impl Expect {
    fn pc(&self) -> Pc<'_> {
        Pc {
            name: self.node,
            firmware: self.firmware,
            memory_mib: 1536,
            hub: Path::new(""),
            mac: self.mac,
            disks: &[],
            marks: Marks::default(),
        }
    }
}

/// What a machine is seen to do, and the event that shows it.
pub(crate) type Step<'a> = (&'a str, &'a dyn Fn(&Value) -> bool);

/// The one that is installed, and started again; then both that are not at once.
pub(crate) fn all() -> Result<()> {
    let mut scene = card::scene("virt-pcs")?;
    let card = card::of_lab(&scene, "scene")?;
    let ready = card::start(&mut scene, Kind::Virt, &card)?;
    ensure!(ready.contains("failed units: none") && ready.contains("lab: card"), "{ready}");
    let [installed, others @ ..] = &PCS;
    for at_once in [std::slice::from_ref(installed), others] {
        for expect in at_once {
            scene.start_pc(&expect.pc())?;
        }
        for expect in at_once {
            whole_story(&mut scene, expect).context(expect.node)?;
        }
    }
    card::tidy(scene)
}

/// A machine that was given the answers which erase its disk is started again: it gets its configuration, and no kernel.
fn not_twice(scene: &mut Scene, expect: &Expect) -> Result<()> {
    let node = expect.node;
    event(scene, "a note that it was installed", |event| {
        is(event, "lab-state", "installed") && event["node"] == node
    })?;
    scene.end(node);
    let kernels = |scene: &Scene| {
        let is_its =
            |event: &Value| event["node"] == node && got(event, "/assets/") && ends(&event["path"], "/linux");
        scene.heard(PI, |heard| heard.events.iter().filter(|seen| is_its(&seen.event)).count())
    };
    let configurations = |heard: &[&Value]| {
        let is_its = |event: &&&Value| {
            is(event, "tftp", "sent")
                && event["file"].as_str().is_some_and(|file| file.contains("pxelinux.cfg/01-"))
        };
        heard.iter().filter(is_its).count()
    };
    scene.start_pc(&expect.pc())?;
    scene.wait(PI, "its second configuration", PATIENCE, |heard| {
        let events: Vec<_> = heard.events.iter().map(|seen| &seen.event).collect();
        (configurations(&events) == 2).then_some(())
    })?;
    // A kernel would be asked for within a moment.
    std::thread::sleep(Duration::from_secs(10));
    let kernels = kernels(scene)?;
    ensure!(kernels == 1, "it was installed, and has fetched {kernels} kernels");
    Ok(())
}

fn whole_story(scene: &mut Scene, expect: &Expect) -> Result<()> {
    let ours = |event: &Value| event["node"] == expect.node && event["mac"] == expect.mac;
    let steps: [Step<'_>; 5] = [
        ("its reserved address", &|event| is(event, "dhcp", "ack") && event["address"] == expect.address),
        ("its loader", &|event| match expect.over {
            "http" => got(event, "/") && ends(&event["path"], expect.loader),
            _ => is(event, "tftp", "sent") && ends(&event["file"], expect.loader),
        }),
        ("the installer's kernel", &|event| got(event, "/assets/") && ends(&event["path"], "/linux")),
        ("the installer's initrd", &|event| got(event, "/assets/") && ends(&event["path"], "/initrd.gz")),
        // Only a running installer asks for it, and no other machine's will do.
        ("its preseed file", &|event| {
            got(event, "/node/") && ends(&event["path"], "/preseed.cfg") && {
                let path = event["path"].as_str().unwrap_or_default();
                path.contains(&expect.mac.replace(':', "-"))
            }
        }),
    ];
    for (what, wanted) in steps {
        event(scene, what, |event| ours(event) && wanted(event))?;
    }
    let order = scene.heard(PI, |heard| {
        let place = |wanted: &dyn Fn(&Value) -> bool| {
            heard.events.iter().position(|seen| ours(&seen.event) && wanted(&seen.event))
        };
        steps.map(|(_, wanted)| place(wanted))
    })?;
    ensure!(order.is_sorted(), "the steps came in the order {order:?}");
    let fault = scene.heard(PI, |heard| {
        let found = heard.events.iter().find(|seen| {
            ours(&seen.event) && seen.event["service"] == "http" && seen.event["outcome"] == "failed"
        });
        found.map(|seen| seen.event.clone())
    })?;
    ensure!(fault.is_none(), "HTTP failed at something: {fault:?}");
    if expect.installs {
        not_twice(scene, expect)?;
    }
    scene.end(expect.node);
    Ok(())
}

/// Waits for the first of the Pi's events that `wanted` wants.
pub(crate) fn event(scene: &Scene, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, SceneError> {
    scene.wait(PI, what, PATIENCE, |heard| {
        heard.events.iter().map(|seen| &seen.event).find(|event| wanted(event)).cloned()
    })
}

/// Whether an event tells of a step that was done.
pub(crate) fn is(event: &Value, service: &str, stage: &str) -> bool {
    event["service"] == service && event["stage"] == stage && event["outcome"] == "ok"
}

/// Whether an event tells of something below `path` that was fetched over HTTP as a whole.
pub(crate) fn got(event: &Value, path: &str) -> bool {
    let below = event["path"].as_str().is_some_and(|got| got.starts_with(path));
    is(event, "http", "get") && event["status"] == 200 && below
}

fn ends(value: &Value, end: &str) -> bool {
    value.as_str().is_some_and(|text| text.ends_with(end))
}
