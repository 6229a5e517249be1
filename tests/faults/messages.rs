//! Every message that a person can get from a mistake or a fault, word for word, through the real program. What keys,
//! releases and locks are refused for stands in the snapshots of `crates/builder/archive`.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_archive::testing::{Server, Trouble};
use pilotlight_disk::{Slot, layout};
use pilotlight_tests::{
    desk::{Desk, LIMIT, own},
    process, surroundings,
};

use crate::{disk::Disk, mirror::place};

/// A lab without a mistake.
const LAB: &str = "[network]\naddress = \"10.77.0.1/24\"\n";

/// What a desk's builder said, one command after the other.
struct Story<'d> {
    desk: &'d Desk,
    text: String,
    /// What differs from run to run, or from lock to lock, and what stands for it.
    names: Vec<(String, String)>,
}

impl<'d> Story<'d> {
    fn new(desk: &'d Desk) -> Self {
        let folder = desk.path("").display().to_string();
        Self { desk, text: String::new(), names: vec![(folder, "DESK/".to_owned())] }
    }

    /// The builder does not do it. `title` says what is wrong.
    fn refused(&mut self, title: &str, command: &mut Command) -> Result<()> {
        let outcome = process::run(command, LIMIT)?;
        let code = outcome.status.code();
        ensure!(
            matches!(code, Some(1 | 2)),
            "{title}: the builder ended with {}:\n{}",
            outcome.status,
            outcome.text
        );
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let mut text = format!("# {title}\n$ cargo xtask {}\n{}\n", words.join(" "), outcome.text.trim_end());
        for (real, name) in &self.names {
            text = text.replace(real, name);
        }
        self.text += &format!("{}[{}]\n\n", plain(&text), code.unwrap_or_default());
        Ok(())
    }

    /// As `refused`, with `LINE` wherever the message points at this line of a file, which no story counts by itself.
    fn refused_at(&mut self, title: &str, line: usize, command: &mut Command) -> Result<()> {
        let ours = [(format!("at line {line},"), "at line LINE,"), (format!("\n{line} |"), "\nLINE |")];
        let known = self.names.len();
        self.names.extend(ours.map(|(real, name)| (real, name.to_owned())));
        let told = self.refused(title, command);
        self.names.truncate(known);
        told
    }

    fn verb(&mut self, title: &str, words: &[&str]) -> Result<()> {
        let mut command = self.desk.builder(words, None)?;
        self.refused(title, &mut command)
    }

    fn end(self, name: &str) {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, self.text));
    }
}

/// The text with every digest as `HEX`, every number with a point as `N` and every temporary file as `.tmp`.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for word in text.split_inclusive(|sign: char| !sign.is_ascii_alphanumeric() && sign != '.') {
        let bare = word.trim_end_matches(|sign: char| !sign.is_ascii_alphanumeric() && sign != '.');
        let is_digest = bare.len() >= 16 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_time = bare.contains('.') && bare.parse::<f64>().is_ok();
        match bare {
            _ if bare.starts_with(".tmp") && bare.len() == 10 => plain += &word.replace(bare, ".tmp"),
            _ if is_digest => plain += &word.replace(bare, "HEX"),
            _ if is_time => plain += &word.replace(bare, "N"),
            _ => plain += word,
        }
    }
    plain
}

pub(crate) fn of_words() -> Result<()> {
    let desk = Desk::new()?;
    let mut story = Story::new(&desk);
    for (title, words) in [
        ("no verb", [].as_slice()),
        ("another verb", &["imgae"]),
        ("another flag", &["image", "--bord", "rpi3"]),
        ("a flag without its value", &["image", "--board"]),
        ("another board", &["image", "--board", "rpi33"]),
        ("a board that is a path", &["image", "--board", "../boards/rpi3"]),
        ("another base", &["image", "--base", "debain"]),
        ("a base without a lock", &["image", "--base", "raspbian"]),
        ("a lab that is not there", &["image", "--lab", "no.toml"]),
        ("a lab that is a folder", &["image", "--lab", "bases"]),
        ("a mirror without a scheme", &["image", "--mirror", "mirror.example/debian"]),
        ("a mirror of another archive", &["image", "--mirror", "debain=http://mirror.example/debian"]),
        ("a snapshot archive without a scheme", &["image", "--snapshot", "snapshot.example"]),
        ("a cache that is a file", &["image", "--cache", "Cargo.toml"]),
        ("a cache that nobody may make", &["image", "--cache", "/proc/pilotlight"]),
        ("an image where no folder can be", &["image", "--out", "/proc/pilotlight/card.img"]),
        ("an image that is a folder", &["image", "--out", "bases"]),
        ("no lab to check", &["check"]),
        ("a lab to check that is not there", &["check", "no.toml"]),
        ("a lab to check and the schema", &["check", "no.toml", "--schema"]),
        ("no node to show", &["show"]),
        ("a node of a lab that is not there", &["show", "node1", "--lab", "no.toml"]),
        ("two ways to lock", &["lock", "--update", "--locked"]),
        ("a package name that is none", &["lock", "--update", "Bad_Name"]),
        ("another layer", &["test", "units"]),
        ("nothing to measure", &["bench"]),
        ("a number that is none", &["bench", "--rounds", "few", "image"]),
        ("a size of another board", &["size", "--board", "rpi"]),
        ("a machine that QEMU does not play", &["run", "--machine", "raspi9"]),
        (
            "a machine that does not start the board's kernel",
            &["run", "--board", "rpi2", "--machine", "virt"],
        ),
        ("another firmware", &["run", "--pc", "efi"]),
        ("no address for downloads", &["publish"]),
        ("an address that is none", &["publish", "--url", "cards.example"]),
        ("no Pi", &["push"]),
        ("a port that is none", &["push", "127.0.0.1", "--port", "70000"]),
        ("a Pi where nobody answers", &["push", "127.0.0.1", "--port", "9", "--known-hosts", "/dev/null"]),
        ("a key that is not there", &["push", "127.0.0.1", "--port", "9", "--identity", "no-key"]),
    ] {
        story.verb(title, words)?;
    }
    let mut homeless = desk.builder(&["image"], None)?;
    story.refused("nowhere for a cache", homeless.env_remove("HOME").env_remove("PILOTLIGHT_CACHE"))?;
    let mut lost = desk.builder(&["image"], None)?;
    story.refused("another workspace", lost.env("CARGO_MANIFEST_DIR", desk.path("home")))?;
    story.end("words");
    Ok(())
}

pub(crate) fn of_the_workspace() -> Result<()> {
    let desk = Desk::new()?;
    desk.fill_cache(&[])?;
    own(&desk.path("workspace/bases"))?;
    own(&desk.path("workspace/boards"))?;
    own(&desk.path("workspace/pilotlight.lock"))?;
    let mut story = Story::new(&desk);
    for (title, name, from, to) in [
        ("a board that is no TOML", "boards/rpi3.toml", "[loader]", "[loader"),
        ("a board with another key", "boards/rpi3.toml", "title = ", "titel = "),
        ("a board with half a base", "boards/rpi3.toml", "[bases.debian.tried]", "[bases.debain.tried]"),
        ("a base without an archive", "bases/debian/archives.toml", "[archives.debian]", "[archives.debain]"),
        ("a base that is no TOML", "bases/debian/archives.toml", "[sets.root]", "[sets.root"),
        ("a base with another rule", "bases/debian/root.toml", "shadow-day", "shadow-night"),
        ("a base that asks for less than is locked", "bases/debian/archives.toml", "    \"netbase\",\n", ""),
        ("another key than the pinned one", "bases/debian/archives.toml", "B8B80B5B623E", "000000000000"),
        ("a lock of another layout", "pilotlight.lock", "version = ", "version = 9"),
        ("a lock that is no TOML", "pilotlight.lock", "[", "[["),
    ] {
        let path = desk.path("workspace").join(name);
        let good = fs::read_to_string(&path).with_context(|| format!("could not read {name}"))?;
        ensure!(good.contains(from), "{name} has no {from:?}");
        fs::write(&path, good.replacen(from, to, 1)).with_context(|| format!("could not write {name}"))?;
        let line = good.split(from).next().unwrap_or_default().matches('\n').count() + 1;
        story.refused_at(title, line, &mut desk.image_builder(None)?)?;
        fs::write(&path, good).with_context(|| format!("could not write {name}"))?;
    }
    for (title, name) in [
        ("no lock", "pilotlight.lock"),
        ("no key", "bases/debian/keys/trixie-stable.asc"),
        ("no archives", "bases/debian/archives.toml"),
    ] {
        let (path, aside) = (desk.path("workspace").join(name), desk.path("aside"));
        fs::rename(&path, &aside).with_context(|| format!("could not move {name}"))?;
        story.refused(title, &mut desk.image_builder(None)?)?;
        fs::rename(&aside, &path).with_context(|| format!("could not move {name} back"))?;
    }
    story.end("workspace");
    Ok(())
}

/// Takes from the command what lets root open whatever there is. Whoever is not root has nothing of the kind.
fn as_anyone(command: &mut Command) -> &mut Command {
    use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
    let drop = || {
        for capability in [CapabilitySet::DAC_OVERRIDE, CapabilitySet::DAC_READ_SEARCH] {
            match remove_capability_from_bounding_set(capability) {
                Err(rustix::io::Errno::PERM) => {}
                other => other?,
            }
        }
        Ok(())
    };
    // SAFETY: only system calls are made between fork and exec, nothing is allocated.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, drop) }
}

/// What speaks against each kind of disk is in `crates/builder/flash`: this machine's own disks are as they are.
pub(crate) fn of_devices() -> Result<()> {
    let desk = Desk::new()?;
    desk.borrow_roots()?;
    let mut story = Story::new(&desk);
    let image = surroundings::image()?;
    let file = |name: &str, len: u64| {
        let file = File::create(desk.path(name)).with_context(|| format!("could not make {name}"))?;
        file.set_len(len).with_context(|| format!("could not size {name}"))
    };
    file("card", layout::IMAGE_LEN)?;
    file("small", layout::IMAGE_LEN - 512)?;
    file("locked", layout::IMAGE_LEN)?;
    fs::set_permissions(desk.path("locked"), fs::Permissions::from_mode(0o000))?;
    fs::write(desk.path("bad.toml"), LAB.replace("/24", "/33"))?;
    fs::copy(&image, desk.path("lonely.img")).context("could not copy the image")?;
    fs::copy(&image, desk.path("mixed.img")).context("could not copy the image")?;
    fs::write(desk.path("mixed.img.bmap"), "<bmap/>\n")?;
    symlink("card", desk.path("link"))?;
    let at = |name: &str| desk.path(name).display().to_string();
    let image = image.display().to_string();
    story.names.push((image.clone(), "IMAGE".to_owned()));
    for (title, words) in [
        ("a device that is not there", vec!["/dev/no-such-disk".to_owned()]),
        ("a folder", vec![at("out")]),
        ("no disk at all", vec!["/dev/null".to_owned()]),
        ("two devices", vec![at("card"), at("small")]),
        ("three devices", vec![at("card"), at("card"), at("card")]),
        ("too small", vec![at("small"), "--image".to_owned(), image.clone()]),
        (
            "a board beside an image",
            vec![at("card"), "--image".to_owned(), image.clone(), "--board".to_owned(), "rpi3".to_owned()],
        ),
        ("an image that is not there", vec![at("card"), "--image".to_owned(), at("no.img")]),
        ("an image without its block map", vec![at("card"), "--image".to_owned(), at("lonely.img")]),
        ("an image with another block map", vec![at("card"), "--image".to_owned(), at("mixed.img")]),
        ("a lab that is not there", vec![at("card"), "--lab".to_owned(), at("no.toml")]),
        ("a lab with a mistake", vec![at("card"), "--lab".to_owned(), at("bad.toml")]),
    ] {
        let words: Vec<&str> = ["flash"].into_iter().chain(words.iter().map(String::as_str)).collect();
        story.verb(title, &words)?;
    }
    // The image is another one than its map says: it shows while it is read, and the card has no first block.
    let map = fs::read_to_string(Path::new(&image).with_added_extension("bmap"))?;
    fs::write(desk.path("mixed.img.bmap"), map)?;
    let mixed = File::options().write(true).open(desk.path("mixed.img"))?;
    std::os::unix::fs::FileExt::write_all_at(&mixed, b"another", Slot::A.root().start)?;
    story.verb("an image that is damaged", &["flash", &at("card"), "--image", &at("mixed.img")])?;
    let mut other = desk.builder(&["flash", &at("locked"), "--image", &image], None)?;
    story.names.push((surroundings::xtask()?.display().to_string(), "XTASK".to_owned()));
    story.refused("a device of root's", as_anyone(&mut other))?;
    story.end("devices");
    Ok(())
}

pub(crate) fn of_mirrors() -> Result<()> {
    let desk = Desk::new()?;
    let package = desk.package("netbase")?;
    desk.fill_cache(&[package])?;
    let server = desk.mirror()?;
    let mut story = Story::new(&desk);
    story.names.push((server.mirror(""), "http://mirror/".to_owned()));
    story.names.push((package.version.clone(), "VERSION".to_owned()));
    // What a resolver says where no name server can be asked, and what it says where one knows no such name.
    for words in ["Temporary failure in name resolution", "Name or service not known"] {
        story.names.push((words.to_owned(), "(no such name)".to_owned()));
    }
    story.refused("a mirror where nobody answers", &mut desk.image_builder(None)?)?;
    let mut unknown = desk.image_builder(None)?;
    story.refused(
        "a mirror that nobody knows",
        unknown.env("PILOTLIGHT_MIRROR", "http://mirror.invalid/debian"),
    )?;
    let with = |story: &mut Story<'_>, title: &str, server: &Server, trouble: Trouble| {
        server.trouble(&place(package), trouble);
        let told = story.refused(title, desk.image_builder(Some(server))?.arg("--locked"));
        server.heal();
        for part in ["objects", "partial"] {
            let path = desk.cached(part, package);
            if path.exists() {
                fs::remove_file(path).context("could not empty the cache")?;
            }
        }
        told
    };
    with(&mut story, "a mirror with something else", &server, Trouble::Flip)?;
    with(&mut story, "a mirror with more", &server, Trouble::Longer(3))?;
    with(&mut story, "a mirror that breaks off", &server, Trouble::Ends(100))?;
    with(&mut story, "a mirror that does not want to", &server, Trouble::Status(403))?;
    with(&mut story, "a mirror in trouble", &server, Trouble::Status(503))?;
    with(&mut story, "nobody has it", &server, Trouble::Status(404))?;
    story.end("mirrors");
    Ok(())
}

pub(crate) fn of_full_disks() -> Result<()> {
    const MIB: u64 = 1 << 20;
    let desk = Desk::new()?;
    desk.borrow_roots()?;
    let mut story = Story::new(&desk);
    let disk = Disk::below(&desk, "out", 400)?;
    disk.leave(50 * MIB)?;
    story.refused("no room for the image", &mut desk.image_builder(None)?)?;
    let (card, image) = (desk.path("out/card"), surroundings::image()?);
    let real = File::create(&card).context("could not make a card")?;
    real.set_len(layout::IMAGE_LEN).context("could not size the card")?;
    story.names.push((image.display().to_string(), "IMAGE".to_owned()));
    let mut flash = desk.builder(&["flash"], None)?;
    story.refused("no room on what is flashed", flash.arg(&card).arg("--image").arg(&image))?;
    fs::remove_file(&card).context("could not remove the card")?;
    disk.leave(5 * MIB)?;
    let mut publish = desk.builder(&["publish", "--url", "http://cards.example", "--out"], None)?;
    story.refused("no room for the download", publish.arg(desk.path("out")))?;
    story.end("full_disks");
    Ok(())
}
