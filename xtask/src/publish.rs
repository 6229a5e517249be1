//! `cargo xtask publish`: the image packed for download, and the list by which Raspberry Pi Imager offers it.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufReader, BufWriter, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use clap::Args;
use liblzma::{stream::MtStreamBuilder, write::XzEncoder};
use pilotlight_card::{ImageRequest, Workshop};
use pilotlight_flash::{OsEntry, day, os_list};
use pilotlight_image::Digest;

use crate::{BOARD, Source, ui};

/// Bytes that are packed on their own, by one core. Part of what makes two packings the same.
const BLOCK: u64 = 16 << 20;
/// xz's preset: most of an image is packed already.
const PRESET: u32 = 1;
/// The picture in Imager's list.
const ICON: &str = "pilotlight.svg";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the files will be served, such as `https://example.org/cards`
    #[arg(long, value_name = "URL")]
    url: String,
    /// The boards: files of boards/ without their ending
    #[arg(long = "board", default_value = BOARD)]
    boards: Vec<String>,
    /// The lab to put on the card [default: the one that every image brings along]
    #[arg(long, value_name = "LAB.TOML")]
    lab: Option<PathBuf>,
    /// Where to put them [default: target/publish]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: Source,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let base = arguments.url.trim_end_matches('/');
    ensure!(
        ["http://", "https://"].iter().any(|scheme| base.starts_with(scheme)),
        "{:?} is no address: --url takes https://… or http://…, the folder that will hold the files",
        arguments.url
    );
    let workspace = ui::workspace()?;
    let workshop = Workshop::open(&workspace, &arguments.source.settings())?;
    let out = arguments.out.clone().unwrap_or_else(|| workshop.target().join("publish"));
    fs::create_dir_all(&out).with_context(|| format!("cannot make the folder {}", out.display()))?;

    let mut entries = Vec::new();
    for name in &arguments.boards {
        let (board, _) = workshop.board(name)?;
        let request = ImageRequest { lab: arguments.lab.clone(), sha256: true, ..ImageRequest::board(name) };
        let report = workshop.image(&request)?;
        let file = format!("{}.img.xz", workshop.stem(name));
        let packed = out.join(&file);
        pack(&report.image, &packed)?;
        let (digest, size) =
            Digest::of_file(&packed).with_context(|| format!("cannot read {}", packed.display()))?;
        println!("packed     {} ({})", packed.display(), ui::bytes(size));
        entries.push(OsEntry {
            name: format!("Pilotlight for {}", board.title),
            description: "A network-boot server for machines without a system".to_owned(),
            icon: format!("{base}/{ICON}"),
            url: format!("{base}/{file}"),
            extract_size: report.summary.len,
            extract_sha256: report.summary.sha256.context("the image has no digest")?.to_string(),
            image_download_size: size,
            image_download_sha256: digest.to_string(),
            release_date: day(report.epoch),
            init_format: "none",
            devices: board.imager_tags,
        });
    }
    let put = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    let icon = workspace.join("docs").join(ICON);
    put(ICON, &fs::read(&icon).with_context(|| format!("cannot read {}", icon.display()))?)?;
    put("os_list.json", os_list(&entries)?.as_bytes())?;
    println!("list       {}", out.join("os_list.json").display());
    println!("in Imager  rpi-imager --repo {base}/os_list.json");
    Ok(ExitCode::SUCCESS)
}

/// Packs `image`; the same image gives the same bytes on any number of cores. Nothing half-packed is left.
fn pack(image: &Path, packed: &Path) -> anyhow::Result<()> {
    let what = || format!("cannot pack {} into {}", image.display(), packed.display());
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let stream = MtStreamBuilder::new()
        .threads(threads)
        .block_size(BLOCK)
        .preset(PRESET)
        .check(liblzma::stream::Check::Crc64)
        .encoder()
        .with_context(what)?;
    let folder = packed.parent().unwrap_or(Path::new("."));
    let part = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .with_context(what)?;
    let mut encoder = XzEncoder::new_stream(BufWriter::new(part), stream);
    let mut source = BufReader::with_capacity(1 << 20, File::open(image).with_context(what)?);
    io::copy(&mut source, &mut encoder).with_context(what)?;
    let mut writer = encoder.finish().with_context(what)?;
    writer.flush().with_context(what)?;
    let part = writer.into_inner().map_err(io::IntoInnerError::into_error).with_context(what)?;
    part.persist(packed).with_context(what)?;
    Ok(())
}
