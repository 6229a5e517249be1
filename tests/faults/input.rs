//! Mistakes of the person at the desk.

use std::fs;

use anyhow::{Context as _, Result};

use pilotlight_tests::desk::{Desk, own};

pub(crate) fn unknown_board() -> Result<()> {
    let desk = Desk::new()?;
    let mut builder = desk.image_builder(None)?;
    desk.fails(builder.args(["--board", "rpi-3"]), &["no board \"rpi-3\"", "did you mean", "rpi3"])?;
    Ok(())
}

const LAB: &str = r#"[network]
address = "10.77.0.1/33"
lease = "1 fortnight"
probe-frist = true

[[nodes]]
name = "node1"
mac = "52:54:00:12:34"
address = "10.77.0.11"
profile = "debian-instaler"
"#;
const MISTAKES: &[&str] = &[
    "error: network.address: /33 is no length",
    "error: network.lease: \"1 fortnight\" is no duration",
    "write a number and s, m, h or d",
    "error: network.probe-frist: there is no such key",
    "did you mean `probe-first`?",
    "error: nodes[1].mac: \"52:54:00:12:34\" is no hardware address",
    "error: nodes[1].profile: there is no profile \"debian-instaler\"",
    "did you mean `debian-installer`?",
    "lab.toml:10:11",
    "lab.toml: 5 problems",
];

pub(crate) fn five_mistakes() -> Result<()> {
    let desk = Desk::new()?;
    desk.borrow_roots()?;
    let lab = desk.path("lab.toml");
    fs::write(&lab, LAB).context("could not write the lab")?;
    for verb in [["check"].as_slice(), &["image", "--lab"]] {
        let mut builder = desk.builder(verb, None)?;
        builder.arg(&lab);
        if verb != ["check"] {
            builder.arg("--out").arg(desk.image());
        }
        let said = desk.refused(&mut builder, MISTAKES)?;
        let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
        anyhow::ensure!(errors == 5, "{errors} mistakes were told:\n{said}");
    }
    let mended = LAB
        .replace("/33", "/24")
        .replace("1 fortnight", "7d")
        .replace("frist", "first")
        .replace("12:34", "12:34:56")
        .replace("instaler", "installer");
    fs::write(&lab, mended).context("could not write the lab")?;
    desk.succeeds(desk.builder(&["check"], None)?.arg(&lab), "good: 1 machine named")?;
    desk.succeeds(desk.image_builder(None)?.arg("--lab").arg(&lab), "card.img")
}

/// `archives.toml` asks for something else than the lock has.
pub(crate) fn stale_lock() -> Result<()> {
    let desk = Desk::new()?;
    own(&desk.path("workspace/bases"))?;
    let path = desk.path("workspace/bases/debian/archives.toml");
    let text = fs::read_to_string(&path).context("could not read archives.toml")?;
    fs::write(&path, text.replacen("    \"netbase\",\n", "", 1)).context("could not write archives.toml")?;
    desk.fails(&mut desk.image_builder(None)?, &["root", "cargo xtask lock"])?;
    Ok(())
}
