//! The package database of a running Pi, asked with dpkg itself by root.

use anyhow::{Result, bail, ensure};
use pilotlight_emulator::{pi::Kind, scene::Scene};

use crate::{
    PATIENCE,
    card::{self, PI},
};

/// `dpkg --verify` has nothing to say: every file of every package is there, as it was shipped. That it can speak is
/// shown by a copy of the database in which one digest is wrong.
pub(crate) fn verified() -> Result<()> {
    let mut scene = card::scene("virt-package-database")?;
    let card = card::of_image(&scene)?;
    card::start_shell(&mut scene, Kind::Virt, "ttyAMA0", &card)?;

    for command in ["dpkg --verify", "dpkg --audit"] {
        let said = asked(&mut scene, command)?;
        ensure!(said == ["status 0"], "{command}: {}", said.join("\n"));
    }
    let said = asked(&mut scene, r"dpkg-query -W -f '${db:Status-Abbrev}\n' | sort | uniq -c")?;
    let words: Vec<&str> = said.iter().flat_map(|line| line.split_whitespace()).collect();
    let [count, "ii", "status", "0"] = words[..] else { bail!("{}", said.join("\n")) };
    ensure!(count.parse::<u32>().is_ok_and(|count| count > 80), "only {count} packages are installed");
    println!("{count} packages, every file as it was shipped");

    let damage = "cp -r /var/lib/dpkg/. /tmp/d; sed -i '/ usr.bin.stat$/s/^......../00000000/' /tmp/d/info/coreutils.md5sums";
    let said = asked(&mut scene, damage)?;
    ensure!(said == ["status 0"], "{}", said.join("\n"));
    let said = asked(&mut scene, "dpkg --admindir=/tmp/d --verify")?;
    let spoken = said.iter().any(|line| line.contains("/usr/bin/stat") && line.contains('5'));
    ensure!(spoken && said.len() == 2, "{}", said.join("\n"));
    card::tidy(scene)
}

/// What a command says, and its status.
pub(crate) fn asked(scene: &mut Scene, command: &str) -> Result<Vec<String>> {
    // The shell puts it together from two halves, so that what it echoes does not count.
    const MARK: &str = "said: ";
    let before = said(scene, MARK)?.len();
    let line = format!("{{ {command}; echo status $?; }} 2>&1 | sed 's/^/sa''id: /'\n");
    scene.type_text(PI, &line)?;
    scene.wait(PI, command, PATIENCE, |heard| {
        let last = heard.lines.iter().rev().find_map(|line| line.text.split_once(MARK));
        let count = heard.lines.iter().filter(|line| line.text.contains(MARK)).count();
        (count > before && last.is_some_and(|(_, text)| text.starts_with("status "))).then_some(())
    })?;
    Ok(said(scene, MARK)?.into_iter().skip(before).collect())
}

fn said(scene: &Scene, mark: &str) -> Result<Vec<String>> {
    Ok(scene.heard(PI, |heard| {
        let lines = heard.lines.iter().filter_map(|line| line.text.split_once(mark));
        lines.map(|(_, text)| text.trim_end().to_owned()).collect()
    })?)
}
