//! `cargo xtask bench`: figures, several rounds each, medians printed.

mod boot;
mod image;
mod peer;
mod services;
mod storm;
mod usual;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::Source;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
    /// How often
    #[arg(long, default_value_t = 5, global = true)]
    rounds: u32,
    #[command(flatten)]
    pub(crate) source: Source,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Making the image: cold without download, warm, with one package or the lab changed; and the usual way
    Image(image::Image),
    /// Booting it: instructions from /init to the first OFFER, beside a stock Debian root with dnsmasq and nginx
    Boot(boot::Boot),
    /// The services beside dnsmasq, Kea, tftpd-hpa and nginx
    Services(services::Services),
    /// A rack that is switched on at once over 100 Mbit/s: who boots when, and what share of the link that is
    Storm(storm::Storm),
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.what {
        What::Image(image) => image::run(arguments, image)?,
        What::Boot(boot) => boot::run(arguments, boot)?,
        What::Services(services) => services::run(arguments, services)?,
        What::Storm(storm) => storm::run(arguments, storm)?,
    }
    Ok(ExitCode::SUCCESS)
}
