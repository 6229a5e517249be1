//! Makes the root of the locked packages, which have to be in the cache, and writes it as a tar archive with its
//! initrd beside it, to look at by hand: `cargo run -p pilotlight-rootfs --example try-root -- OUT.tar`.
//! KEEP and INITRD (words) stand in for the board's modules; ALIASES are looked up in them.

use std::{fs, path::Path, time::Instant};

use pilotlight_archive::{Archives, Cache, Lock, Mirrors};
use pilotlight_rootfs::{Inputs, Spec, build, initrd, overlay};
use pilotlight_tree::{Bytes, Kind, Tree};

type Fault = Box<dyn std::error::Error + Send + Sync>;

fn main() -> std::process::ExitCode {
    let Err(fault) = run() else { return std::process::ExitCode::SUCCESS };
    eprintln!("{fault}");
    let mut below = fault.source();
    while let Some(cause) = below {
        eprintln!("  because: {cause}");
        below = cause.source();
    }
    std::process::ExitCode::FAILURE
}

fn run() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out] = &arguments[..] else { return Err("OUT.tar".into()) };
    let list = |variable: &str| {
        let value = std::env::var(variable).unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let spec = Spec::parse(&fs::read_to_string(top.join("bases/debian/root.toml"))?)?;
    let archives = Archives::open(&top.join("bases/debian"), Mirrors::default(), Cache::of_user()?)?;
    let lock = Lock::parse(&fs::read_to_string(top.join("pilotlight.lock"))?)?;
    let (packages, payload) = (archives.packages(&lock, "root")?, archives.packages(&lock, "payload")?);
    let start = Instant::now();
    let overlay = overlay::read(&top.join("image-overlay"), 1_780_000_000)?;
    let (keep, names) = (list("KEEP"), list("INITRD"));
    let root = build(&Inputs {
        packages: &packages,
        payload: &payload,
        spec: &spec,
        keep_modules: &keep,
        initrd_modules: &names,
        overlay: &overlay,
        services: &[],
        version: "0.1.0",
        epoch: 1_780_000_000,
    })?;
    println!("root: {:?}, {} nodes", start.elapsed(), root.tree.len());
    let start = Instant::now();
    let packed = initrd::build(&root.modules, &names, &Bytes::from_static(b"#!/bin/sh\n"), 1_780_000_000)?;
    println!("initrd: {:?}, {} bytes", start.elapsed(), packed.len());
    println!(
        "kernel {} of {} bytes, {} device trees",
        root.kernel_release,
        root.kernel.len(),
        root.device_trees.len()
    );
    println!("{} modules, {} files left out", root.modules.iter().count(), root.left_out.len());
    for alias in list("ALIASES") {
        println!("{alias}: {:?}", root.modules.resolve(&alias));
    }
    fs::write(format!("{out}.initrd"), packed)?;
    write_tar(&root.tree, Path::new(out))
}

fn write_tar(tree: &Tree, out: &Path) -> Result<(), Fault> {
    let mut tar = tar::Builder::new(fs::File::create(out)?);
    let (links, others): (Vec<_>, Vec<_>) =
        tree.iter().partition(|(_, node)| matches!(node.kind, Kind::HardLink(_)));
    for (path, node) in others.into_iter().chain(links) {
        let mut header = tar::Header::new_gnu();
        header.set_mode(u32::from(node.meta.mode));
        header.set_uid(u64::from(node.meta.uid));
        header.set_gid(u64::from(node.meta.gid));
        header.set_mtime(u64::from(node.meta.mtime));
        header.set_size(0);
        let name = format!(".{path}");
        match &node.kind {
            Kind::Directory => header.set_entry_type(tar::EntryType::Directory),
            Kind::File(content) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, &name, content.as_ref())?;
                continue;
            }
            Kind::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, &name, String::from_utf8_lossy(target).as_ref())?;
                continue;
            }
            Kind::HardLink(target) => {
                header.set_entry_type(tar::EntryType::Link);
                tar.append_link(&mut header, &name, format!(".{target}"))?;
                continue;
            }
            _ => return Err(format!("{path} is a device").into()),
        }
        tar.append_data(&mut header, &name, std::io::empty())?;
    }
    Ok(tar.finish()?)
}
