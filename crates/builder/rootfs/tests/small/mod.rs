//! Small packages, and the root that is made of them.

use std::collections::BTreeMap;

use pilotlight_rootfs::{Error, Inputs, Overlay, Root, Spec, Wanted, build};
use pilotlight_tree::{Bytes, Kind, Meta, Node, Package, TreePath};

pub(crate) const EPOCH: u32 = 1_700_000_000;
pub(crate) const SPEC: &str = include_str!("../../../../../bases/debian/root.toml");
pub(crate) const PACKAGES: &str = include_str!("../../../../../bases/debian/packages.toml");

pub(crate) fn path(raw: &str) -> TreePath {
    TreePath::parse(raw).unwrap()
}

pub(crate) fn node(mode: u16, kind: Kind) -> Node {
    // Newer than the build says: times are cut to the epoch.
    Node { meta: Meta::root(mode, EPOCH + 5), kind }
}

pub(crate) fn file(content: &str) -> Node {
    node(0o644, Kind::File(content.to_owned().into()))
}

pub(crate) fn link(target: &str) -> Node {
    node(0o777, Kind::Symlink(target.into()))
}

pub(crate) fn folder() -> Node {
    node(0o755, Kind::Directory)
}

pub(crate) fn package(name: &str, architecture: &str, data: Vec<(&str, Node)>) -> Package {
    let control = format!(
        "Package: {name}\nVersion: 1\nArchitecture: {architecture}\nMaintainer: A <a@example.org>\nDescription: {name}\n more\n"
    );
    Package {
        name: name.to_owned(),
        version: "1".to_owned(),
        architecture: architecture.to_owned(),
        control: BTreeMap::from([("control".to_owned(), Bytes::from(control))]),
        data: data.into_iter().map(|(raw, node)| (path(raw), node)).collect(),
    }
}

/// The least that makes a root: links of the merged /usr, users, a target, a kernel with two modules.
pub(crate) fn base() -> Vec<Package> {
    let base = package(
        "base",
        "armhf",
        vec![
            ("./", folder()),
            ("bin", link("usr/bin")),
            ("lib", link("usr/lib")),
            ("usr/", folder()),
            ("usr/bin/", folder()),
            (
                "usr/share/base-passwd/passwd.master",
                file("root:*:0:0:root:/root:/bin/bash\nnobody:*:65534:65534:nobody:/:/usr/sbin/nologin\n"),
            ),
            ("usr/share/base-passwd/group.master", file("root:*:0:\nshadow:*:42:\nnogroup:*:65534:\n")),
            ("usr/lib/systemd/system/pilotlight.target", file("[Unit]\n")),
            ("usr/lib/systemd/system/fstrim.timer", file("[Install]\nWantedBy=timers.target\n")),
            ("usr/lib/systemd/system/a.service", file("[Install]\nWantedBy=multi-user.target\n")),
            (
                "usr/lib/sysusers.d/systemd.conf",
                file("g systemd-journal -\nu! systemd-network - \"Network\"\n"),
            ),
        ],
    );
    let kernel = package(
        "linux-image-6.1",
        "arm64",
        vec![
            ("boot/vmlinuz-6.1", file("kernel")),
            ("usr/lib/linux-image-6.1/broadcom/x.dtb", file("tree")),
            ("usr/lib/modules/6.1/modules.builtin", file("kernel/drivers/virtio/virtio_pci.ko\n")),
            ("usr/lib/modules/6.1/kernel/net/usbnet.ko", module(&["depends="])),
            (
                "usr/lib/modules/6.1/kernel/net/lan-x.ko",
                module(&["depends=usbnet", "alias=usb:v0424p7800d*"]),
            ),
            ("usr/lib/modules/6.1/kernel/sound/snd.ko", module(&["depends="])),
        ],
    );
    vec![base, kernel]
}

/// A 64-bit ELF file with a .modinfo section.
pub(crate) fn module(strings: &[&str]) -> Node {
    let modinfo: Vec<u8> = strings.iter().flat_map(|one| one.bytes().chain([0])).collect();
    let names = b"\0.modinfo\0";
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    elf.extend(&modinfo);
    elf.extend(names);
    let table = elf.len() as u64;
    elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    elf[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
    elf[0x3c..0x3e].copy_from_slice(&2u16.to_le_bytes());
    elf[0x3e..0x40].copy_from_slice(&1u16.to_le_bytes());
    for (name, offset, length) in [(1u32, 64, modinfo.len()), (0, 64 + modinfo.len(), names.len())] {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[4..8].copy_from_slice(&1u32.to_le_bytes());
        header[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
        header[0x20..0x28].copy_from_slice(&(length as u64).to_le_bytes());
        elf.extend(header);
    }
    node(0o644, Kind::File(elf.into()))
}

/// root.toml without its payload, of which these packages have nothing.
pub(crate) fn spec() -> Spec {
    let (head, tail) = SPEC.split_once("# Payload\n").unwrap();
    let (_, tail) = tail.split_once("# The appliance\n").unwrap();
    Spec::parse(&format!("{head}{tail}"), PACKAGES).unwrap()
}

pub(crate) fn make(packages: &[Package], overlay: Vec<(&str, Node)>, names: &[&str]) -> Result<Root, Error> {
    make_with(packages, overlay, names, &[], false)
}

/// The same, with modules to keep, of which some may be lacking.
pub(crate) fn make_with(
    packages: &[Package],
    overlay: Vec<(&str, Node)>,
    names: &[&str],
    keep: &[&str],
    may_lack: bool,
) -> Result<Root, Error> {
    let keep: Vec<String> = keep.iter().map(|prefix| (*prefix).to_owned()).collect();
    let overlay = overlay.into_iter().map(|(raw, node)| (path(raw), node)).collect();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    build(&Inputs {
        packages,
        payload: &[],
        spec: &spec(),
        architecture: "armhf",
        modules: Wanted { keep: &keep, initrd: &names, may_lack },
        overlay: &Overlay::new(overlay),
        services: &[(path("/usr/lib/pilotlight/x"), Bytes::from_static(b"elf"), 0o755)],
        version: "1.0",
        epoch: EPOCH,
    })
}
