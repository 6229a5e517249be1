//! Systems that other projects release, on a card: found, verified, locked beside the lab, and put where the Pi serves
//! them. A server on the loopback interface has them in the layout of Flatcar's, signed by a key of the scene.

use std::{
    fs::{self, File},
    io::{Seek as _, SeekFrom},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_disk::layout::DATA_IMAGE;
use pilotlight_fetch::{Digest, testing::Trouble};
use pilotlight_tests::{
    desk::{Desk, LIMIT},
    process::must,
    releases::{Flatcar, INITRD, KERNEL},
    surroundings::Tools,
};

pub(crate) fn systems() -> Result<()> {
    let (desk, mut flatcar) = (Desk::new()?, Flatcar::new());
    desk.borrow_roots()?;
    desk.fill_cache(&[])?;
    flatcar.release("4230.2.1", 1);
    flatcar.put("own/tool", b"a tool");
    let sources = desk.path("out/sources.toml");
    fs::write(&sources, flatcar.sources()).context("could not write the sources")?;
    let lab = desk.path("out/my.toml");
    fs::write(
        &lab,
        format!(
            "[network]\naddress = \"10.77.0.1/24\"\n[profiles.flatcar]\nkind = \"flatcar\"\n\
             [[nodes]]\nname = \"one\"\nmac = \"52:54:00:77:00:11\"\naddress = \"10.77.0.11\"\nprofile = \"flatcar\"\n\
             [mirror]\nurls = [{{ url = \"{}\", sha256 = \"{}\" }}]\n",
            flatcar.server().mirror("own/tool"),
            Digest::of("a tool"),
        ),
    )
    .context("could not write the lab")?;

    let verb = |verb: &[&str]| -> Result<Command> {
        let mut command = desk.builder(verb, None)?;
        command.arg("--lab").arg(&lab);
        Ok(command)
    };
    let mirror = |more: &[&str]| -> Result<Command> {
        let mut command = verb(&[&["mirror"], more].concat())?;
        command.arg("--sources").arg(&sources);
        Ok(command)
    };
    let image = || -> Result<Command> {
        let mut command = verb(&["image"])?;
        command.arg("--out").arg(desk.image());
        Ok(command)
    };

    // Nothing is believed that is not as it was signed, and no lock is begun.
    flatcar.trouble("4230.2.1", KERNEL, Trouble::Flip);
    desk.refused(&mut mirror(&[])?, &["Flatcar 4230.2.1", KERNEL, "does not fit", "nothing of it was kept"])?;
    ensure!(!desk.path("out/my.lock").exists(), "a lock was written");
    desk.succeeds(&mut image()?, "Flatcar stable for amd64 is not on the card (`cargo xtask mirror`)")?;

    flatcar.server().heal();
    desk.succeeds(&mut mirror(&[])?, "Flatcar stable for amd64: 4230.2.1, new")?;
    desk.succeeds(&mut mirror(&[])?, "nothing changed")?;
    // Another version is out: it is taken when that is said, and not before.
    flatcar.release("4230.2.2", 1);
    desk.succeeds(&mut mirror(&[])?, "nothing changed")?;
    desk.succeeds(&mut mirror(&["--update", "flatcar"])?, "4230.2.1 -> 4230.2.2")?;

    // The card is made of the lock alone, and fetches what the cache has lost.
    let kernel = Flatcar::content(KERNEL, "4230.2.2");
    let object = desk.path("cache/objects").join(Digest::of(&kernel).to_string());
    fs::remove_file(&object).with_context(|| format!("could not remove {}", object.display()))?;
    desk.succeeds(&mut image()?, "Flatcar 4230.2.2 for amd64 (stable)")?;
    let index = on_data(&desk, "/assets/index.toml")?;
    let index = String::from_utf8_lossy(&index);
    ensure!(
        index.contains("version = \"4230.2.2\"") && !index.contains("4230.2.1"),
        "the index is:\n{index}"
    );
    for (path, expected) in [
        (format!("/assets/flatcar/4230.2.2/amd64/{KERNEL}"), kernel),
        (format!("/assets/flatcar/4230.2.2/amd64/{INITRD}"), Flatcar::content(INITRD, "4230.2.2")),
        ("/assets/files/tool".to_owned(), b"a tool".to_vec()),
    ] {
        ensure!(on_data(&desk, &path)? == expected, "{path} on the card is another file");
    }
    Ok(())
}

/// A file of the card's data partition.
fn on_data(desk: &Desk, path: &str) -> Result<Vec<u8>> {
    let partition = desk.path("out/data.ext4");
    let copy = || {
        let mut image = File::open(desk.image())?;
        image.seek(SeekFrom::Start(DATA_IMAGE.start))?;
        std::io::copy(&mut image, &mut File::create(&partition)?)
    };
    copy().context("could not copy the data partition")?;
    let file = desk.path("out/file");
    let mut debugfs = Command::new(Tools::checkers()?.program("debugfs")?);
    let dump = format!("dump {path} {}", file.display());
    must(debugfs.args(["-R", &dump]).arg(&partition), LIMIT)?;
    fs::read(&file).with_context(|| format!("the data partition has no {path}"))
}
