//! `cargo xtask flash`: the image onto a card.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pilotlight_card::{BadLab, ImageRequest, Workshop};
use pilotlight_disk::{BlockMap, block_map::BLOCK, layout};
use pilotlight_flash::{
    Device, Disks, FlashError, Kept, Objection, Plan, Stage, Target, list, with_lab, write,
};
use pilotlight_image::card;

use crate::{BOARD, Source, ui};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The card's device, such as /dev/sdb, or a file; without one, the devices are listed. A device that is not
    /// removable, or larger than cards are, must be named twice
    #[arg(num_args = 0..=2, value_name = "DEVICE")]
    device: Vec<PathBuf>,
    /// The board whose image is made
    #[arg(long, default_value = BOARD, conflicts_with = "image")]
    board: String,
    /// The lab to put on the card [default: the one that is on the card already, else the one that every image brings]
    #[arg(long, value_name = "LAB.TOML")]
    lab: Option<PathBuf>,
    /// Take this image, with its block map beside it, instead of making one
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Start anew: keep neither the data partition nor the lab of the card's earlier life
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    pub(crate) source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let devices = list(&Disks::default()).context("cannot list this machine's disks")?;
    let Some(path) = arguments.device.first() else {
        show(&devices);
        return Ok(ExitCode::SUCCESS);
    };
    let twice = match arguments.device.get(1) {
        Some(again) if again != path => {
            bail!(
                "two devices were named, {} and {}: a card is written to one",
                path.display(),
                again.display()
            )
        }
        again => again.is_some(),
    };
    consider(path, &devices, twice)?;
    let lab = arguments.lab.as_deref().map(checked_lab).transpose()?;
    // Whether it can be opened shows before an image is made for nothing.
    drop(open(path, arguments, arguments.image.as_deref())?);

    let image = match &arguments.image {
        Some(image) => image.clone(),
        None => {
            let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
            workshop.image(&ImageRequest::board(&arguments.board))?.image
        }
    };
    let target = open(path, arguments, Some(&image))?;
    let plan = plan(&image, &target, lab, arguments.fresh)?;
    perform(&image, target, path, &plan)?;
    Ok(ExitCode::SUCCESS)
}

/// Every disk, with its size and model and what speaks against it.
fn show(devices: &[Device]) {
    if devices.is_empty() {
        println!("no disks were found: is the card reader connected?");
        return;
    }
    println!("{:<16} {:>10}  {:<28} ", "device", "size", "model");
    for device in devices {
        let path = device.path.display().to_string();
        let verdict = match device.objection(layout::IMAGE_LEN) {
            None => format!("cargo xtask flash {path}"),
            Some(objection) if objection.is_doubt() => format!("name it twice: {objection}"),
            Some(objection) => format!("no: {objection}"),
        };
        println!("{path:<16} {:>10}  {:<28} {verdict}", ui::bytes(device.bytes), device.model);
    }
}

/// Refuses a disk that should not be written.
fn consider(path: &Path, devices: &[Device], twice: bool) -> anyhow::Result<()> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let Some(device) = devices.iter().find(|device| device.path == real) else {
        let disk = devices.iter().find(|disk| {
            let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
            real.starts_with("/dev") && name.starts_with(&disk.name)
        });
        if let Some(disk) = disk {
            bail!("{} is a part of {}: an image takes a whole disk", path.display(), disk.path.display());
        }
        return Ok(());
    };
    match device.objection(layout::IMAGE_LEN) {
        Some(objection) if objection.is_doubt() && twice => Ok(()),
        Some(objection) => Err(anyhow::Error::new(Refused { path: path.to_owned(), objection })),
        None => Ok(()),
    }
}

/// A disk that is not written to.
#[derive(Debug, thiserror::Error)]
#[error("{path} is not written: {objection}{hint}", path = path.display(), hint = hint(path, objection))]
struct Refused {
    path: PathBuf,
    objection: Objection,
}

fn hint(path: &Path, objection: &Objection) -> String {
    let path = path.display();
    match objection {
        Objection::Mounted(at) => format!("; unmount it first: umount {}", at.display()),
        doubt if doubt.is_doubt() => {
            format!("; if it is the right one, name it twice: cargo xtask flash {path} {path}")
        }
        _ => String::new(),
    }
}

/// Opens the target. Who may not is told how to become someone who may.
fn open(path: &Path, arguments: &Arguments, image: Option<&Path>) -> anyhow::Result<Target> {
    Target::open(path).map_err(|fault| {
        let denied = matches!(&fault, FlashError::Open { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied);
        let error = anyhow::Error::new(fault);
        if !denied {
            return error;
        }
        let program = std::env::current_exe().unwrap_or_else(|_| "target/debug/xtask".into());
        let image = image.map_or_else(
            || format!("target/images/pilotlight-{}.img", arguments.board),
            |image| image.display().to_string(),
        );
        let lab = arguments.lab.as_ref().map(|lab| format!(" --lab {}", lab.display())).unwrap_or_default();
        error.context(format!(
            "only root may write to {}. Make the image as yourself (cargo xtask image), then: sudo {} flash --image {image}{lab} {}",
            path.display(),
            program.display(),
            path.display()
        ))
    })
}

/// A lab that the Pi will take.
fn checked_lab(path: &Path) -> anyhow::Result<Vec<u8>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the lab {}", path.display()))?;
    match pilotlight_lab::parse(&text) {
        Ok(_) => Ok(text.into_bytes()),
        Err(problems) => bail!(BadLab { name: path.display().to_string(), text, problems }),
    }
}

/// What goes where, with a word on what the card keeps.
fn plan(image: &Path, target: &Target, lab: Option<Vec<u8>>, fresh: bool) -> anyhow::Result<Plan> {
    let map_path = image.with_added_extension("bmap");
    let map = std::fs::read_to_string(&map_path)
        .with_context(|| format!("cannot read the image's block map {}", map_path.display()))?;
    let map = BlockMap::parse(&map).with_context(|| format!("cannot use {}", map_path.display()))?;
    let mut first_block = vec![0; BLOCK as usize];
    let file = File::open(image).with_context(|| format!("cannot read the image {}", image.display()))?;
    file.read_exact_at(&mut first_block, 0)
        .with_context(|| format!("cannot read the image {}", image.display()))?;

    let kept = if !fresh && target.has_data() { Kept::Data } else { Kept::Nothing };
    let old_lab = if fresh { None } else { target.lab() };
    let mut plan = Plan::new(&map, &first_block, target.bytes, kept)?;
    println!(
        "{}",
        match kept {
            Kept::Data => "data       the card's own is kept: leases, keys, events (--fresh starts anew)",
            Kept::Nothing => "data       the card starts anew",
        }
    );
    let (words, lab) = match (lab, old_lab) {
        (Some(lab), _) => ("the one that was named", Some(lab)),
        (None, Some(lab)) => {
            let text = String::from_utf8_lossy(&lab).into_owned();
            if let Err(problems) = pilotlight_lab::parse(&text) {
                let name = "the card's own lab.toml (--lab names another one, --fresh drops it)".to_owned();
                bail!(BadLab { name, text, problems });
            }
            ("the card's own is kept (--lab names another one, --fresh drops it)", Some(lab))
        }
        (None, None) => ("the image's own", None),
    };
    println!("lab        {words}");
    if let Some(lab) = lab {
        let opened = card::open(image)?;
        plan = plan.with_partition(opened.slot.boot(), &with_lab(&opened, &lab)?);
    }
    Ok(plan)
}

fn perform(image: &Path, target: Target, path: &Path, plan: &Plan) -> anyhow::Result<()> {
    let file = File::open(image).with_context(|| format!("cannot read the image {}", image.display()))?;
    let runs = plan.bytes() - plan.first_block.len() as u64;
    let style =
        ProgressStyle::with_template("{msg:<10} {bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(runs).with_style(style).with_message("writing");
    let mut verifying = false;
    write(&file, &target, plan, &mut |stage, bytes| {
        if stage == Stage::Verify && !verifying {
            verifying = true;
            bar.reset();
            bar.set_message("verifying");
        }
        bar.inc(bytes);
    })?;
    bar.finish_and_clear();
    println!("written    {} to {}, read back and compared", ui::bytes(plan.bytes()), path.display());
    if target.is_disk {
        let word = if target.eject() { "ejected" } else { "done" };
        println!("{word:<10} the card can be taken out now");
    }
    Ok(())
}
