//! What the builder adds to the packages.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use pilotlight_rootfs::Glob;
use pilotlight_tests::{
    process::run,
    surroundings::{self, Tools, checkout},
};

use crate::cut::{LIMIT, Root};

/// QEMU has none of the network adapters of real boards: that they would get their drivers is read off the
/// modules' aliases.
pub(crate) fn network_adapters() -> Result<()> {
    let root = Root::unpack()?;
    let modules = root.modules()?;
    let aliases = fs::read_to_string(modules.join("modules.alias"))?;
    let dependencies = fs::read_to_string(modules.join("modules.dep"))?;
    for (board, device, driver) in [
        ("3B: SMSC LAN9514", "usb:v0424pEC00d0200dcFFdsc00dp01icFFisc00ipFFin00", "smsc95xx"),
        ("3B+: Microchip LAN7515", "usb:v0424p7800d0300dcFFdsc00dpFFicFFisc00ipFFin00", "lan78xx"),
        ("both: the USB controller", "of:NusbT(null)Cbrcm,bcm2835-usb", "dwc2"),
        ("both: the SD controller", "of:NmmcT(null)Cbrcm,bcm2835-sdhost", "bcm2835"),
    ] {
        let matching = aliases.lines().filter_map(|line| line.strip_prefix("alias ")?.split_once(' '));
        let found: Vec<&str> = matching
            .filter(|(pattern, _)| Glob::alias(pattern).matches(device.as_bytes()))
            .map(|(_, module)| module)
            .collect();
        ensure!(found.contains(&driver), "{board}: {device} resolves to {found:?}, not to {driver}");
        let line = dependencies
            .lines()
            .find(|line| {
                let path = line.split(':').next().unwrap_or_default();
                path.rsplit('/').next().is_some_and(|file| file.split('.').next() == Some(driver))
            })
            .with_context(|| format!("{board}: modules.dep has no {driver}"))?;
        for module in line.replace(':', " ").split_ascii_whitespace() {
            ensure!(modules.join(module).is_file(), "{board}: {driver} needs {module}, which is not there");
        }
    }
    Ok(())
}

/// The highest exposure that `systemd-analyze security` may find in a unit, in tenths of its scale of 0 to 10.
const EXPOSURE: &str = "20";

/// Each service is somebody who is not root, and cannot do much (rule 6).
pub(crate) fn units() -> Result<()> {
    let root = Root::unpack()?;
    let names = fs::read_dir(root.tree.join("usr/lib/systemd/system"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: Vec<String> = names.collect::<Result<_>>()?;
    let services: Vec<&String> =
        names.iter().filter(|name| name.starts_with("pilotlight-") && name.ends_with(".service")).collect();
    ensure!(services.len() >= 5, "only {services:?} are in the root");
    for name in services {
        let text = fs::read_to_string(root.tree.join("usr/lib/systemd/system").join(name))?;
        let user = text.lines().find_map(|line| line.strip_prefix("User="));
        ensure!(user.is_some_and(|user| user != "root" && user != "0"), "{name} runs as {user:?}");
        let mut analyze = Tools::checkers()?.command("systemd-analyze")?;
        analyze.args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE, "--root"]);
        // A template is judged by an instance.
        let outcome = run(analyze.arg(&root.tree).arg(name.replace("@.", "@1.")), LIMIT)?;
        let verdict = outcome.text.lines().find(|line| line.contains("Overall exposure level"));
        let verdict = verdict.with_context(|| format!("{name} has no verdict:\n{}", outcome.text))?;
        ensure!(outcome.status.success(), "{name} is too exposed:\n{}", outcome.text);
        println!("{}", verdict.trim_start_matches(|sign: char| !sign.is_ascii_alphabetic()));
    }
    Ok(())
}

/// Neither the checkout's folder nor the home of whoever built it is in a program of ours.
pub(crate) fn no_path_of_the_builder() -> Result<()> {
    let root = Root::unpack()?;
    let mut programs: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let ours = fs::read_dir(root.tree.join("usr/lib/pilotlight"))?.map(|entry| Ok(entry?.path()));
    for path in ours.chain([Ok(root.tree.join("usr/bin/pilotctl"))]) {
        let path = path.map_err(|fault: std::io::Error| fault)?;
        programs.push((path.clone(), fs::read(&path)?));
    }
    ensure!(programs.len() >= 5, "only {} programs of ours are in the root", programs.len());
    let card = pilotlight_image::card::open(&surroundings::image()?)?;
    let initrd = card.boot()?.read("initrd.img")?;
    let initrd = zstd::stream::decode_all(initrd.as_slice()).context("the initrd is not zstd")?;
    programs.push(("initrd.img".into(), initrd));
    let mut secrets: Vec<String> =
        vec![checkout().to_string_lossy().into_owned(), "/.cargo/registry".to_owned()];
    for variable in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR"] {
        // A home of `/` or nothing is in every path.
        secrets.extend(env::var(variable).ok().filter(|value| value.len() > 1));
    }
    // `/root` is a folder of the Pi's, too, and rightly named in some.
    secrets.retain(|secret| secret != "/root");
    for (path, content) in &programs {
        for secret in &secrets {
            if content.windows(secret.len()).any(|window| window == secret.as_bytes()) {
                bail!("{} names {secret}, a path of the machine that built it", shown(path, &root.tree));
            }
        }
    }
    Ok(())
}

fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// The lab is on the boot partition, where any laptop can edit it, and is the default one of the image.
pub(crate) fn lab() -> Result<()> {
    let card = pilotlight_image::card::open(&surroundings::image()?)?;
    let fat = card.boot()?;
    let text = fat.read("lab.toml")?;
    let default = fs::read(checkout().join("image-overlay/usr/share/pilotlight/lab.toml"))?;
    ensure!(text == default, "the card's lab.toml is not the default lab");
    let lab = pilotlight_lab::parse(&String::from_utf8(text)?)?;
    ensure!(lab.network.probe_first, "an unconfigured card does not look for another DHCP server first");
    for file in
        ["bootcode.bin", "start.elf", "fixup.dat", "config.txt", "cmdline.txt", "vmlinuz", "initrd.img"]
    {
        fat.read(file).with_context(|| format!("{file} is not on the boot partition"))?;
    }
    Ok(())
}
