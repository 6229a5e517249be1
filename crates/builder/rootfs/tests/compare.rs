//! Our root against another one: every difference is found, and explained or told.

mod small;

use pilotlight_rootfs::compare::{Reasons, Usual, Verdict, compare};
use pilotlight_tree::{Kind, Meta, Node, Tree};
use small::{base, file, folder, link, make, package, path, spec};

/// What explains a root against itself: the place of the package database, and the appliance that root.toml makes.
const MOVED: &str = r#"
[[moved]]
from = "/var/lib/dpkg"
to = "/usr/lib/sysimage/dpkg"
reason = "it lies in the root"
"#;

/// The tree as the tar archive that `mmdebstrap` would make of it; `attributes` names the path with an extended one.
fn archive(tree: &Tree, attributes: Option<&str>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, Node { meta, kind }) in tree.iter().filter(|(path, _)| !path.is_root()) {
        if attributes == Some(path.to_string().as_str()) {
            tar.append_pax_extensions([("SCHILY.xattr.security.capability", b"x".as_slice())]).unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_mode(meta.mode.into());
        header.set_uid(meta.uid.into());
        header.set_gid(meta.gid.into());
        header.set_size(0);
        let name = path.to_string().trim_start_matches('/').to_owned();
        match kind {
            Kind::File(content) => {
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, &name, &content[..]).unwrap();
            }
            Kind::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, &name, String::from_utf8_lossy(target).as_ref()).unwrap();
            }
            Kind::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, &name, std::io::empty()).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    tar.into_inner().unwrap()
}

/// Compares a root with itself after `edit`, and without what is Pilotlight's own, when the table has these lines.
fn verdict(edit: impl FnOnce(&mut Tree), attributes: Option<&str>, lines: &str) -> Verdict {
    let mut packages = base();
    packages.push(package(
        "tool",
        "armhf",
        vec![("usr/bin/tool", file("run\nand run\n")), ("usr/share/man/man1/tool.1.gz", file("help"))],
    ));
    let ours = make(&packages, Vec::new(), &["lan-x"]).unwrap();
    let mut usual = ours.tree.clone();
    usual.remove_all(&path("usr/lib/pilotlight"));
    usual.remove(&path("etc/systemd/system/fstrim.timer"));
    let database: Vec<_> = usual
        .iter()
        .filter(|(path, _)| path.is_at_or_beneath(&small::path("usr/lib/sysimage/dpkg")))
        .map(|(path, node)| (path.to_string().replace("usr/lib/sysimage", "var/lib"), node.clone()))
        .collect();
    usual.remove_all(&path("usr/lib/sysimage"));
    for (place, node) in database {
        usual.insert(path(&place), node);
    }
    edit(&mut usual);
    let usual = Usual::read(&archive(&usual, attributes).into()).unwrap();
    compare(&usual, &ours, &spec(), &Reasons::parse(&format!("{MOVED}{lines}")).unwrap()).unwrap()
}

fn check(
    edit: impl FnOnce(&mut Tree),
    attributes: Option<&str>,
    lines: &str,
    unexplained: &[&str],
    unused: &[&str],
) {
    let verdict = verdict(edit, attributes, lines);
    let told: Vec<String> = verdict.unexplained.iter().map(ToString::to_string).collect();
    assert_eq!(told, unexplained, "{lines}");
    assert_eq!(verdict.unused, unused, "{lines}");
}

fn put(tree: &mut Tree, place: &str, node: Node) {
    tree.insert(path(place), node);
}

#[test]
fn nothing_differs() {
    let verdict = verdict(|_| {}, None, "");
    assert!(verdict.is_clean(), "{:?} {:?}", verdict.unexplained, verdict.unused);
    let reasons: Vec<&str> = verdict.explained.keys().map(String::as_str).collect();
    // The timer's mask has its reason in root.toml.
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons.contains(&"files of Pilotlight's own"), "{reasons:?}");
    assert!(reasons.contains(&"it lies in the root"), "{reasons:?}");
}

#[test]
fn every_aspect_is_told() {
    let tool = "/usr/bin/tool";
    let content = |text: &'static str| move |tree: &mut Tree| put(tree, tool, file(text));
    check(|tree| put(tree, "/x", folder()), None, "", &["/x is only in the usual root"], &[]);
    check(|tree| _ = tree.remove(&path(tool)), None, "", &["/usr/bin/tool is only in ours"], &[]);
    check(
        |tree| put(tree, tool, link("x")),
        None,
        "",
        &["/usr/bin/tool is a link there and a file here"],
        &[],
    );
    check(
        |tree| put(tree, "/bin", link("usr/x")),
        None,
        "",
        &["/bin points to usr/x there and to usr/bin here"],
        &[],
    );
    check(
        |tree| tree.get_mut(&path(tool)).unwrap().meta = Meta { mode: 0o4755, uid: 65534, gid: 42, mtime: 0 },
        None,
        "",
        &[
            "/usr/bin/tool has mode 4755 there and 0644 here\n  and is nobody:shadow's there and root:root's here",
        ],
        &[],
    );
    check(
        content("run\nand walk\n"),
        None,
        "",
        &["/usr/bin/tool has other lines\n    there \"and walk\"\n    here  \"and run\""],
        &[],
    );
    check(
        content("run and\nrun\n"),
        None,
        "",
        &["/usr/bin/tool has the same lines and words in another order"],
        &[],
    );
    check(
        content("run\nand run\nrun\n"),
        None,
        "",
        // The same lines, one of them twice.
        &["/usr/bin/tool has other lines"],
        &[],
    );
    check(|_| {}, Some(tool), "", &["/usr/bin/tool has security.capability there"], &[]);
}

#[test]
fn a_reason_explains_what_it_names_and_no_more() {
    let line = |what: &str| format!("[[difference]]\npaths = [\"/usr/bin/*\"]\nreason = \"r\"\n{what}\n");
    let content = |text: &'static str| move |tree: &mut Tree| put(tree, "/usr/bin/tool", file(text));
    check(content("other"), None, &line("may = [\"content\"]"), &[], &[]);
    check(content("and run\nrun"), None, &line("may = [\"order\"]"), &[], &[]);
    check(content("run\nand run\n#"), None, &line("lines-there = [\"[#]*\"]"), &[], &[]);
    check(
        content("run\n"),
        None,
        &line("may = [\"mode\"]"),
        &["/usr/bin/tool has other lines\n    here  \"and run\""],
        &["/usr/bin/* (\"r\")"],
    );
    check(content("run\n"), None, &line("lines-here = [\"and *\", \"never\"]"), &[], &["never (\"r\")"]);
    // About a file that only the usual root has, and about one that both have.
    let words = |text: &'static str| {
        move |tree: &mut Tree| {
            put(tree, "/usr/share/man/man1/tool.1.gz", file("help"));
            put(tree, "/usr/bin/tool", file(text));
        }
    };
    let absent = line("lines-about-absent = true");
    check(words("run\nand run\n/usr/share/man/man1/tool.1.gz x\n"), None, &absent, &[], &[]);
    check(
        words("run\nand run\n/usr/bin/tool x\n"),
        None,
        &absent,
        &["/usr/bin/tool has other lines\n    there \"/usr/bin/tool x\""],
        &["/usr/bin/* (\"r\")"],
    );
}

#[test]
fn a_place_that_nothing_was_moved_from_is_told() {
    let moved = "[[moved]]\nfrom = \"/var/x\"\nto = \"/usr/x\"\nreason = \"r\"\n";
    check(|_| {}, None, moved, &[], &["/var/x (\"r\")"]);
}
