//! `pilotctl ca`, `kubeconfig`, `talos-secrets` and `arm`: the certificate authority, asked by an operator.
//!
//! What is secret comes from standard input and goes to standard output or into a file that is new: command lines can be
//! read by others.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::{Args, Subcommand};
use pilotlight_kit::line;
use pilotlight_lab::paths;
use pilotlight_pki::{Answer, LONGEST_LINE, Question};

use crate::passphrase;

/// A backup takes the Pi a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whom to ask.
#[derive(Debug, Args)]
pub(crate) struct Authority {
    /// The certificate authority's socket.
    #[arg(long, value_name = "SOCKET", default_value = paths::PKI_SOCKET)]
    socket: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Prints the certificate that is to be trusted around the API; with another name that one.
    Show {
        /// `kubernetes`, `etcd`, `front-proxy`, or `root`, which nothing should trust.
        #[arg(default_value = "kubernetes")]
        which: String,
        #[command(flatten)]
        authority: Authority,
    },
    /// Writes a backup of all keys to standard output or into a file. What seals it is asked for, or is the first line of
    /// standard input.
    Backup {
        /// A new file to write it into.
        file: Option<PathBuf>,
        #[command(flatten)]
        authority: Authority,
    },
    /// Takes the keys of a backup in place of those in force. What sealed it is asked for, or is the first line of standard
    /// input.
    Restore {
        /// The backup; `-` for what comes on standard input behind the passphrase.
        file: PathBuf,
        #[command(flatten)]
        authority: Authority,
    },
}

pub(crate) fn run(verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Show { which, authority } => {
            let Answer::Public { kubernetes, etcd, front_proxy, root, .. } =
                authority.ask(&Question::Public {})?
            else {
                bail!("the certificate authority answered something else");
            };
            let found = match which.as_str() {
                "kubernetes" => kubernetes,
                "etcd" => etcd,
                "front-proxy" => front_proxy,
                "root" => root,
                other => bail!("there is no authority {other:?}: kubernetes, etcd, front-proxy and root are"),
            };
            print!("{found}");
        }
        Verb::Backup { file, authority } => {
            ensure!(
                file.is_some() || !io::stdout().is_terminal(),
                "a backup is nothing to read: name a new file, `pilotctl ca backup FILE`"
            );
            let question = Question::Backup { passphrase: passphrase::ask(true)? };
            let Answer::Backup { backup } = authority.ask(&question)? else {
                bail!("the certificate authority answered something else");
            };
            write(file.as_deref(), &format!("{backup}\n"))?;
        }
        Verb::Restore { file, authority } => {
            let passphrase = passphrase::ask(false)?;
            let backup = if file.as_os_str() == "-" {
                io::read_to_string(io::stdin()).context("no backup came")?
            } else {
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
            };
            let backup = backup.trim().to_owned();
            let whole = !backup.is_empty() && BASE64_STANDARD.decode(&backup).is_ok();
            ensure!(whole, "{} is no backup", file.display());
            authority.ask(&Question::Restore { passphrase, backup })?;
            println!("the keys of the backup are in force: nodes have to fetch their certificates anew");
        }
    }
    Ok(())
}

/// Writes a kubeconfig for an administrator to standard output, or into a file that nobody else may read.
pub(crate) fn kubeconfig(authority: &Authority, out: Option<&Path>) -> anyhow::Result<()> {
    let Answer::Kubeconfig { text } = authority.ask(&Question::Kubeconfig {})? else {
        bail!("the certificate authority answered something else");
    };
    write(out, &text)
}

/// Writes what the lab's Talos nodes share to standard output, or into a file that nobody else may read.
pub(crate) fn talos_secrets(authority: &Authority, out: Option<&Path>) -> anyhow::Result<()> {
    let Answer::TalosSecrets { text } = authority.ask(&Question::TalosSecrets {})? else {
        bail!("the certificate authority answered something else");
    };
    write(out, &text)
}

/// Writes what is secret to standard output, or into a new file that nobody else may read.
fn write(path: Option<&Path>, text: &str) -> anyhow::Result<()> {
    let Some(path) = path else {
        print!("{text}");
        return Ok(());
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot make the new file {}", path.display()))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Lets a node fetch the token that it asks for certificates with.
pub(crate) fn arm(authority: &Authority, node: &str, minutes: u64) -> anyhow::Result<()> {
    let question = Question::Arm { node: node.to_owned(), window: minutes.saturating_mul(60) };
    authority.ask(&question)?;
    println!("{node} is given its certificates if it asks within {minutes} minutes: start it now");
    Ok(())
}

impl Authority {
    fn ask(&self, question: &Question) -> anyhow::Result<Answer> {
        let line = serde_json::to_vec(question)?;
        let said = line::exchange(&self.socket, Some(&line), PATIENCE, LONGEST_LINE as u64);
        let said = said.with_context(|| format!("nobody answers at {}", self.socket.display()))?;
        ensure!(
            !said.is_empty(),
            "the certificate authority says nothing: you are no operator, or it has failed"
        );
        match serde_json::from_slice(&said) {
            Ok(Answer::Refused { reason }) => bail!("{reason}"),
            Ok(answer) => Ok(answer),
            // What it says may be a secret.
            Err(fault) => bail!("the certificate authority's answer is wrong at byte {}", fault.column()),
        }
    }
}
