//! Boards as data: each file of `boards/` makes a board, with the groups of kernel modules that boards share.
//!
//! What depends on the base that a root is made of, its kernel above all, stands in the file's table `bases.NAME`.
//!
//! This crate reads such a file into a [`Board`] and knows nothing of how a card is made from it.

mod modules;

use std::collections::BTreeMap;

use pilotlight_lab::paths::LOADER_ON_CARD;
use serde::Deserialize;

/// The file of the groups of kernel modules, in the folder of the boards.
pub const MODULE_GROUPS: &str = "common/modules.toml";

/// One board with one of its bases: what its firmware loads, its kernel, and what of the kernel it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// The name of its file, without the ending.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The base in `bases/` that its root is made of.
    pub base: String,
    /// All bases that it can be made of.
    pub bases: Vec<String>,
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

/// The file of a board.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    title: String,
    imager_tags: Vec<String>,
    firmware: Firmware,
    loader: Loader,
    boot: Texts,
    bases: BTreeMap<String, Based>,
}

/// The texts of the boot partition, whatever the base.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Texts {
    /// `config.txt`, but for its end.
    config: String,
    /// `cmdline.txt`, with `{kernel}`, `{disk}` and `{slot}` still to be filled in.
    command_line: String,
}

/// What a board has for one base.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Based {
    kernel: Kernel,
    boot: Words,
    modules: Modules,
    emulator: Option<Emulator>,
    tried: Tried,
}

/// What a kernel wants in the texts of the boot partition.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Words {
    /// The end of `config.txt`.
    kernel_config: String,
    /// What is filled in for `{kernel}`.
    kernel_words: String,
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
    /// Device tree overlays that the firmware is to find, by their names below `overlays/` there, without the ending.
    #[serde(default)]
    pub overlays: Vec<String>,
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
    /// With gzip, which the boot loader unpacks; the package may ship it so.
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Whether a kernel may lack some of them: for one that nobody could look at when the board was written.
    #[serde(default)]
    pub may_lack: bool,
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
    /// How many of the machine's processors never rest until the kernel calls them, the first included.
    #[serde(default = "one")]
    pub busy_processors: usize,
}

/// One processor starts, and the others sleep.
fn one() -> usize {
    1
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
    /// No folder of `bases/` has this name.
    #[error("there is no base {name:?}; the bases are: {known}{hint}")]
    UnknownBase {
        /// What was asked for.
        name: String,
        /// The nearest name, as a question, or nothing.
        hint: String,
        /// Those that there are.
        known: String,
    },
    /// It has nothing for the base.
    #[error("boards/{board}.toml has nothing for the base {name:?}; its bases are: {known}{hint}")]
    NoBase {
        /// The board.
        board: String,
        /// What was asked for.
        name: String,
        /// The nearest name, as a question, or nothing.
        hint: String,
        /// Those that it has.
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
    /// Reads the text of `boards/NAME.toml` for the base `base`, with `groups`, the text of
    /// `boards/common/modules.toml`.
    ///
    /// # Errors
    /// A base that the board has nothing for, an unknown or missing key, a value of the wrong kind, a group of modules
    /// that there is not, a command line without its places to fill, a `config.txt` that does not start the boot
    /// loader, or an emulator's device tree that is not on the boot partition.
    pub fn parse(name: &str, text: &str, groups: &str, base: &str) -> Result<Self, BoardError> {
        let fault = |fault: String| BoardError::Malformed { name: name.to_owned(), fault };
        let file: File = toml::from_str(text).map_err(|error| fault(error.to_string()))?;
        for place in ["{kernel}", "{disk}", "{slot}"] {
            if !file.boot.command_line.contains(place) {
                return Err(fault(format!(
                    "boot.command-line does not say {place}: kernel and init would not find what they need"
                )));
            }
        }
        let board = file.with_base(name, base, groups)?;
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

    /// The error for a base that there is not, with the nearest of those that there are.
    pub fn unknown_base(name: &str, known: &[String]) -> BoardError {
        let hint = hint(name, known.iter().map(String::as_str));
        BoardError::UnknownBase { name: name.to_owned(), hint, known: known.join(", ") }
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

impl File {
    /// What counts for one of the bases.
    fn with_base(mut self, name: &str, base: &str, groups: &str) -> Result<Board, BoardError> {
        let bases: Vec<String> = self.bases.keys().cloned().collect();
        let Some(own) = self.bases.remove(base) else {
            let hint = hint(base, bases.iter().map(String::as_str));
            let (board, name) = (name.to_owned(), base.to_owned());
            return Err(BoardError::NoBase { board, name, hint, known: bases.join(", ") });
        };
        Ok(Board {
            name: name.to_owned(),
            title: self.title,
            base: base.to_owned(),
            bases,
            kernel: own.kernel,
            firmware: self.firmware,
            loader: self.loader,
            boot: Boot {
                config: format!("{}{}", self.boot.config.trim_start(), own.boot.kernel_config),
                command_line: self.boot.command_line.replace("{kernel}", &own.boot.kernel_words),
            },
            modules: modules::with_groups(own.modules, groups)?,
            imager_tags: self.imager_tags,
            emulator: own.emulator,
            tried: own.tried,
        })
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
            let text = std::fs::read_to_string(&path).unwrap();
            for base in Board::parse(&name, &text, GROUPS, "debian").unwrap().bases {
                assert_eq!(Board::parse(&name, &text, GROUPS, &base).unwrap().base, base);
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let check = |from: &str, to: &str, expect: &str| {
            assert!(RPI3.contains(from), "{from}");
            let fault =
                Board::parse("rpi3", &RPI3.replacen(from, to, 1), GROUPS, "debian").unwrap_err().to_string();
            assert!(fault.contains(expect), "{fault}");
        };
        check("title =", "titel =", "unknown field `titel`");
        check("pilotlight.slot={slot}", "", "does not say {slot}");
        check("compression = \"gzip\"", "compression = \"rar\"", "unknown variant `rar`");
        check("[bases.debian.emulator]", "[bases.debian.emulator]\nspeed = 1", "unknown field `speed`");
        check("[bases.debian.kernel]", "[bases.debian.kernal]", "unknown field `kernal`");
        check("[bases.debian.", "[based.debian.", "unknown field `based`");
        check(
            "\"file-systems\"",
            "\"files-systems\"",
            "no group \"files-systems\" in boards/common/modules.toml; did you mean \"file-systems\"?",
        );
        check("kernel=u-boot.bin", "kernel=vmlinuz", "does not say kernel=u-boot.bin");
        check("kernel = 0x0020_0000", "kernel = 0x0010_0000", "0x100000 is no multiple of 2 MiB");
    }

    #[test]
    fn each_base_has_a_kernel_of_its_own() {
        let of = |base| Board::parse("rpi3", RPI3, GROUPS, base).unwrap();
        let (debian, raspbian) = (of("debian"), of("raspbian"));
        assert_eq!(
            (debian.kernel.set.as_str(), raspbian.kernel.set.as_str()),
            ("kernel-arm64", "kernel-rpi-v8")
        );
        assert!(
            debian.boot.config.contains("upstream_kernel=1")
                && !raspbian.boot.config.contains("upstream_kernel")
        );
        assert!(raspbian.kernel.device_trees.iter().all(|file| file.starts_with("broadcom/bcm2710-")));
        assert!(raspbian.command_line("0badcafe", "a").contains(" console=serial0,115200 "));
        let fault = Board::parse("rpi3", RPI3, GROUPS, "raspian").unwrap_err().to_string();
        assert!(fault.ends_with("its bases are: debian, raspbian; did you mean \"raspbian\"?"), "{fault}");
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
        let board = Board::parse("rpi3", RPI3, GROUPS, "debian").unwrap();
        let line = board.command_line("0badcafe", "a");
        assert!(line.ends_with("pilotlight.disk=0badcafe pilotlight.slot=a\n"), "{line}");
    }
}
