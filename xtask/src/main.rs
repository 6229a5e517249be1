//! The builder's command line: verbs and their words. What they do lives in `crates/builder`.

mod bench;
mod boards;
mod check;
mod compare;
mod doctor;
mod flash;
mod foreign;
mod fuzz;
mod image;
mod import;
mod lock;
mod login;
mod mend;
mod mirror;
mod node_image;
mod publish;
mod push;
mod run;
mod show;
mod size;
mod soak;
mod test;
mod ui;
mod usual;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

/// The board of whoever names none, and the one that the tests and figures are about.
const BOARD: &str = "rpi3";

/// Makes a network-boot server on an SD card for a Raspberry Pi.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the card image: target/images/pilotlight-BOARD.img
    Image(image::Arguments),
    /// Write the image to a card; without a device, list them
    Flash(flash::Arguments),
    /// Pack images for download, with a list for Raspberry Pi Imager
    Publish(publish::Arguments),
    /// Send a new system to a running Pi; it tries it, and keeps it or goes back
    Push(push::Arguments),
    /// Build the system that machines run from memory: kernel, initrd and root
    NodeImage(node_image::Arguments),
    /// Find, verify and fetch the releases that a lab names, and lock them beside it
    Mirror(mirror::Arguments),
    /// Start the image in QEMU with the Pi's serial console in this terminal
    Run(run::Arguments),
    /// Run the tests: all layers, or those named
    Test(test::Arguments),
    /// Run what takes too long for the tests: simulated boots by the million; every power cut of a recorded run, some
    /// of them started
    Soak(soak::Arguments),
    /// Feed every parser arbitrary input, for as long as wanted
    Fuzz(fuzz::Arguments),
    /// Bring pilotlight.lock up to what archives.toml asks for; move what is locked; look for security updates
    Lock(lock::Arguments),
    /// List the boards, and what QEMU can and cannot show of each
    Boards,
    /// Check a lab.toml and say everything that is wrong with it
    Check(check::Arguments),
    /// Write a lab of Matchbox's in the words of lab.toml
    ImportMatchbox(import::Arguments),
    /// Show all that one node of a lab would get, in full
    Show(show::Arguments),
    /// Say what is on this machine, what would be fetched, and how much
    Doctor(doctor::Arguments),
    /// Say what the image spends by package and by file, and what a removal would save
    Size(size::Arguments),
    /// Compare the root with one that mmdebstrap makes of the same packages (for developers; takes minutes)
    Compare(compare::Arguments),
    /// Measure, and print the figures
    Bench(bench::Arguments),
}

/// Where packages come from; the same words for every verb that may fetch.
#[derive(Debug, Clone, Args)]
struct Source {
    /// The base that the root is made of: a folder of bases/ [default: debian]
    #[arg(long, value_name = "BASE")]
    base: Option<String>,
    /// A Debian mirror to try first, such as `http://mirror.example/debian`; may be given more than once
    #[arg(long = "mirror", value_name = "URL", env = "PILOTLIGHT_MIRROR", value_delimiter = ' ')]
    mirrors: Vec<String>,
    /// Where to look for packages that no mirror has any more, by time: a snapshot archive, or `none` [default: what
    /// the base names]
    #[arg(long = "snapshot", value_name = "URL", env = "PILOTLIGHT_SNAPSHOT", value_delimiter = ' ')]
    snapshots: Vec<String>,
    /// Refuse to use anything else than what pilotlight.lock names, and to change it
    #[arg(long)]
    locked: bool,
    /// The folder that keeps what was fetched [default: pilotlight in the user's cache folder]
    #[arg(long, value_name = "FOLDER", env = "PILOTLIGHT_CACHE")]
    cache: Option<PathBuf>,
}

impl Source {
    fn settings(&self) -> pilotlight_card::Settings {
        let named = |list: &[String]| list.iter().filter(|address| !address.is_empty()).cloned().collect();
        pilotlight_card::Settings {
            base: self.base.clone(),
            mirrors: named(&self.mirrors),
            snapshots: named(&self.snapshots),
            locked: self.locked,
            cache: self.cache.clone(),
        }
    }
}

impl Verb {
    /// Where what it fetches comes from, and with it the lock that may have to be mended. None for a verb that fetches
    /// nothing or sees to its lock itself.
    fn source(&self) -> Option<&Source> {
        match self {
            Self::Image(arguments) => Some(&arguments.source),
            Self::Flash(arguments) => Some(&arguments.source),
            Self::Publish(arguments) => Some(&arguments.source),
            Self::Push(arguments) => Some(&arguments.source),
            Self::NodeImage(arguments) => Some(&arguments.source),
            Self::Mirror(arguments) => Some(&arguments.source),
            Self::Run(arguments) => Some(&arguments.source),
            Self::Bench(arguments) => Some(&arguments.source),
            Self::Size(arguments) => Some(&arguments.source),
            Self::Compare(arguments) => Some(&arguments.source),
            Self::Soak(arguments) => Some(&arguments.source),
            Self::Test(_)
            | Self::Lock(_)
            | Self::Fuzz(_)
            | Self::Boards
            | Self::Check(_)
            | Self::ImportMatchbox(_)
            | Self::Show(_)
            | Self::Doctor(_) => None,
        }
    }

    fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Image(arguments) => image::run(arguments),
            Self::Flash(arguments) => flash::run(arguments),
            Self::Publish(arguments) => publish::run(arguments),
            Self::Push(arguments) => push::run(arguments),
            Self::NodeImage(arguments) => node_image::run(arguments),
            Self::Mirror(arguments) => mirror::run(arguments),
            Self::Run(arguments) => run::run(arguments),
            Self::Test(arguments) => test::run(arguments),
            Self::Soak(arguments) => soak::run(arguments),
            Self::Fuzz(arguments) => fuzz::run(arguments),
            Self::Lock(arguments) => lock::run(arguments),
            Self::Boards => boards::run(),
            Self::Check(arguments) => check::run(arguments),
            Self::ImportMatchbox(arguments) => import::run(arguments),
            Self::Show(arguments) => show::run(arguments),
            Self::Doctor(arguments) => doctor::run(arguments),
            Self::Bench(arguments) => bench::run(arguments),
            Self::Size(arguments) => size::run(arguments),
            Self::Compare(arguments) => compare::run(arguments),
        }
    }
}

fn main() -> ExitCode {
    let Cli { verb } = Cli::parse();
    let result = match verb.source() {
        Some(source) => mend::lock(source, || verb.run()),
        None => verb.run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            ui::tell(&error);
            ExitCode::from(1)
        }
    }
}
