//! `cargo xtask run`: the Pi in QEMU, and PCs on its wire.

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use pilotlight_card::{Architecture, Board, ImageRequest, Toolset, Workshop};
use pilotlight_emulator::{
    Qemu, Serial, card,
    hub::Hub,
    pc::{Firmware, Marks, Pc},
    pi::{BootFiles, Kind, Pi, Start, Wire},
};

use crate::{BOARD, Source, ui};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The board
    #[arg(long, default_value = BOARD)]
    board: String,
    /// The lab to put on the card
    #[arg(long, value_name = "LAB.TOML")]
    lab: Option<PathBuf>,
    /// The machine that QEMU plays [default: the board; `virt` with --pc]
    #[arg(long)]
    machine: Option<MachineKind>,
    /// Put a PC with this firmware on the Pi's wire
    #[arg(long, value_name = "FIRMWARE")]
    pc: Option<PcFirmware>,
    #[command(flatten)]
    pub(crate) source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MachineKind {
    /// The board itself
    Board,
    /// No board that exists, with a faster wire; for boards with a 64-bit kernel
    Virt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PcFirmware {
    /// SeaBIOS with an iPXE ROM
    Bios,
    /// OVMF
    Uefi,
}

/// A locally administered address for a machine that exists in QEMU alone.
const PC_MAC: &str = "52:54:00:12:34:01";

/// Firmware gives up after some seconds, so a PC is switched on when the Pi has begun to talk on its wire. A Pi that
/// is told not to look for another DHCP server says nothing by itself: then the longest wait is what it needs to
/// come up.
fn wait_for_the_pi(hub: &Hub) {
    let start = Instant::now();
    while hub.counters().frames == 0 && start.elapsed() < Duration::from_secs(45) {
        std::thread::sleep(Duration::from_millis(200));
    }
    std::thread::sleep(Duration::from_secs(5));
}

/// What QEMU plays.
fn kind<'b>(board: &'b Board, arguments: &Arguments) -> anyhow::Result<Kind<'b>> {
    let default = if arguments.pc.is_some() { MachineKind::Virt } else { MachineKind::Board };
    match (arguments.machine.unwrap_or(default), &board.emulator) {
        (MachineKind::Board, Some(emulator)) => Ok(Kind::Board(emulator)),
        (MachineKind::Virt, _) if board.kernel.architecture == Architecture::Arm64 => Ok(Kind::Virt),
        (MachineKind::Board, None) => {
            bail!(
                "QEMU does not play {}: `cargo xtask boards` says what it can; --machine virt starts its kernel",
                board.title
            )
        }
        (MachineKind::Virt, _) => {
            bail!(
                "{} has a 32-bit kernel, and `virt` starts 64-bit ones: --machine board plays it",
                board.title
            )
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let (board, _) = workshop.board(&arguments.board)?;
    let kind = kind(&board, arguments)?;
    let toolbox = workshop.toolbox(Toolset::Emulator)?;
    let qemu = Qemu::unpacked(toolbox.folder())?;

    let folder = workshop.target().join("run");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let image = folder.join("image.img");
    let request = ImageRequest {
        lab: arguments.lab.clone(),
        out: Some(image.clone()),
        ..ImageRequest::board(&arguments.board)
    };
    workshop.image(&request)?;
    let disk = folder.join("card.img");
    card::work_copy(&image, &disk)?;
    let boot = BootFiles::of_card(&disk, board.device_tree(), &folder)?;

    // Unix sockets have short names: the workspace's path may be too long for one.
    let sockets = tempfile::tempdir().context("cannot make a folder for the wire's socket")?;
    let wire = sockets.path().join("wire");
    let capture = folder.join("wire.pcap");
    let hub = Hub::start(&wire, Some(&capture)).context("cannot start the wire")?;

    // Where there is a board to play, as on the board.
    let start = if kind == Kind::Virt { Start::Kernel } else { Start::Loader };
    let wire = Some(Wire::Hub(hub.path()));
    let pi =
        Pi { name: "pi", kind, card: &disk, boot: &boot, start, append: "", wire, writes: None, clock: None };
    eprintln!(
        "the Pi's serial console follows; Ctrl-A X ends it; the wire is recorded in {}",
        capture.display()
    );
    let mut pi = pi.start(&qemu, &Serial::Terminal)?;
    let pc = match arguments.pc {
        None => None,
        Some(firmware) => {
            let firmware = match firmware {
                PcFirmware::Bios => Firmware::Bios,
                PcFirmware::Uefi => Firmware::Uefi,
            };
            let pc = Pc {
                name: "pc",
                firmware,
                memory_mib: 1536,
                hub: hub.path(),
                mac: PC_MAC,
                disks: &[],
                marks: Marks::default(),
            };
            eprintln!(
                "the PC is switched on when the Pi is up; its console goes to {}",
                folder.join("pc.log").display()
            );
            wait_for_the_pi(&hub);
            Some(pc.start(&qemu, &folder, &Serial::Captured(folder.clone()))?)
        }
    };
    let status = pi.wait().context("cannot wait for QEMU")?;
    drop(pc);
    drop(hub);
    Ok(ExitCode::from(u8::from(!status.success())))
}
