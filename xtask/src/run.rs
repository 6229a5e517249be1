//! `cargo xtask run`: the Pi in QEMU, and PCs on its wire.

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use pilotlight_card::{ImageRequest, Toolset, Workshop};
use pilotlight_emulator::{
    Qemu, Serial, card,
    hub::Hub,
    pc::{Firmware, Pc},
    pi::{BootFiles, Kind, Pi, Start, Wire},
};

use crate::{Source, ui};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The board
    #[arg(long, default_value = "rpi3")]
    board: String,
    /// The lab to put on the card
    #[arg(long, value_name = "LAB.TOML")]
    lab: Option<PathBuf>,
    /// The machine that QEMU plays: the board's own, or `virt` with a faster wire [default: the board's; `virt` with --pc]
    #[arg(long)]
    machine: Option<String>,
    /// Put a PC with this firmware on the Pi's wire
    #[arg(long, value_name = "FIRMWARE")]
    pc: Option<PcFirmware>,
    #[command(flatten)]
    pub(crate) source: Source,
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

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let (board, _) = workshop.board(&arguments.board)?;
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
    let boot = BootFiles::of_card(&disk, &board.emulator.device_tree, &folder)?;

    // Unix sockets have short names: the workspace's path may be too long for one.
    let sockets = tempfile::tempdir().context("cannot make a folder for the wire's socket")?;
    let wire = sockets.path().join("wire");
    let capture = folder.join("wire.pcap");
    let hub = Hub::start(&wire, Some(&capture)).context("cannot start the wire")?;

    let machine = arguments.machine.as_deref().unwrap_or(match arguments.pc {
        Some(_) => "virt",
        None => &board.emulator.machine,
    });
    let kind: Kind = machine.parse()?;
    // Where there is a board to play, as on the board.
    let start = if kind == Kind::Virt { Start::Kernel } else { Start::Loader };
    let wire = Some(Wire::Hub(hub.path()));
    let pi = Pi { name: "pi", kind, card: &disk, boot: &boot, start, append: "", wire };
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
            let pc = Pc { name: "pc", firmware, memory_mib: 1536, hub: hub.path(), mac: PC_MAC, disk: None };
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
