//! Makes a root from .deb files in a folder, for trying things by hand:
//! `cargo run -p pilotlight-rootfs --example try-root -- ROOT.toml DEBS PAYLOAD-DEBS OVERLAY OUT.tar`.
//!
//! Unpacks with nothing but what the crate has at hand; the real builder takes its packages from the archive.

use std::{collections::BTreeMap, fs, io::Read, path::Path, time::Instant};

use pilotlight_rootfs::{Inputs, Spec, build, initrd, overlay};
use pilotlight_tree::{Bytes, Kind, Meta, Node, Package, Tree, TreePath};
use rayon::prelude::*;

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
    let [spec, packages, payload, folder, out] = &arguments[..] else {
        return Err("ROOT.toml DEBS PAYLOAD-DEBS OVERLAY OUT.tar".into());
    };
    let list = |variable: &str| {
        let value = std::env::var(variable).unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let spec = Spec::parse(&fs::read_to_string(spec)?)?;
    let (packages, payload) = (load(Path::new(packages))?, load(Path::new(payload))?);
    let start = Instant::now();
    let overlay = overlay::read(Path::new(folder), 1_780_000_000)?;
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

fn load(folder: &Path) -> Result<Vec<Package>, Fault> {
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::path);
    files.par_iter().map(|file| unpack(&fs::read(file.path())?)).collect()
}

fn unpack(deb: &[u8]) -> Result<Package, Fault> {
    let mut archive = ar::Archive::new(deb);
    let (mut control, mut data) = (BTreeMap::new(), Vec::new());
    while let Some(entry) = archive.next_entry() {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        let mut packed = Vec::new();
        entry.read_to_end(&mut packed)?;
        let mut plain = Vec::new();
        match name.rsplit('.').next() {
            Some("xz") => _ = liblzma::bufread::XzDecoder::new(packed.as_slice()).read_to_end(&mut plain)?,
            Some("zst") => plain = zstd::decode_all(packed.as_slice())?,
            _ => plain = packed,
        }
        if name.starts_with("control.tar") {
            for (path, node) in members(&plain)? {
                if let Kind::File(content) = node.kind {
                    control.insert(String::from_utf8_lossy(path.as_bytes()).into_owned(), content);
                }
            }
        } else if name.starts_with("data.tar") {
            data = members(&plain)?;
        }
    }
    let text = String::from_utf8_lossy(&control["control"]).into_owned();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    Ok(Package {
        name: field("Package"),
        version: field("Version"),
        architecture: field("Architecture"),
        control,
        data,
    })
}

fn members(plain: &[u8]) -> Result<Vec<(TreePath, Node)>, Fault> {
    let mut nodes = Vec::new();
    for entry in tar::Archive::new(plain).entries()? {
        let mut entry = entry?;
        let path = TreePath::parse(entry.path_bytes())?;
        let header = entry.header();
        let meta = Meta {
            mode: (header.mode()? & 0o7777) as u16,
            uid: header.uid()? as u32,
            gid: header.gid()? as u32,
            mtime: header.mtime()? as u32,
        };
        let link = entry.link_name_bytes().unwrap_or_default().into_owned();
        let kind = match entry.header().entry_type() {
            tar::EntryType::Directory => Kind::Directory,
            tar::EntryType::Symlink => Kind::Symlink(link),
            tar::EntryType::Link => Kind::HardLink(TreePath::parse(link)?),
            _ => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                Kind::File(content.into())
            }
        };
        nodes.push((path, Node { meta, kind }));
    }
    Ok(nodes)
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
