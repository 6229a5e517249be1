//! A passphrase, from whoever sits there or from a pipe.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, ensure};
use pilotlight_pki::SHORTEST_PASSPHRASE;

use crate::typed::{Silent, line};

/// Reads one; at a terminal without showing it. `twice` is for one that nothing can be compared with.
pub(crate) fn ask(twice: bool) -> anyhow::Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(&mut stdin.lock()).context("no passphrase came");
    }
    let _silent = Silent::begin().context("cannot keep the terminal from showing it")?;
    let one = |prompt: &str| {
        eprint!("{prompt}: ");
        let line = line(&mut stdin.lock()).context("no passphrase came");
        eprintln!();
        line
    };
    let passphrase = one(&format!("Passphrase, {SHORTEST_PASSPHRASE} characters or more"))?;
    if twice {
        ensure!(one("The same again")? == passphrase, "these were two passphrases");
    }
    Ok(passphrase)
}
