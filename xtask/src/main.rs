//! The builder's command line: verbs and their words. What they do lives in `crates/builder`.

mod bench;
mod check;
mod doctor;
mod flash;
mod image;
mod lock;
mod publish;
mod run;
mod test;
mod ui;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

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
    /// Start the image in QEMU with the Pi's serial console in this terminal
    Run(run::Arguments),
    /// Run the tests: all layers, or those named
    Test(test::Arguments),
    /// Bring pilotlight.lock up to what archives.toml asks for; move what is locked; look for security updates
    Lock(lock::Arguments),
    /// Check a lab.toml and say everything that is wrong with it
    Check(check::Arguments),
    /// Say what is on this machine, what would be fetched, and how much
    Doctor(doctor::Arguments),
    /// Measure, and print the figures
    Bench(bench::Arguments),
}

/// Where packages come from; the same words for every verb that may fetch.
#[derive(Debug, Clone, Args)]
struct Source {
    /// A Debian mirror to try first, such as `http://mirror.example/debian`; may be given more than once
    #[arg(long = "mirror", value_name = "URL", env = "PILOTLIGHT_MIRROR", value_delimiter = ' ')]
    mirrors: Vec<String>,
    /// The folder that keeps what was fetched [default: pilotlight in the user's cache folder]
    #[arg(long, value_name = "FOLDER", env = "PILOTLIGHT_CACHE")]
    cache: Option<PathBuf>,
}

impl Source {
    fn settings(&self) -> pilotlight_card::Settings {
        let mirrors = self.mirrors.iter().filter(|mirror| !mirror.is_empty()).cloned().collect();
        pilotlight_card::Settings { mirrors, cache: self.cache.clone() }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.verb {
        Verb::Image(arguments) => image::run(&arguments),
        Verb::Flash(arguments) => flash::run(&arguments),
        Verb::Publish(arguments) => publish::run(&arguments),
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Lock(arguments) => lock::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Doctor(arguments) => doctor::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            ui::tell(&error);
            ExitCode::from(1)
        }
    }
}
