//! Cards for scenes: work copies of the image, as it is or with another lab, and with the data partition done to.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use pilotlight_board::Board;
use pilotlight_disk::layout;
use pilotlight_emulator::{
    Qemu, card,
    fault::Random,
    pi::{BootFiles, JOURNAL_ON_CONSOLE, Kind, MAC, Pi},
    scene::Scene,
};
use pilotlight_tests::{
    process::must,
    surroundings::{self, Tools, checkout, scene_folder},
};

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
    boot: BootFiles,
}

/// A work copy of the image under test, in the scene's folder.
pub(crate) fn of_image(scene: &Scene) -> Result<Card> {
    Card::copy(scene, &surroundings::image()?)
}

/// A work copy of a card with the lab `tests/labs/NAME.toml`, made by the builder as anyone would make it.
pub(crate) fn of_lab(scene: &Scene, name: &str) -> Result<Card> {
    let lab = checkout().join("tests/labs").join(format!("{name}.toml"));
    let image = scene.folder().join("image.img");
    let mut build = Command::new(surroundings::xtask()?);
    build.current_dir(checkout()).args(["image", "--lab"]).arg(lab).arg("--out").arg(&image);
    must(&mut build, Duration::from_secs(600)).context("could not make a card with the scene's lab")?;
    Card::copy(scene, &image)
}

impl Card {
    fn copy(scene: &Scene, image: &Path) -> Result<Self> {
        let path = scene.folder().join("card.img");
        card::work_copy(image, &path)?;
        let board = checkout().join("boards/rpi3.toml");
        let text =
            fs::read_to_string(&board).with_context(|| format!("could not read {}", board.display()))?;
        let board = Board::parse("rpi3", &text)?;
        let boot = BootFiles::of_card(&path, &board.emulator.device_tree, scene.folder())?;
        Ok(Self { path, boot })
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

    fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        let file = fs::File::options().write(true).open(&self.path);
        file.and_then(|file| file.write_all_at(bytes, at))
            .with_context(|| format!("could not write to {}", self.path.display()))
    }
}

/// Starts the card in the Pi of `kind` and waits for its ready line.
pub(crate) fn start(scene: &mut Scene, kind: Kind, card: &Card) -> Result<String> {
    let append = JOURNAL_ON_CONSOLE;
    let pi = Pi { name: PI, kind, card: &card.path, boot: &card.boot, append, wire: None };
    scene.start_pi(&pi, MAC)?;
    let ready = scene.wait_for(PI, "pilotlight: ready in ", Duration::from_secs(300))?;
    println!("{}", ready.split_once("pilotlight: ").map_or(ready.as_str(), |(_, line)| line));
    Ok(ready)
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
