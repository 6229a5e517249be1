//! Whole roots out of small packages made here: what a root is made of, and what stops a build.

mod small;

use std::error::Error as _;

use pilotlight_rootfs::{Root, Spec, initrd};
use pilotlight_tree::{Bytes, Kind, Node, Package};
use small::{EPOCH, PACKAGES, SPEC, base, file, folder, make, make_with, node, package, path};

fn text(root: &Root, raw: &str) -> String {
    match &root.tree.get(&path(raw)).unwrap_or_else(|| panic!("{raw} is not there")).kind {
        Kind::File(content) => String::from_utf8(content.to_vec()).unwrap(),
        Kind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
        other => format!("{other:?}"),
    }
}

/// Before Debian 13 no package has the links at the top, and each names its files through them.
#[test]
fn links_that_nobody_ships_are_made() {
    let mut packages = base();
    packages[0].data.retain(|(raw, _)| *raw != path("bin") && *raw != path("lib"));
    packages.push(package(
        "tool",
        "armhf",
        vec![("./bin/", folder()), ("./bin/tool", file("run")), ("lib/firmware/x", file("blob"))],
    ));
    let root = make(&packages, vec![], &[]).unwrap();
    for (raw, expect) in [
        ("/usr/bin/tool", "run"),
        ("/usr/lib/firmware/x", "blob"),
        ("/bin", "-> usr/bin"),
        ("/lib", "-> usr/lib"),
    ] {
        assert_eq!(text(&root, raw), expect, "{raw}");
    }
    assert!(root.tree.get(&path("/sbin")).is_none(), "a link for nothing");
}

#[test]
fn a_root_is_whole() {
    let mut packages = base();
    packages.push(package(
        "tool",
        "armhf",
        vec![("./bin/tool", file("run")), ("etc/tool.conf", file("a=1\n"))],
    ));
    packages[2].control.insert("conffiles".to_owned(), Bytes::from_static(b"/etc/tool.conf\n"));
    packages[2]
        .control
        .insert("md5sums".to_owned(), Bytes::from_static(b"0  bin/tool\n1  usr/share/man/x\n"));
    let root = make(&packages, vec![("etc/new", file("ours"))], &["lan-x", "virtio_pci"]).unwrap();
    let check = |raw: &str, expect: &str| assert_eq!(text(&root, raw), expect, "{raw}");
    check("/usr/bin/tool", "run");
    check("/etc/new", "ours");
    check("/usr/lib/pilotlight/x", "elf");
    check(
        "/etc/passwd",
        "root:*:0:0:root:/root:/bin/bash\nnobody:*:65534:65534:nobody:/:/usr/sbin/nologin\nsystemd-network:x:105:105:Network:/:/usr/sbin/nologin\n",
    );
    check("/etc/shadow", "systemd-network:!*:20000:::::1:\n");
    check(
        "/etc/group",
        "root:*:0:\nshadow:*:42:\nnogroup:*:65534:\nsystemd-journal:x:104:\nsystemd-network:x:105:\n",
    );
    check("/etc/systemd/system/default.target", "-> /usr/lib/systemd/system/pilotlight.target");
    check("/etc/systemd/system/multi-user.target.wants/a.service", "-> /usr/lib/systemd/system/a.service");
    check("/etc/systemd/system/fstrim.timer", "-> /dev/null");
    check("/etc/machine-id", "");
    check("/etc/hostname", "-> /run/pilotlight/hostname");
    check("/var/lib/dpkg", "-> ../../usr/lib/sysimage/dpkg");
    check("/usr/lib/sysimage/dpkg/arch", "armhf\narm64\n");
    check("/usr/lib/sysimage/dpkg/info/tool.list", "/bin/tool\n/etc/tool.conf\n");
    check("/usr/lib/sysimage/dpkg/info/tool.md5sums", "0  bin/tool\n");
    check(
        "/usr/lib/sysimage/dpkg/info/pilotlight.list",
        "/.\n/etc/new\n/usr/lib/pilotlight/x\n/usr/lib/tmpfiles.d/packages.conf\n/usr/share/pilotlight/packages\n",
    );
    let status = text(&root, "/usr/lib/sysimage/dpkg/status");
    assert!(status.contains("Package: tool\nStatus: install ok installed\nVersion: 1\n"), "{status}");
    let conffile = "Description: tool\n more\nConffiles:\n /etc/tool.conf d5e29449b9e66d5b4bb0d6ce48fbbcb1\n";
    assert!(status.contains(conffile), "{status}");
    assert!(root.tree.iter().all(|(_, node)| node.meta.mtime <= EPOCH));
    assert_eq!(root.users.uid("systemd-network"), Some(105));
}

#[test]
fn passwd_puts_everyone_into_shadow() {
    let mut packages = base();
    packages.push(package("passwd", "armhf", vec![("usr/bin/passwd", file("run"))]));
    let root = make(&packages, Vec::new(), &[]).unwrap();
    let check = |raw: &str, expect: &str| assert_eq!(text(&root, raw), expect, "{raw}");
    check(
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\nsystemd-network:x:105:105:Network:/:/usr/sbin/nologin\n",
    );
    check(
        "/etc/shadow",
        "root:*:20000:0:99999:7:::\nnobody:*:20000:0:99999:7:::\nsystemd-network:!*:20000:0:99999:7::1:\n",
    );
    check("/etc/gshadow", "root:*::\nshadow:*::\nnogroup:*::\nsystemd-journal:!*::\nsystemd-network:!*::\n");
    let meta = root.tree.get(&path("etc/shadow")).unwrap().meta;
    assert_eq!((meta.mode, meta.uid, meta.gid), (0o640, 0, 42));
}

#[test]
fn a_link_takes_the_place_of_an_empty_folder() {
    for (extra, expect) in [
        (None, Kind::Symlink(b"/run/pilotlight/hostname".to_vec())),
        (Some("etc/hostname/x"), Kind::Directory),
    ] {
        let mut packages = base();
        let mut data = vec![("etc/hostname/", folder())];
        data.extend(extra.map(|path| (path, file("kept"))));
        packages.push(package("other", "armhf", data));
        let root = make(&packages, Vec::new(), &[]).unwrap();
        assert_eq!(root.tree.get(&path("etc/hostname")).unwrap().kind, expect);
    }
}

#[test]
fn the_kernel_lies_beside_the_root() {
    let root = make(&base(), vec![], &["lan_x", "virtio-pci"]).unwrap();
    assert_eq!((root.kernel_release.as_str(), &root.kernel[..]), ("6.1", &b"kernel"[..]));
    assert_eq!(root.device_trees["broadcom/x.dtb"], Bytes::from_static(b"tree"));
    assert_eq!(root.modules.resolve("usb:v0424p7800d0300dc"), ["lan_x"]);
    assert_eq!(
        text(&root, "/usr/lib/modules/6.1/modules.dep"),
        "kernel/net/lan-x.ko: kernel/net/usbnet.ko\nkernel/net/usbnet.ko:\n"
    );
    let order = root.modules.load_order(&["lan-x".to_owned(), "virtio_pci".to_owned()]).unwrap();
    assert_eq!(order.iter().map(|module| module.name.as_str()).collect::<Vec<_>>(), ["usbnet", "lan_x"]);
    let first =
        initrd::build(&root.modules, &["lan-x".to_owned()], &Bytes::from_static(b"init"), EPOCH).unwrap();
    let again =
        initrd::build(&root.modules, &["lan-x".to_owned()], &Bytes::from_static(b"init"), EPOCH).unwrap();
    assert_eq!(first, again);
    let archive = zstd::decode_all(&first[..]).unwrap();
    let list = b"lib/modules/usbnet.ko\nlib/modules/lan_x.ko\n";
    assert!(archive.windows(list.len()).any(|window| window == list));
    assert!(archive.starts_with(b"070701") && archive.len().is_multiple_of(4));
}

#[test]
fn a_kernel_that_may_lack_modules_says_which_it_does() {
    let make =
        |may_lack| make_with(&base(), vec![], &["lan-x", "dwc2"], &["net/usbnet.ko", "fs/none/"], may_lack);
    assert!(
        matches!(make(false), Err(pilotlight_rootfs::Error::NothingToKeep { prefix, .. }) if prefix == "fs/none/")
    );
    let root = make(true).unwrap();
    assert_eq!(root.modules.lacking().collect::<Vec<_>>(), ["dwc2", "fs/none/"]);
    let order = root.modules.load_order(&["dwc2".to_owned(), "lan-x".to_owned()]).unwrap();
    assert_eq!(order.iter().map(|module| module.name.as_str()).collect::<Vec<_>>(), ["usbnet", "lan_x"]);
    assert!(root.modules.load_order(&["other".to_owned()]).is_err());
}

#[test]
fn every_file_is_there_or_accounted_for() {
    let mut packages = base();
    packages.push(package(
        "x",
        "armhf",
        vec![
            ("usr/share/doc/", folder()),
            ("usr/share/doc/x/", folder()),
            ("usr/share/doc/x/copyright", file("free")),
            ("usr/share/doc/x/changelog.gz", file("long")),
            ("usr/share/man/man1/", folder()),
            ("usr/share/man/man1/x.1.gz", file("page")),
            ("lib/x", file("library")),
        ],
    ));
    let root = make(&packages, vec![], &["usbnet"]).unwrap();
    for package in &packages {
        for (raw, shipped) in &package.data {
            let behind = raw.to_string().replacen(
                "/lib/",
                "/usr/lib/",
                usize::from(raw.to_string().starts_with("/lib/")),
            );
            let there = root.tree.get(&path(&behind)).map(|node| (&node.kind, node.meta.mode));
            let left_out = root.left_out.iter().filter(|one| one.path == path(&behind)).count();
            match there {
                Some(there) => {
                    assert_eq!((there, left_out), ((&shipped.kind, shipped.meta.mode), 0), "{behind}")
                }
                None => assert_eq!(left_out, 1, "{behind}"),
            }
        }
    }
    let gone: Vec<String> = root.left_out.iter().map(|one| one.path.to_string()).collect();
    assert!(gone.contains(&"/usr/share/doc/x/changelog.gz".to_owned()));
    assert!(gone.contains(&"/usr/lib/modules/6.1/kernel/sound".to_owned()));
    assert!(!gone.contains(&"/usr/share/doc/x/copyright".to_owned()));
    assert!(root.left_out.iter().all(|one| !one.reason.is_empty()));
}

#[test]
fn the_order_of_packages_decides_nothing() {
    let mut packages = base();
    packages.push(package("tool", "armhf", vec![("usr/bin/tool", file("run"))]));
    let one = make(&packages, vec![], &["lan-x"]).unwrap();
    packages.reverse();
    let other = make(&packages, vec![], &["lan-x"]).unwrap();
    assert!(one.tree == other.tree);
}

fn check_refusal(
    change: impl Fn(&mut Vec<Package>, &mut Vec<(&'static str, Node)>),
    names: &[&str],
    expect: &str,
) {
    let (mut packages, mut overlay) = (base(), Vec::new());
    change(&mut packages, &mut overlay);
    let fault = make(&packages, overlay, names).err().unwrap_or_else(|| panic!("no refusal: {expect}"));
    let mut message = fault.to_string();
    if let Some(source) = fault.source() {
        message = format!("{message}: {source}");
    }
    assert!(message.contains(expect), "{message:?} instead of {expect:?}");
}

#[test]
fn refusals() {
    check_refusal(
        |packages, _| _ = packages[0].control.insert("postinst".into(), Bytes::from_static(b"#!/bin/sh\n")),
        &[],
        "package base has a postinst that packages.toml does not know",
    );
    check_refusal(
        |packages, _| {
            _ = packages[0].control.insert("triggers".into(), Bytes::from_static(b"interest-noawait /x\n"))
        },
        &[],
        "package base has a triggers that packages.toml does not know",
    );
    check_refusal(
        |packages, _| {
            packages.push(package("other", "armhf", vec![("lib/systemd/system/a.service", file("x"))]))
        },
        &[],
        "the packages base and other both ship /usr/lib/systemd/system/a.service, and not the same",
    );
    check_refusal(
        |packages, _| packages[0].data.push((path("usr/lib/sysusers.d/z.conf"), file("u stranger -\n"))),
        &[],
        "add `stranger = …` to [ids] in packages.toml",
    );
    check_refusal(
        |packages, _| packages[0].data.push((path("usr/lib/sysusers.d/z.conf"), file("u a 7\nu b 7\n"))),
        &[],
        "`b` with number 7 clashes with a",
    );
    check_refusal(
        |_, overlay| overlay.push(("lib/systemd/system/a.service", file("ours"))),
        &[],
        "the overlay replaces /usr/lib/systemd/system/a.service of package base",
    );
    check_refusal(
        |_, overlay| overlay.push(("usr/bin", file("ours"))),
        &[],
        "something else already stands there",
    );
    check_refusal(|_, _| (), &["nonesuch"], "kernel 6.1 has no module `nonesuch`");
    check_refusal(|packages, _| _ = packages.pop(), &[], "one package has to ship a kernel");
    check_refusal(
        |packages, _| packages[1].data.push((path("usr/lib/modules/6.2/vmlinuz"), file("other"))),
        &[],
        "/usr/lib/modules/*/vmlinuz; found 2",
    );
    check_refusal(
        |packages, _| packages[1].data.push((path("usr/lib/modules/6.1/kernel/bad.ko.xz"), file("no xz"))),
        &["bad"],
        "the kernel module /usr/lib/modules/6.1/kernel/bad.ko.xz cannot be read",
    );
    check_refusal(
        |packages, _| {
            packages[0].data.push((path("usr/bin/b"), node(0o755, Kind::HardLink(path("usr/bin/a")))))
        },
        &[],
        "/usr/bin/b is a hard link to /usr/bin/a, which is not in the root",
    );
    check_refusal(
        |packages, _| packages[0].data.retain(|(path, _)| !path.to_string().contains("pilotlight.target")),
        &[],
        "/usr/lib/systemd/system/pilotlight.target is needed",
    );
}

#[test]
fn unknown_keys_are_refused() {
    let fault = Spec::parse(&SPEC.replacen("shadow-day", "shadow-days", 1), PACKAGES).unwrap_err();
    assert!(fault.source().unwrap().to_string().contains("shadow-days"));
}
