//! The Pi beside a router: machines have their addresses from it, and boot from the Pi all the same.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pilotlight_emulator::{
    pc::{Firmware, Marks, Pc},
    pi::Kind,
};
use serde_json::Value;

use crate::{
    card,
    pcs::{event, got, is},
};

/// What the router gives out.
const POOL: std::ops::RangeInclusive<u8> = 150..=165;

/// BIOS with iPXE in its ROM, UEFI over PXE, and UEFI over HTTP, one wire and one Pi.
pub(crate) fn beside_a_router() -> Result<()> {
    let mut scene = card::scene("virt-proxy")?;
    let card = card::of_lab(&scene, "proxy")?;
    scene.start_router(false)?;
    let ready = card::start(&mut scene, Kind::Virt, &card)?;
    ensure!(ready.contains("failed units: none") && ready.contains("lab: card"), "{ready}");
    let pcs = [
        ("bios", Firmware::Bios, "52:54:00:77:00:21", None),
        ("uefi", Firmware::Uefi, "52:54:00:77:00:22", Some(("boot", "tftp", "file"))),
        ("http", Firmware::UefiHttp, "52:54:00:77:00:23", Some(("offer", "http", "path"))),
    ];
    for (name, firmware, mac, _) in pcs {
        let pc = Pc {
            name,
            firmware,
            memory_mib: 512,
            hub: Path::new(""),
            mac,
            disks: &[],
            marks: Marks::default(),
        };
        scene.start_pc(&pc)?;
    }
    for (name, _, mac, loader) in pcs {
        let ours = |event: &Value| event["mac"] == mac && event["node"] == name;
        let offer =
            event(&scene, &format!("{name}: an offer"), |event| is(event, "dhcp", "offer") && ours(event))?;
        ensure!(offer["proxy"] == true && offer.get("address").is_none(), "{offer}");
        if let Some((stage, service, key)) = loader {
            event(&scene, &format!("{name}: where to boot from"), |event| {
                is(event, "dhcp", stage) && ours(event)
            })?;
            let ends = |event: &Value| event[key].as_str().is_some_and(|name| name.ends_with("ipxe.efi"));
            event(&scene, &format!("{name}: its loader"), |event| {
                event["service"] == service && ends(event)
            })?;
        }
        let script = event(&scene, &format!("{name}: its script"), |event| {
            got(event, "/ipxe")
                && event["path"].as_str().is_some_and(|path| path.contains(&mac.replace(':', "-")))
        })?;
        from_the_router(&script).with_context(|| format!("{name}: {script}"))?;
        let kernel = |event: &Value| event["address"] == script["address"] && got(event, "/assets/");
        event(&scene, &format!("{name}: the installer's kernel"), kernel)?;
    }
    card::tidy(scene)
}

/// Whoever fetched this has its address from the router.
fn from_the_router(fetched: &Value) -> Result<()> {
    let address = fetched["address"].as_str().context("it names no address")?;
    let last: u8 = address.strip_prefix("10.77.0.").context("another network")?.parse()?;
    ensure!(POOL.contains(&last), "{address} is none of the router's");
    Ok(())
}
