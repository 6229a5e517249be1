//! Packages of the lock that the archives have no more.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use pilotlight_archive::{
    LockedPackage,
    testing::{Content, Deb, Server, Signer, Site, Suite},
};
use pilotlight_tests::{
    desk::{Desk, LIMIT, own},
    process,
};

use crate::mirror::place;

/// The package that is dropped. The builder does nothing with it but unpack it.
const DROPPED: &str = "libzstd1";

/// What the mirror of the layer has, but for one package; and that package.
fn without(desk: &Desk) -> Result<(&LockedPackage, Site, Content)> {
    let package = desk.package(DROPPED)?;
    desk.fill_cache(&[package])?;
    let mut site = desk.site()?;
    let content = site.remove(&place(package)).context("the package is not in the layer's cache")?;
    Ok((package, site, content))
}

/// The snapshot archive has it: the same image, and the lock stays.
pub(crate) fn in_snapshot() -> Result<()> {
    let desk = Desk::new()?;
    let (package, site, content) = without(&desk)?;
    let server = Server::start(site);
    let published = package.origin.snapshots().next().context("the lock has a release without a date")?;
    let path = format!("snapshot/debian/{published}/{}", package.path);
    let snapshot = Server::start(Site::from([(path.clone(), content)]));
    let mut builder = desk.image_builder(Some(&server))?;
    builder.arg("--locked").env("PILOTLIGHT_SNAPSHOT", snapshot.mirror("snapshot/debian"));
    desk.succeeds(&mut builder, &format!("{}: taken from the snapshot archive", package.title()))?;
    ensure!(snapshot.take_log() == [path], "the snapshot archive was asked for something else");
    desk.makes_image(None)
}

/// Nobody has it: `--locked` says so, and without it the newer one is taken, and nothing else is another.
pub(crate) fn replaced() -> Result<()> {
    let desk = Desk::new()?;
    let (package, mut site, _) = without(&desk)?;
    let (lock, base) = (desk.path("workspace/pilotlight.lock"), desk.path("workspace/bases"));
    own(&base)?;
    own(&lock)?;
    let before = fs::read_to_string(&lock).context("could not read the lock")?;
    let signer = Signer::new();
    trust(&base, &signer)?;
    let newer = Deb::new(DROPPED, "1:9", &package.architecture)
        .with_fields("Multi-Arch: same\nMaintainer: Test <test@example.org>\nDescription: newer\n");
    Suite::new(&package.origin.suite, vec![newer]).publish(&signer, &mut site);
    let server = Server::start(site);
    let address = format!("{}/{}", server.mirror(&package.origin.archive), package.path);
    desk.fails(
        desk.image_builder(Some(&server))?.arg("--locked"),
        &[
            &format!("the archives do not have {} any more:", package.title()),
            &address,
            "does not have it (404)",
            "`cargo xtask lock --update NAME`",
            "--mirror",
            "--snapshot",
        ],
    )?;
    let after = fs::read_to_string(&lock).context("could not read the lock")?;
    ensure!(after == before, "--locked changed the lock");

    let text = process::must(&mut desk.image_builder(Some(&server))?, LIMIT)?.text;
    let change = format!("  {} {} -> 1:9 (", package.qualified(), package.version);
    for expect in ["warning: no mirror has these packages", &change, "warning: look at the change"] {
        ensure!(text.contains(expect), "{expect:?} was not said:\n{text}");
    }
    let changed = text.lines().filter(|line| line.starts_with("  ") && line.contains(" -> ")).count();
    ensure!(changed == 1, "{changed} packages were replaced:\n{text}");
    let after = fs::read_to_string(&lock).context("could not read the lock")?;
    ensure!(!after.contains(&package.path) && after.contains("1:9"), "the lock is\n{after}");
    // What it is now is what it says: nobody has to be asked again.
    process::must(desk.image_builder(None)?.arg("--locked"), LIMIT).map(drop)
}

/// Replaces the keys of the base by that of the test.
fn trust(base: &std::path::Path, signer: &Signer) -> Result<()> {
    let path = base.join("debian/archives.toml");
    let text = fs::read_to_string(&path).context("could not read archives.toml")?;
    let (head, rest) = text.split_once("[archives.debian]").context("there is no archive debian")?;
    let (own, rest) = rest.split_once("keys = [").context("the archive has no keys")?;
    let (_, rest) = rest.split_once("\n]").context("the keys have no end")?;
    let key = format!("{{ fingerprint = \"{}\", file = \"keys/test.asc\" }}", signer.fingerprint());
    fs::write(&path, format!("{head}[archives.debian]{own}keys = [{key}]{rest}"))
        .and_then(|()| fs::write(base.join("debian/keys/test.asc"), signer.armoured()))
        .context("could not write the base")
}
