//! The way to a running Pi: `ssh` as an operator.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use clap::Args;

/// How the Pi is reached.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The port of the Pi's login
    #[arg(long, default_value_t = 22)]
    port: u16,
    /// The private SSH key of an operator [default: what your ssh uses]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// The file of known host keys [default: what your ssh uses]
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
}

impl Login {
    /// Whether what is named is there.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match &self.identity {
            Some(file) => fs::metadata(file)
                .map(drop)
                .with_context(|| format!("cannot read the key {}", file.display())),
            None => Ok(()),
        }
    }

    /// What runs `words` on the Pi at the address `pi`.
    pub(crate) fn command(&self, ssh: &Path, pi: &str, words: &[&str]) -> Command {
        let mut command = Command::new(ssh);
        let options = [
            "BatchMode=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=15",
            "StrictHostKeyChecking=accept-new",
        ];
        command.arg("-T").args(options.iter().flat_map(|option| ["-o", option]));
        command.args(["-p", &self.port.to_string()]);
        if let Some(file) = &self.identity {
            command.args(["-o", "IdentitiesOnly=yes"]).arg("-i").arg(file);
        }
        if let Some(file) = &self.known_hosts {
            command.arg("-o").arg(format!("UserKnownHostsFile={}", file.display()));
        }
        command.arg(format!("operator@{pi}")).args(words);
        command
    }
}

/// Why a Pi that is there lets nobody in.
pub(crate) const LOCKED_OUT: &str =
    "the lab must name you under [[operators]], and only a Pi started with it lets you in";

/// A command as it would be typed.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
