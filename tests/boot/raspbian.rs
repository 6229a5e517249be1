//! The base `raspbian`, from archives laid out as Raspbian's and Raspberry Pi's are. Those themselves cannot be reached
//! from a test: Debian's own packages stand in for theirs, the kernel's repacked as Raspberry Pi packs it, signed with
//! keys of the test.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use flate2::{Compression, write::GzEncoder};
use pilotlight_archive::{
    Keep, LockedPackage,
    testing::{Deb, Published, Server, Signer, Site, Suite},
    unpack,
};
use pilotlight_disk::Slot;
use pilotlight_emulator::{asker, pi::Kind as Machine};
use pilotlight_image as image;
use pilotlight_tests::{
    desk::{Desk, own},
    process::{must, run},
    surroundings::{self, Tools},
};
use pilotlight_tree::{Kind, Node};

use crate::{PATIENCE, card};

const BASE: &str = "raspbian";
/// Raspberry Pi's names for the kernel's packages, with a version in the first.
const KERNEL: &str = "linux-image-6.12+rpt-rpi-v8";
const KERNEL_VERSION: &str = "1:6.12-1+rpt1";
/// A module that the kernel lacks although boards keep it, as Raspberry Pi's may.
const LACKING: &str = "drivers/rtc/rtc-rv8803.ko";
/// What no Pi has: left out, so that packing takes seconds.
const BULK: [&str; 5] = [
    "kernel/drivers/media/usb/",
    "kernel/drivers/infiniband/",
    "kernel/drivers/scsi/",
    "kernel/drivers/net/wireless/",
    "kernel/drivers/net/ethernet/",
];
/// From two archives to a card that gives out an address.
pub(crate) fn serves() -> Result<()> {
    let desk = Desk::new()?;
    desk.fill_cache(&[])?;
    let bases = desk.path("workspace/bases");
    own(&bases)?;
    let signers = [("raspbian", Signer::new()), ("raspberrypi", Signer::new())];
    let kernel = Kernel::of(&desk)?;
    let server = Server::start(site(&desk, &signers, &kernel)?);
    let builder = |verb: &[&str]| -> Result<Command> {
        let mut command = desk.builder(verb, None)?;
        let mirrors: Vec<String> =
            signers.iter().map(|(archive, _)| format!("{archive}={}", server.mirror(archive))).collect();
        command.args(["--base", BASE]).env("PILOTLIGHT_MIRROR", mirrors.join(" "));
        Ok(command)
    };
    desk.fails(
        &mut builder(&["image"])?,
        &["pilotlight-raspbian.lock", "`cargo xtask lock --base raspbian`"],
    )?;
    // The keys that the base pins are not the test's.
    desk.fails(&mut builder(&["lock"])?, &["signed by none of the pinned keys"])?;
    trust(&bases.join(BASE), &signers)?;
    desk.succeeds(&mut builder(&["lock"])?, "pilotlight-raspbian.lock: ")?;
    desk.succeeds(
        &mut builder(&["lock", "--locked"])?,
        "pilotlight-raspbian.lock: what archives.toml asks for",
    )?;

    let mut scene = card::scene("virt-raspbian")?;
    let path = scene.folder().join("image.img");
    let mut command = builder(&["image", "--locked"])?;
    let said = must(command.arg("--out").arg(&path), PATIENCE)?.text;
    let warning = format!("has nothing of {LACKING}; passed over");
    ensure!(said.contains(&warning), "{warning:?} was not said:\n{said}");
    judge(&path, &kernel)?;

    for board in surroundings::boards()?.iter().filter(|board| board.bases.iter().any(|base| base == BASE)) {
        let mut command = builder(&["image", "--locked", "--board", &board.name])?;
        must(command.arg("--out").arg(desk.image()), PATIENCE).with_context(|| board.title.clone())?;
    }

    let board = surroundings::board_with_base(surroundings::BOARD, BASE)?;
    let card = card::at(&path, &scene, board)?;
    let ready = card::start(&mut scene, Machine::Virt, &card)?;
    for part in ["failed units: none", "data: ok"] {
        ensure!(ready.contains(part), "the ready line lacks {part:?}: {ready}");
    }
    asker::first_offer(scene.hub().path(), PATIENCE).context("no address was offered")?;
    card::tidy(scene)
}

/// Raspberry Pi's kernel package, and what of it goes to the boot partition.
struct Kernel {
    published: Published,
    image: Vec<u8>,
    device_tree: Vec<u8>,
    overlay: Vec<u8>,
}

impl Kernel {
    /// Debian's, with the names and the packing of Raspberry Pi's.
    fn of(desk: &Desk) -> Result<Self> {
        let locked = desk.locked("kernel-arm64")?;
        let ships = |package: &&LockedPackage| package.size > 1 << 20;
        let package =
            unpack(&desk.real_cache()?, locked.iter().find(ships).context("no kernel")?, Keep::Yes)?;
        let mut kernel = Self {
            published: Published::from(Deb::new(KERNEL, KERNEL_VERSION, "arm64")),
            image: Vec::new(),
            device_tree: Vec::new(),
            overlay: empty_device_tree(),
        };
        let mut data = tar::Builder::new(Vec::new());
        let mut trees = None;
        for (path, node) in &package.data {
            let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
            let mut node = node.clone();
            let mut name = path.clone();
            if BULK.iter().any(|part| path.contains(part)) || path.contains(LACKING) {
                continue;
            }
            if path.starts_with("boot/vmlinuz-") {
                kernel.image = gzip(content(&node)?)?;
                node.kind = Kind::File(kernel.image.clone().into());
            } else if path.ends_with(".dtb") {
                let Some((folder, tree)) = path.split_once("/broadcom/bcm") else { continue };
                // What it is called there.
                let tree = match tree.replace("2837-", "2710-") {
                    tree if tree == "2710-rpi-cm3-io3.dtb" => "2710-rpi-cm3.dtb".to_owned(),
                    tree if tree == "2711-rpi-cm4-io.dtb" => "2711-rpi-cm4.dtb".to_owned(),
                    tree => tree,
                };
                if tree == "2710-rpi-3-b.dtb" {
                    kernel.device_tree = content(&node)?.to_vec();
                }
                name = format!("{folder}/broadcom/bcm{tree}");
                trees = Some(folder.to_owned());
            }
            append(&mut data, &name, &node)?;
        }
        let folder = trees.context("the kernel has no device trees")?;
        for overlay in ["disable-bt", "disable-wifi"] {
            let node = Node {
                meta: pilotlight_tree::Meta::root(0o644, 0),
                kind: Kind::File(kernel.overlay.clone().into()),
            };
            append(&mut data, &format!("{folder}/overlays/{overlay}.dtbo"), &node)?;
        }
        let control = format!(
            "Package: {KERNEL}\nVersion: {KERNEL_VERSION}\nArchitecture: arm64\nMaintainer: Test <test@example.org>\n\
             Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool\n\
             Description: kernel for the test\n"
        );
        let scripts: Vec<(String, Vec<u8>)> = package
            .control
            .iter()
            .filter(|(name, _)| *name != "control")
            .map(|(name, content)| (name.clone(), content.to_vec()))
            .collect();
        kernel.published = Published::of_parts(&control, &scripts, &data.into_inner()?);
        Ok(kernel)
    }
}

/// Both archives: Raspbian's with the root, Raspberry Pi's with kernel and firmware.
fn site(desk: &Desk, signers: &[(&str, Signer); 2], kernel: &Kernel) -> Result<Site> {
    let cache = desk.real_cache()?;
    let of = |sets: &[&str]| -> Result<Vec<Published>> {
        let mut packages = Vec::new();
        for set in sets {
            for package in desk.locked(set)? {
                packages.push(Published::of_lock(package, &cache)?);
            }
        }
        Ok(packages)
    };
    let meta = Deb::new("linux-image-rpi-v8", KERNEL_VERSION, "arm64").with_fields(&format!(
        "Depends: {KERNEL} (= {KERNEL_VERSION})\nMaintainer: Test <test@example.org>\nDescription: the newest\n"
    ));
    let mut own = of(&["firmware"])?;
    own.extend([kernel.published.clone(), meta.into()]);
    let mut site = Site::new();
    for ((archive, signer), packages) in signers.iter().zip([of(&["root", "login"])?, own]) {
        Suite { archive: (*archive).into(), ..Suite::new("trixie", packages) }.publish(signer, &mut site);
    }
    Ok(site)
}

/// Puts the test's keys in the place of the pinned ones.
fn trust(base: &Path, signers: &[(&str, Signer)]) -> Result<()> {
    let path = base.join("archives.toml");
    let mut text = fs::read_to_string(&path).context("could not read archives.toml")?;
    for (archive, signer) in signers {
        let (head, rest) = text.split_once(&format!("[archives.{archive}]")).context("no such archive")?;
        let (own, rest) = rest.split_once("fingerprint = \"").context("it pins no key")?;
        let (_, rest) = rest.split_once('"').context("the fingerprint has no end")?;
        text = format!("{head}[archives.{archive}]{own}fingerprint = \"{}\"{rest}", signer.fingerprint());
        fs::write(base.join(format!("keys/{archive}.asc")), signer.armoured())
            .context("could not write a key")?;
    }
    fs::write(&path, text).context("could not write archives.toml")
}

/// What is on the boot partition is what Raspberry Pi's firmware and kernel want, and what is told of it is true.
fn judge(card: &Path, kernel: &Kernel) -> Result<()> {
    let opened = image::card::open(card)?;
    let fat = opened.boot()?;
    let config = String::from_utf8(fat.read("config.txt")?)?;
    ensure!(config.contains("\ndtoverlay=disable-bt\n") && !config.contains("upstream_kernel"), "{config}");
    for (name, expect) in [
        ("vmlinuz", &kernel.image),
        ("bcm2710-rpi-3-b.dtb", &kernel.device_tree),
        ("overlays/disable-bt.dtbo", &kernel.overlay),
        ("overlays/disable-wifi.dtbo", &kernel.overlay),
    ] {
        ensure!(fat.read(name)? == *expect, "{name} is not the package's");
    }
    ensure!(fat.read("start_cd.elf").is_ok() && fat.read("u-boot.bin").is_ok(), "the firmware is not there");

    let folder = tempfile::tempdir()?;
    let (place, partition) = (Slot::A.boot(), folder.path().join("boot"));
    let mut file = fs::File::open(card)?;
    file.seek(SeekFrom::Start(place.start))?;
    std::io::copy(&mut file.take(place.len), &mut fs::File::create(&partition)?)?;
    let outcome = run(Tools::checkers()?.command("fsck.fat")?.arg("-n").arg(&partition), PATIENCE)?;
    ensure!(outcome.status.success(), "fsck.fat: {}\n{}", outcome.status, outcome.text);

    let manifest = fs::read_to_string(card.with_extension("manifest"))?;
    for name in ["bcm2710-rpi-3-b.dtb", "overlays/disable-bt.dtbo"] {
        let line = manifest.lines().find(|line| line.contains(&format!("boot/{name}")));
        ensure!(line.is_some_and(|line| line.contains(KERNEL)), "the manifest says of {name}: {line:?}");
    }
    let bill = fs::read_to_string(card.with_extension("cdx.json"))?;
    let version = KERNEL_VERSION.replace('+', "%2B");
    let (kernel, loader) = (
        format!("pkg:deb/raspberrypi/{}@{version}", KERNEL.replace('+', "%2B")),
        "pkg:deb/debian/u-boot-rpi@",
    );
    for purl in ["pkg:deb/raspbian/systemd@", &kernel, loader] {
        ensure!(bill.contains(purl), "the bill does not name {purl}");
    }
    Ok(())
}

fn content(node: &Node) -> Result<&[u8]> {
    match &node.kind {
        Kind::File(content) => Ok(content),
        _ => anyhow::bail!("not a regular file"),
    }
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, node: &Node) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(node.meta.mode.into());
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(node.meta.mtime.into());
    let path = format!("./{path}");
    match &node.kind {
        Kind::File(content) => {
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content.as_ref())?;
        }
        Kind::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, path, String::from_utf8_lossy(target).as_ref())?;
        }
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            archive.append_data(&mut header, path, std::io::empty())?;
        }
        other => anyhow::bail!("{path} is {other:?}: a kernel's package has none of these"),
    }
    Ok(())
}

/// The least device tree: a root without anything (Devicetree Specification 0.4, chapter 5).
fn empty_device_tree() -> Vec<u8> {
    const NODE_BEGINS: u32 = 1;
    const NODE_ENDS: u32 = 2;
    const END: u32 = 9;
    // Header, the end of the reserved memory's list, the structure.
    let (header, reserved, structure) = (40, 16, 16);
    let (at_structure, len) = (header + reserved, header + reserved + structure);
    let words = [0xd00d_feed, len, at_structure, len, header, 17, 16, 0, 0, structure];
    let words = words.into_iter().chain([0; 4]).chain([NODE_BEGINS, 0, NODE_ENDS, END]);
    words.flat_map(u32::to_be_bytes).collect()
}
