//! Cards for scenes: work copies of the image, as it is or with another lab, and with the data partition done to.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use pilotlight_board::Board;
use pilotlight_disk::{Mbr, Slot, layout, mbr};
use pilotlight_emulator::{
    Qemu, card,
    fault::Random,
    pi::{BootFiles, JOURNAL_ON_CONSOLE, Kind as Machine, Pi, Start, Wire},
    scene::Scene,
};
use pilotlight_image::{self as image, Content, ReadAt, fat};
use pilotlight_tests::{
    process::{must, run},
    surroundings::{self, Tools, checkout, scene_folder},
};
use pilotlight_tree::{Kind, Meta, Node, Tree, TreePath};

use crate::PATIENCE;

/// The name of the Pi in scenes.
pub(crate) const PI: &str = "pi";

/// An empty scene of this name.
pub(crate) fn scene(name: &str) -> Result<Scene> {
    let qemu = Qemu::unpacked(Tools::emulator()?.folder())?;
    Ok(Scene::set_up(&scene_folder(name), &qemu)?)
}

/// A card, and what the firmware read from it before anything was done to it.
pub(crate) struct Card {
    path: PathBuf,
    board: Board,
    boot: BootFiles,
    clock: Option<&'static str>,
}

/// A work copy of the image under test, in the scene's folder.
pub(crate) fn of_image(scene: &Scene) -> Result<Card> {
    Card::copy(scene, &surroundings::image()?, surroundings::BOARD)
}

/// A work copy of a card with the lab `tests/labs/NAME.toml`, made by the builder as anyone would make it.
pub(crate) fn of_lab(scene: &Scene, name: &str) -> Result<Card> {
    of_lab_file(scene, &lab_file(name))
}

/// A work copy of another board's card.
pub(crate) fn of_board(scene: &Scene, board: &str) -> Result<Card> {
    let image = scene.folder().join("image.img");
    let mut build = Command::new(surroundings::xtask()?);
    build.current_dir(checkout()).args(["image", "--board", board, "--out"]).arg(&image);
    must(&mut build, PATIENCE).with_context(|| format!("could not make a card for {board}"))?;
    Card::copy(scene, &image, board)
}

/// Where the lab `NAME` of the scenes is.
pub(crate) fn lab_file(name: &str) -> PathBuf {
    checkout().join("tests/labs").join(format!("{name}.toml"))
}

/// The same of a lab that lies anywhere.
pub(crate) fn of_lab_file(scene: &Scene, lab: &Path) -> Result<Card> {
    let image = scene.folder().join("image.img");
    let mut build = Command::new(surroundings::xtask()?);
    build.current_dir(checkout()).args(["image", "--lab"]).arg(lab).arg("--out").arg(&image);
    must(&mut build, PATIENCE).context("could not make a card with the scene's lab")?;
    Card::copy(scene, &image, surroundings::BOARD)
}

/// A card that lies in the scene's folder already.
pub(crate) fn at(path: &Path, scene: &Scene, board: Board) -> Result<Card> {
    let boot = BootFiles::of_card(path, board.device_tree(), scene.folder())?;
    Ok(Card { path: path.to_owned(), board, boot, clock: None })
}

impl Card {
    /// The card's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same card in a machine whose clock chip shows `clock` at first, or this machine's time.
    pub(crate) fn at_time(self, clock: Option<&'static str>) -> Self {
        Self { clock, ..self }
    }

    fn copy(scene: &Scene, image: &Path, board: &str) -> Result<Self> {
        let path = scene.folder().join("card.img");
        card::work_copy(image, &path)?;
        at(&path, scene, surroundings::board(board)?)
    }

    /// QEMU's play of the board that the card is for.
    pub(crate) fn played(&self) -> Result<Machine<'_>> {
        let emulator = self.board.emulator.as_ref();
        Ok(Machine::Board(emulator.with_context(|| format!("QEMU does not play {}", self.board.name))?))
    }

    /// Takes the data partition out of the partition table.
    pub(crate) fn without_data(&self) -> Result<()> {
        // The table has four entries of 16 bytes from byte 446 on.
        let entry = 446 + 16 * (u64::from(layout::DATA_PARTITION) - 1);
        self.write(&[0; 16], entry)
    }

    /// Overwrites the beginning of the data partition, its file system's first superblock and tables included.
    pub(crate) fn with_corrupt_data(&self) -> Result<()> {
        self.write(&Random::new(4).bytes(1 << 20), layout::DATA_START)
    }

    /// Puts the system of slot A into slot B, too, with `change` done to the files of its boot partition, and has the
    /// card start it once, on trial: what an update does.
    pub(crate) fn with_trial(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> Result<()> {
        let card = image::card::open(&self.path)?;
        let (mut files, volume_id) = boot_files(&card)?;
        let line = files.get_mut("cmdline.txt").context("the card has no command line")?;
        *line =
            String::from_utf8(line.clone())?.replace("pilotlight.slot=a", "pilotlight.slot=b").into_bytes();
        change(&mut files);

        self.write_boot(Slot::B, files, volume_id)?;
        let mut root = vec![0; usize::try_from(Slot::A.root().len)?];
        ReadAt::read_exact_at(&card.root(), 0, &mut root)?;
        self.write(&root, Slot::B.root().start)?;
        self.write(&card.mbr.encode(), layout::FALLBACK_SECTOR * layout::SECTOR)?;
        self.write(&card.mbr.on_trial(Slot::B)?.encode(), 0)
    }

    /// Writes the boot partition of a slot anew.
    fn write_boot(&self, slot: Slot, files: BTreeMap<String, Vec<u8>>, volume_id: u32) -> Result<()> {
        let mut tree = Tree::new(Meta::root(0o755, 0));
        for (name, content) in files {
            let node = Node { meta: Meta::root(0o644, 0), kind: Kind::File(content.into()) };
            tree.insert(TreePath::parse(&name)?, node);
        }
        let place = slot.boot();
        let label = layout::BOOT_LABEL.to_owned();
        let options = fat::Options { len: place.len, start: place.start, label, volume_id, time: 0 };
        for extent in fat::write(&tree, &options)?.extents() {
            match &extent.content {
                Content::Bytes(bytes) => self.write(bytes, place.start + extent.offset)?,
                Content::Zeros(len) => {
                    self.write(&vec![0; usize::try_from(*len)?], place.start + extent.offset)?
                }
                Content::File(_) => bail!("a boot partition with a file of the desk in it"),
            }
        }
        Ok(())
    }

    /// Overwrites the head of a slot's root.
    pub(crate) fn with_damaged_root(&self, slot: Slot) -> Result<()> {
        self.write(&Random::new(5).bytes(1 << 20), slot.root().start)
    }

    /// The card's partition table as it is now.
    pub(crate) fn table(&self) -> Result<Mbr> {
        Ok(image::card::open(&self.path)?.mbr)
    }

    /// Marks the data partition's file system as one in which the kernel has found an error.
    pub(crate) fn with_errors_in_data(&self) -> Result<()> {
        // As e2fsprogs names a file system that begins within a file.
        let data = format!("{}?offset={}", self.path.display(), layout::DATA_START);
        debugfs(&data, &["-w", "-R", "set_super_value state 3"])?;
        let marked = debugfs(&data, &["-R", "stats -h"])?;
        ensure!(marked.contains("clean with errors"), "debugfs did not mark the file system:\n{marked}");
        Ok(())
    }

    /// The same content on a card of `bytes` bytes.
    pub(crate) fn moved_to(&self, bytes: u64) -> Result<()> {
        let file = fs::File::options().write(true).open(&self.path);
        file.and_then(|file| file.set_len(bytes))
            .with_context(|| format!("could not resize {}", self.path.display()))
    }

    /// A copy of the data partition as the table has it, its journal played back: the plug was pulled.
    pub(crate) fn data(&self) -> Result<Data> {
        let mut card = fs::File::open(&self.path)?;
        let mut sector = [0; mbr::LEN];
        card.read_exact(&mut sector)?;
        let place =
            Mbr::parse(&sector)?.partition(layout::DATA_PARTITION).context("no data partition")?.extent();
        let path = self.path.with_extension("data");
        let copy = fs::File::create(&path).with_context(|| format!("could not write {}", path.display()))?;
        copy.set_len(place.len)?;
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while at < place.len {
            let length = buffer.len().min((place.len - at) as usize);
            FileExt::read_exact_at(&card, &mut buffer[..length], place.start + at)?;
            if buffer[..length].iter().any(|byte| *byte != 0) {
                copy.write_all_at(&buffer[..length], at)?;
            }
            at += length as u64;
        }
        let data = Data { bytes: place.len, path };
        let mut check = Command::new(Tools::checkers()?.program("e2fsck")?);
        let checked = run(check.args(["-f", "-p"]).arg(&data.path), PATIENCE)?;
        // 1: something was put right, if only the journal.
        ensure!(matches!(checked.status.code(), Some(0 | 1)), "e2fsck: {}", checked.text);
        Ok(data)
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        let file = fs::File::options().write(true).open(&self.path);
        file.and_then(|file| file.write_all_at(bytes, at))
            .with_context(|| format!("could not write to {}", self.path.display()))
    }
}

/// Starts the card in its board through the boot loader, as a board does it.
pub(crate) fn power_on(scene: &mut Scene, card: &Card) -> Result<()> {
    // As the firmware does: from whichever slot the table names now.
    let boot = BootFiles::of_card(&card.path, &card.boot.device_tree.to_string_lossy(), scene.folder())?;
    let (kind, card, boot) = (card.played()?, &card.path, &boot);
    let (start, append, clock) = (Start::Loader, "", None);
    Ok(scene.start_pi(&Pi { name: PI, kind, card, boot, start, append, wire: None, writes: None, clock })?)
}

/// Starts the card in QEMU's `virt` from the slot that its table names, with nobody on its wire but this machine: `port`
/// leads to its login. There is no boot loader for this machine, which would note that a slot was tried.
pub(crate) fn start_for_login(scene: &mut Scene, card: &Card, port: u16) -> Result<()> {
    let boot = BootFiles::of_card(&card.path, &card.boot.device_tree.to_string_lossy(), scene.folder())?;
    let (card, boot, wire) = (&card.path, &boot, Some(Wire::Login(port)));
    let (kind, start, append, clock) = (Machine::Virt, Start::Kernel, JOURNAL_ON_CONSOLE, None);
    Ok(scene.start_pi(&Pi { name: PI, kind, card, boot, start, append, wire, writes: None, clock })?)
}

/// Starts the card in the machine `kind` with a shell of root's on its console, which is called `console` there, and waits until
/// everything is up.
pub(crate) fn start_shell(scene: &mut Scene, kind: Machine<'_>, console: &str, card: &Card) -> Result<()> {
    start_kernel(scene, kind, card, &format!("systemd.debug_shell={console}"))?;
    ready(scene).map(drop)
}

/// As [`start`], with a shell of root's on the console `console` beside what the journal says there.
pub(crate) fn start_beside_shell(
    scene: &mut Scene,
    kind: Machine<'_>,
    console: &str,
    card: &Card,
) -> Result<String> {
    start_kernel(scene, kind, card, &format!("{JOURNAL_ON_CONSOLE} systemd.debug_shell={console}"))?;
    ready(scene)
}

/// Starts the card in the machine `kind` and waits for its ready line.
pub(crate) fn start(scene: &mut Scene, kind: Machine<'_>, card: &Card) -> Result<String> {
    start_kernel(scene, kind, card, JOURNAL_ON_CONSOLE)?;
    ready_or_restarted(scene, |scene| start_kernel(scene, kind, card, JOURNAL_ON_CONSOLE))
}

fn start_kernel(scene: &mut Scene, kind: Machine<'_>, card: &Card, append: &str) -> Result<()> {
    let (card, boot, clock, start) = (&card.path, &card.boot, card.clock, Start::Kernel);
    Ok(scene.start_pi(&Pi { name: PI, kind, card, boot, start, append, wire: None, writes: None, clock })?)
}

/// The files of the boot partition that a card starts from, by name, and the partition's number.
fn boot_files(card: &image::card::Card) -> Result<(BTreeMap<String, Vec<u8>>, u32)> {
    let fat = card.boot()?;
    let mut files = BTreeMap::new();
    for entry in fat.list("")? {
        files.insert(entry.name.clone(), fat.read(&entry.name)?);
    }
    Ok((files, fat.volume_id()))
}

/// Powers the card's board on and waits for its ready line.
pub(crate) fn power_on_until_ready(scene: &mut Scene, card: &Card) -> Result<String> {
    power_on(scene, card)?;
    ready_or_restarted(scene, |scene| power_on(scene, card))
}

/// Waits for the ready line, once more where the kernel's driver of the SD card has failed in the one way that is known of
/// it (`boards/rpi3.toml`) and the board has restarted by itself, as it should. QEMU ends there; `again` is what the board
/// does.
fn ready_or_restarted(scene: &mut Scene, again: impl FnOnce(&mut Scene) -> Result<()>) -> Result<String> {
    let first = ready(scene);
    let failed_in = "bcm2835_finish_data";
    let restarted = first.is_err()
        && scene.heard(PI, |heard| {
            let said = |text: &str| heard.lines.iter().any(|line| line.text.contains(text));
            heard.closed && said(failed_in) && said("Kernel panic - not syncing: Fatal exception")
        })?;
    if !restarted {
        return first;
    }
    println!("the kernel failed in {failed_in}, and the board restarted by itself");
    scene.end(PI);
    again(scene)?;
    ready(scene)
}

/// Waits for the ready line.
pub(crate) fn ready(scene: &Scene) -> Result<String> {
    let ready = scene.wait_for(PI, "pilotlight: ready in ", PATIENCE)?;
    println!("{}", ready.split_once("pilotlight: ").map_or(ready.as_str(), |(_, line)| line));
    Ok(ready)
}

/// Starts the card in QEMU's `virt` from the slot that its table names, with every write to it recorded in `log`, and waits
/// for its ready line. `port` leads to its login; without one it is on the scene's wire.
pub(crate) fn start_recorded(scene: &mut Scene, card: &Card, log: &Path, port: Option<u16>) -> Result<()> {
    fs::File::create(log).with_context(|| format!("could not write {}", log.display()))?;
    let boot = BootFiles::of_card(&card.path, card.board.device_tree(), scene.folder())?;
    let pi = Pi {
        name: PI,
        kind: Machine::Virt,
        card: &card.path,
        boot: &boot,
        start: Start::Kernel,
        append: JOURNAL_ON_CONSOLE,
        wire: port.map(Wire::Login),
        writes: Some(log),
        clock: None,
    };
    scene.start_pi(&pi)?;
    ready(scene).map(drop)
}

/// A data partition by itself.
pub(crate) struct Data {
    path: PathBuf,
    /// The partition's length.
    pub(crate) bytes: u64,
}

impl Data {
    /// What debugfs(8) says of the file system as a whole.
    pub(crate) fn header(&self) -> Result<String> {
        let header = debugfs(&self.path.display().to_string(), &["-R", "stats -h"])?;
        ensure!(header.contains("Filesystem state:"), "debugfs cannot read the file system:\n{header}");
        Ok(header)
    }

    /// The length of the file system in bytes.
    pub(crate) fn file_system_bytes(&self) -> Result<u64> {
        let header = self.header()?;
        let number = |name: &str| -> Result<u64> {
            let value = header.lines().find_map(|line| line.strip_prefix(name));
            Ok(value.with_context(|| format!("debugfs gives no {name:?}"))?.trim().parse()?)
        };
        Ok(number("Block count:")? * number("Block size:")?)
    }

    /// The first line of a file; debugfs adds its own name below what it shows.
    pub(crate) fn line(&self, path: &str) -> Result<String> {
        let text = debugfs(&self.path.display().to_string(), &["-R", &format!("cat {path}")])?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

fn debugfs(file_system: &str, arguments: &[&str]) -> Result<String> {
    let mut debugfs = Command::new(Tools::checkers()?.program("debugfs")?);
    Ok(must(debugfs.args(arguments).arg(file_system), PATIENCE)?.text)
}

/// Throws away what is large, once a scene has passed.
pub(crate) fn tidy(scene: Scene) -> Result<()> {
    let folder = scene.folder().to_owned();
    drop(scene);
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let kept = path.extension().is_some_and(|ending| ending == "log" || ending == "pcap");
        if !kept {
            fs::remove_file(&path).with_context(|| format!("could not remove {}", path.display()))?;
        }
    }
    Ok(())
}
