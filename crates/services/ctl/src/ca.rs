//! `pilotctl ca`, `kubeconfig` and `arm`: the certificate authority, asked by an operator.
//!
//! What is secret comes from standard input and goes to standard output or into a file that is new: command lines can be
//! read by others.

use std::{
    fs::OpenOptions,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::{Args, Subcommand};
use pilotlight_kit::line;
use pilotlight_lab::paths;
use pilotlight_pki::{Answer, LONGEST_LINE, Question, SHORTEST_PASSPHRASE};

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
    /// Writes a backup of all keys to standard output, sealed with the passphrase that is the first line of standard input.
    Backup {
        #[command(flatten)]
        authority: Authority,
    },
    /// Takes the keys of a backup in place of those in force. The passphrase is the first line of standard input.
    Restore {
        /// The backup.
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
        Verb::Backup { authority } => {
            ensure!(
                !io::stdout().is_terminal(),
                "a backup is no text: send it into a file, `pilotctl ca backup > FILE`"
            );
            let passphrase = passphrase()?;
            let Answer::Backup { backup } = authority.ask(&Question::Backup { passphrase })? else {
                bail!("the certificate authority answered something else");
            };
            println!("{backup}");
        }
        Verb::Restore { file, authority } => {
            let backup =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            ensure!(BASE64_STANDARD.decode(backup.trim()).is_ok(), "{} is no backup", file.display());
            let question = Question::Restore { passphrase: passphrase()?, backup: backup.trim().to_owned() };
            authority.ask(&question)?;
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
    let Some(path) = out else {
        print!("{text}");
        return Ok(());
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot make the new file {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
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

fn passphrase() -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        eprint!("Passphrase of {SHORTEST_PASSPHRASE} characters or more (it is shown): ");
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("no passphrase came")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
