//! Boards as data: each file of `boards/` makes a board, with the groups of kernel modules that boards share.
//!
//! This crate reads such a file into a [`Board`] and knows nothing of how a card is made from it.

mod modules;

use pilotlight_lab::paths::LOADER_ON_CARD;
use serde::Deserialize;

/// The file of the groups of kernel modules, in the folder of the boards.
pub const MODULE_GROUPS: &str = "common/modules.toml";

/// One board: what its firmware loads, its kernel, and what of the kernel it needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Board {
    /// The name of its file, without the ending.
    #[serde(skip)]
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The base in `bases/` that its root is made of.
    pub base: String,
    /// The kernel.
    pub kernel: Kernel,
    /// What the board's own boot ROM and firmware load.
    pub firmware: Firmware,
    /// The boot loader between firmware and kernel.
    pub loader: Loader,
    /// The texts of the boot partition.
    pub boot: Boot,
    /// Which of the kernel's modules there are.
    pub modules: Modules,
    /// The tags by which Raspberry Pi Imager knows the boards that this image is for.
    pub imager_tags: Vec<String>,
    /// How QEMU plays it; none when it does not.
    pub emulator: Option<Emulator>,
    /// What can be told of it without the board.
    pub tried: Tried,
}

/// The kernel's package and how it lies on the boot partition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kernel {
    /// The base's set of packages that brings it.
    pub set: String,
    /// Whether it is a 32-bit or a 64-bit one.
    pub architecture: Architecture,
    /// How it is packed.
    pub compression: Compression,
    /// Device trees for the boot partition, below `/usr/lib/linux-image-VERSION/`.
    pub device_trees: Vec<String>,
}

/// What a kernel runs on. The rest of the root is armhf whatever the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// ARMv7; started by U-Boot's `bootz`.
    Armhf,
    /// ARMv8; started by U-Boot's `booti`.
    Arm64,
}

/// How a kernel is packed on the boot partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// As the package ships it: a 32-bit kernel unpacks itself.
    None,
    /// With gzip, which the boot loader unpacks.
    Gzip,
}

/// Files for the board's boot ROM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Firmware {
    /// The package that ships them.
    pub package: String,
    /// Their names below `/usr/lib/raspi-firmware/`, and on the boot partition.
    pub files: Vec<String>,
}

/// The boot loader, U-Boot: it decides between the slots before any kernel runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Loader {
    /// The base's set that has its package.
    pub set: String,
    /// The package that ships it.
    pub package: String,
    /// Its path in the package.
    pub file: String,
    /// Its variable that says where the firmware's device tree lies, which has the command line.
    pub device_tree: String,
    /// Where in the board's memory everything goes.
    pub addresses: Addresses,
}

/// Places in the board's memory, in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Addresses {
    /// Two sectors of the card, while the loader looks at them.
    pub sectors: u32,
    /// The kernel, unpacked; for a 64-bit one a multiple of 2 MiB (Linux, Documentation/arch/arm64/booting.rst).
    pub kernel: u32,
    /// The kernel as it lies on the card, where it does not unpack itself.
    pub packed_kernel: Option<u32>,
    /// The device tree.
    pub device_tree: u32,
    /// The initrd.
    pub initrd: u32,
}

/// The texts of the boot partition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Boot {
    /// `config.txt`.
    pub config: String,
    /// `cmdline.txt`, with `{disk}` and `{slot}` still to be filled in.
    pub command_line: String,
}

/// The kernel's modules: those of the groups that the board names, then its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Modules {
    /// Groups of `boards/common/modules.toml`.
    pub groups: Vec<String>,
    /// What the initrd loads, in this order.
    #[serde(default)]
    pub initrd: Vec<String>,
    /// What stays in the root: prefixes below `/usr/lib/modules/VERSION/kernel/`.
    #[serde(default)]
    pub keep: Vec<String>,
}

/// How QEMU plays the board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Emulator {
    /// QEMU's machine.
    pub machine: String,
    /// The device tree that it is started with, one of [`Kernel::device_trees`].
    pub device_tree: String,
    /// Which of the machine's serial ports is the console, counted from 1.
    pub console: u8,
    /// More for the kernel's command line in QEMU, never on a card.
    pub command_line: String,
    /// Where the boot loader has to lie, in bytes from the memory's start; none where QEMU puts it right by itself.
    pub loader_address: Option<u32>,
}

/// What was tried of a board in QEMU, for people.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tried {
    /// What a boot in QEMU shows, in a few words each.
    pub shown: Vec<String>,
    /// What it cannot show.
    pub not_shown: Vec<String>,
}

/// Why there is no such board.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoardError {
    /// No file has this name.
    #[error("there is no board {name:?}; the boards are: {known}{hint}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest name, as a question, or nothing.
        hint: String,
        /// Those that there are.
        known: String,
    },
    /// Its base is none.
    #[error("boards/{board}.toml wants the base {name:?}; the bases are: {known}{hint}")]
    NoBase {
        /// The board.
        board: String,
        /// What it wants.
        name: String,
        /// The nearest name, as a question, or nothing.
        hint: String,
        /// Those that there are.
        known: String,
    },
    /// The file of the groups is not as it should be.
    #[error("boards/common/modules.toml holds no groups of modules:\n{0}")]
    Groups(String),
    /// A group that there is not.
    #[error("there is no group {name:?} in boards/common/modules.toml{hint}")]
    NoGroup {
        /// What the board names.
        name: String,
        /// The nearest name, as a question, or nothing.
        hint: String,
    },
    /// The file is not as it should be.
    #[error("boards/{name}.toml is not a board:\n{fault}")]
    Malformed {
        /// The board.
        name: String,
        /// Where and what, in lines.
        fault: String,
    },
}

impl Board {
    /// Reads the text of `boards/NAME.toml`, with `groups`, the text of `boards/common/modules.toml`.
    ///
    /// # Errors
    /// An unknown or missing key, a value of the wrong kind, a group of modules that there is not, a command line
    /// without its two places to fill, a `config.txt` that does not start the boot loader, or an emulator's device tree
    /// that is not on the boot partition.
    pub fn parse(name: &str, text: &str, groups: &str) -> Result<Self, BoardError> {
        let fault = |fault: String| BoardError::Malformed { name: name.to_owned(), fault };
        let mut board: Self = toml::from_str(text).map_err(|error| fault(error.to_string()))?;
        name.clone_into(&mut board.name);
        board.modules = modules::with_groups(board.modules, groups)?;
        for place in ["{disk}", "{slot}"] {
            if !board.boot.command_line.contains(place) {
                return Err(fault(format!(
                    "boot.command-line does not say {place}: init would not find its root"
                )));
            }
        }
        let kernel = board.loader.addresses.kernel;
        if board.kernel.architecture == Architecture::Arm64 && !kernel.is_multiple_of(2 << 20) {
            return Err(fault(format!("loader.addresses.kernel {kernel:#x} is no multiple of 2 MiB")));
        }
        if !board.boot.config.lines().any(|line| line == format!("kernel={LOADER_ON_CARD}")) {
            return Err(fault(format!(
                "boot.config does not say kernel={LOADER_ON_CARD}: the firmware would not start the boot loader"
            )));
        }
        if (board.kernel.compression == Compression::Gzip) != board.loader.addresses.packed_kernel.is_some() {
            return Err(fault(
                "loader.addresses.packed-kernel is for a kernel with the compression \"gzip\", which needs it".to_owned(),
            ));
        }
        let device_tree = board.emulator.as_ref().map(|emulator| &emulator.device_tree);
        if let Some(other) = device_tree.filter(|file| !board.kernel.device_trees.contains(file)) {
            return Err(fault(format!("emulator.device-tree {other:?} is not among kernel.device-trees")));
        }
        Ok(board)
    }

    /// The error for a name that no file has, with the nearest of those that there are.
    pub fn unknown(name: &str, known: &[String]) -> BoardError {
        let hint = hint(name, known.iter().map(String::as_str));
        BoardError::Unknown { name: name.to_owned(), hint, known: known.join(", ") }
    }

    /// Whether its base is one of `known`.
    ///
    /// # Errors
    /// It is not: with the nearest of those that there are.
    pub fn has_base(&self, known: &[String]) -> Result<(), BoardError> {
        if known.contains(&self.base) {
            return Ok(());
        }
        let hint = hint(&self.base, known.iter().map(String::as_str));
        let (board, name) = (self.name.clone(), self.base.clone());
        Err(BoardError::NoBase { board, name, hint, known: known.join(", ") })
    }

    /// The device tree that QEMU is started with, or where it does not play the board, the first.
    pub fn device_tree(&self) -> &str {
        let played = self.emulator.as_ref().map(|emulator| emulator.device_tree.as_str());
        played.or(self.kernel.device_trees.first().map(String::as_str)).unwrap_or_default()
    }

    /// `cmdline.txt` for a disk and a slot.
    pub fn command_line(&self, disk: &str, slot: &str) -> String {
        format!("{}\n", self.boot.command_line.replace("{disk}", disk).replace("{slot}", slot))
    }
}

/// The nearest of `known` to `name` as a question, or nothing.
fn hint<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> String {
    let near = known
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    near.map(|(_, other)| format!("; did you mean {other:?}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RPI3: &str = include_str!("../../../../boards/rpi3.toml");
    const GROUPS: &str = include_str!("../../../../boards/common/modules.toml");

    #[test]
    fn the_boards_in_the_tree_are_boards() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../boards");
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            Board::parse(&name, &std::fs::read_to_string(&path).unwrap(), GROUPS).unwrap();
        }
    }

    #[test]
    fn mistakes_are_named() {
        let check = |from: &str, to: &str, expect: &str| {
            assert!(RPI3.contains(from), "{from}");
            let fault = Board::parse("rpi3", &RPI3.replacen(from, to, 1), GROUPS).unwrap_err().to_string();
            assert!(fault.contains(expect), "{fault}");
        };
        check("title =", "titel =", "unknown field `titel`");
        check("pilotlight.slot={slot}", "", "does not say {slot}");
        check("compression = \"gzip\"", "compression = \"rar\"", "unknown variant `rar`");
        check("[emulator]", "[emulator]\nspeed = 1", "unknown field `speed`");
        check(
            "\"file-systems\"",
            "\"files-systems\"",
            "no group \"files-systems\" in boards/common/modules.toml; did you mean \"file-systems\"?",
        );
        check("kernel=u-boot.bin", "kernel=vmlinuz", "does not say kernel=u-boot.bin");
        check("kernel = 0x0020_0000", "kernel = 0x0010_0000", "0x100000 is no multiple of 2 MiB");
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_nearest() {
        let known = ["rpi3".to_owned(), "rpi4".to_owned()];
        let text = Board::unknown("rpi-3", &known).to_string();
        assert_eq!(text, "there is no board \"rpi-3\"; the boards are: rpi3, rpi4; did you mean \"rpi3\"?");
        assert_eq!(
            Board::unknown("x", &known).to_string(),
            "there is no board \"x\"; the boards are: rpi3, rpi4"
        );
    }

    #[test]
    fn the_command_line_names_disk_and_slot() {
        let board = Board::parse("rpi3", RPI3, GROUPS).unwrap();
        let line = board.command_line("0badcafe", "a");
        assert!(line.ends_with("pilotlight.disk=0badcafe pilotlight.slot=a\n"), "{line}");
    }
}
