//! What `cargo xtask test` prepares for a layer, and where it says it is.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_board::{Board, MODULE_GROUPS};
use pilotlight_card::BASE;

/// A folder of unpacked packages: runnable programs in `bin`, the packages' files in `root`.
#[derive(Debug, Clone)]
pub struct Tools(PathBuf);

impl Tools {
    /// QEMU and firmware.
    pub fn emulator() -> Result<Self> {
        Ok(Self(path("PILOTLIGHT_TOOLS_EMULATOR")?))
    }

    /// Other people's network clients.
    pub fn clients() -> Result<Self> {
        Ok(Self(path("PILOTLIGHT_TOOLS_CLIENTS")?))
    }

    /// Other people's servers, which ours are measured against.
    pub fn peers() -> Result<Self> {
        Ok(Self(path("PILOTLIGHT_TOOLS_PEERS")?))
    }

    /// File system checkers.
    pub fn checkers() -> Result<Self> {
        Ok(Self(path("PILOTLIGHT_TOOLS_CHECKERS")?))
    }

    /// What speaks to a running Pi.
    pub fn desk() -> Result<Self> {
        Ok(Self(path("PILOTLIGHT_TOOLS_DESK")?))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Where the program `name` is.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let program = self.0.join("bin").join(name);
        ensure!(
            program.exists(),
            "{} is not there: its package is missing from the tools",
            program.display()
        );
        Ok(program)
    }

    /// A command that runs `name`, with a cleared environment: what a test finds must not depend on who runs it.
    pub fn command(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(self.program(name)?);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        Ok(command)
    }
}

/// The image under test.
pub fn image() -> Result<PathBuf> {
    path("PILOTLIGHT_IMAGE")
}

/// The board that it is for.
pub const BOARD: &str = "rpi3";

/// A board of the tree, with the usual base.
pub fn board(name: &str) -> Result<Board> {
    board_with_base(name, BASE)
}

/// A board of the tree.
pub fn board_with_base(name: &str, base: &str) -> Result<Board> {
    let read = |name: &str| {
        let path = checkout().join("boards").join(name);
        fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
    };
    Ok(Board::parse(name, &read(&format!("{name}.toml"))?, &read(MODULE_GROUPS)?, base)?)
}

/// All boards of the tree, by name.
pub fn boards() -> Result<Vec<Board>> {
    let mut boards = Vec::new();
    for entry in fs::read_dir(checkout().join("boards")).context("could not list the boards")? {
        let path = entry?.path();
        if let (Some("toml"), Some(name)) = (path.extension().and_then(OsStr::to_str), path.file_stem()) {
            boards.push(board(&name.to_string_lossy())?);
        }
    }
    boards.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(boards)
}

/// The `xtask` program.
pub fn xtask() -> Result<PathBuf> {
    path("PILOTLIGHT_XTASK")
}

/// The daemon `name`, built for this machine.
pub fn daemon(name: &str) -> Result<PathBuf> {
    let program = path("PILOTLIGHT_DAEMONS")?.join(name);
    ensure!(program.exists(), "the daemon {} is not there: it has not been built", program.display());
    Ok(program)
}

/// The folder of the whole checkout.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// Where the scene `name` leaves its logs and traffic.
pub fn scene_folder(name: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout().join("target"), PathBuf::from);
    target.join("scenes").join(name)
}

fn path(variable: &str) -> Result<PathBuf> {
    let path = env::var_os(variable).map(PathBuf::from).with_context(|| {
        format!("{variable} is not set: run it through `cargo xtask test` or `cargo xtask bench`")
    })?;
    ensure!(path.exists(), "{variable} names {}, which is not there", path.display());
    path.canonicalize().with_context(|| format!("could not find {}", path.display()))
}
