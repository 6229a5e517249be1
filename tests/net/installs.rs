//! A machine is installed once: when it has the answers that erase its disk, its next start is from that disk, whichever way it
//! asks, until an operator wants it otherwise.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};

use crate::{keeper::Keeper, stage::Stage};

const LIMIT: Duration = Duration::from_secs(30);
/// The cable's client end is the first node, wherever it looks.
const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
probe-first = false

[[nodes]]
name = "one"
mac = "52:54:00:00:00:11"
address = "10.77.0.50"
profile = "debian-installer"
install-to = "/dev/sda"

[[nodes]]
name = "two"
mac = "52:54:00:00:00:12"
address = "10.77.0.12"
profile = "debian-installer"
install-to = "/dev/sda"
"#;
const ANSWERS: &str = "http://10.77.0.1/node/52-54-00-00-00-11/preseed.cfg";
/// What a node asks for, and what it finds there while it is to be installed, and once it is.
const PAGES: [(&str, &str, &str); 3] = [
    (
        "http://10.77.0.1/ipxe?mac=52-54-00-00-00-1",
        "goto profile-debian-installer\n",
        "goto profile-local-disk\n",
    ),
    (
        "tftp://10.77.0.1/pxelinux.cfg/01-52-54-00-00-00-1",
        "DEFAULT debian-installer\n",
        "DEFAULT local-disk\n",
    ),
    (
        "tftp://10.77.0.1/grub/grub.cfg-01-52-54-00-00-00-1",
        "set default=debian-installer\n",
        "set default=local-disk\n",
    ),
];

pub(crate) fn once() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let keeper = Keeper::new(&stage)?;
    let kept = keeper.keep("lab-stated")?;
    let curl = |words: &[&str]| keeper.curl(words);
    let starts = |node: &str, is_installed: bool| -> Result<bool> {
        for (page, before, after) in PAGES {
            let text = curl(&[&format!("{page}{node}")])?;
            let (expect, other) = if is_installed { (after, before) } else { (before, after) };
            if !text.contains(expect) || text.contains(other) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let says = |words: &[&str], expect: &str| keeper.says("install", words, expect);

    // Whoever only looks installs nothing: no more does another machine that looks at a node's answers.
    curl(&["--head", ANSWERS])?;
    curl(&[&ANSWERS.replace("00-11", "00-12")])?;
    ensure!(
        starts("1", false)? && starts("2", false)?,
        "a node is not installed although it was only looked at"
    );
    says(&[], "one   /dev/sda  is installed, and its disk ERASED\n")?;

    // By any of the names that they have.
    let answers = curl(&["http://10.77.0.1/generic?mac=52-54-00-00-00-11"])?;
    ensure!(answers.contains("string /dev/sda\n"), "the answers name no disk:\n{answers}");
    let end = std::time::Instant::now() + LIMIT;
    while !starts("1", true)? {
        ensure!(std::time::Instant::now() < end, "a node is installed twice");
        std::thread::sleep(Duration::from_millis(20));
    }
    ensure!(starts("2", false)?, "another node is not installed any more");
    says(&[], "one   /dev/sda  starts from its disk\ntwo   /dev/sda  is installed, and its disk ERASED\n")?;
    // The installer that runs may ask again. By hand it can be had at any time, and then asks about every disk.
    curl(&[ANSWERS])?;
    let menu = curl(&["http://10.77.0.1/ipxe?mac=52-54-00-00-00-11"])?;
    ensure!(menu.contains("profile-debian-installer Install") && !menu.contains("preseed.cfg"), "{menu}");

    // It outlives whoever wrote it down.
    drop(kept);
    ensure!(starts("1", true)?, "a node is installed twice without its state's keeper");
    let kept = keeper.keep("lab-stated-again")?;
    says(&["one"], "one is installed at its next start from the network, and its /dev/sda ERASED\n")?;
    ensure!(starts("1", false)?, "a node is not installed again although an operator said so");
    let text = fs::read_to_string(stage.path("log/events.jsonl"))?;
    for stage in ["installed", "armed"] {
        let told = |line: &str| line.contains(&format!("\"stage\":\"{stage}\"")) && line.contains("\"one\"");
        ensure!(text.lines().any(told), "{stage:?} is not in the log:\n{text}");
    }
    drop(kept);

    // A damaged file erases no disk, neither before nor after it is found.
    fs::write(&keeper.state, "[installed")?;
    ensure!(starts("1", true)? && starts("2", true)?, "a damaged file has a node installed");
    let kept = keeper.keep("lab-stated-mends")?;
    ensure!(starts("1", true)? && starts("2", true)?, "a mended file has a node installed");
    ensure!(fs::read_to_string(&keeper.state)?.contains("[installed.\"two\"]"), "the file was not mended");
    drop(kept);

    // A card that cannot remember installs nothing by itself.
    fs::write(stage.path("card.json"), r#"{"data": {"state": "corrupt"}}"#)?;
    let _kept = keeper.keep("lab-stated-forgetful")?;
    ensure!(starts("1", true)? && starts("2", true)?, "a node is installed that will be installed again");
    says(&["one"], "refused: nothing is installed by itself while the card cannot remember it: ")?;
    Ok(())
}
