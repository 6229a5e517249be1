//! Mirrors that lie, lack something, break off or are not there.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use pilotlight_archive::{
    LockedPackage,
    testing::{Content, Deb, Server, Signer, Site, Suite, Trouble, archives_toml},
};
use pilotlight_fetch::Digest;

use pilotlight_tests::desk::{Desk, names, own};

/// Where a package is on the server.
pub(crate) fn place(package: &LockedPackage) -> String {
    format!("{}/{}", package.origin.archive, package.path)
}

/// One of two packages is spoilt: the other need not be fetched a second time.
pub(crate) fn tampered_package() -> Result<()> {
    const EXPECT: &[&str] =
        &["its SHA-256 is", "tampered with or damaged", "nothing of it was kept", "--mirror"];
    // The small one follows the large one: what is largest is asked for first.

    let desk = Desk::new()?;
    let (good, bad) = (desk.package("libc6")?, desk.package("netbase")?);
    desk.fill_cache(&[good, bad])?;
    let server = desk.mirror()?;
    server.trouble(&place(bad), Trouble::Flip);
    let address = format!("{}/{}", server.mirror(&bad.origin.archive), bad.path);
    let title = format!("cannot fetch {}:", bad.title());
    desk.fails(&mut desk.image_builder(Some(&server))?, &[&[title.as_str(), &address], EXPECT].concat())?;
    ensure!(!desk.cached("objects", bad).exists(), "a wrong file is in the cache");
    ensure!(server.take_log().contains(&place(bad)), "the mirror was not asked");
    let kept = ["objects", "partial"].map(|part| desk.cached(part, good));
    let kept = kept.iter().filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum::<u64>();

    server.heal();
    desk.makes_image(Some(&server))?;
    let log = server.take_log();
    // Both come at once, so the good one may have been stopped on its way, or have been there already.
    let mut rest = vec![place(bad)];
    match kept {
        0 => rest.push(place(good)),
        kept if kept < good.size => rest.push(format!("{} from {kept}", place(good))),
        _ => {}
    }
    rest.sort();
    ensure!(sorted(&log) == rest, "asked for {log:?} instead of {rest:?}");
    Ok(())
}

fn sorted(log: &[String]) -> Vec<String> {
    let mut log = log.to_vec();
    log.sort();
    log
}

pub(crate) fn half_way() -> Result<()> {
    const HALF: usize = 1_000_000;
    let desk = Desk::new()?;
    let package = desk.package("systemd")?;
    desk.fill_cache(&[package])?;
    let server = desk.mirror()?;
    server.trouble(&place(package), Trouble::Ends(HALF));
    let title = format!("cannot fetch {}", package.title());
    desk.fails(
        &mut desk.image_builder(Some(&server))?,
        &[
            &title,
            &server.mirror(&package.origin.archive),
            "the same command again: it goes on from what is already here",
        ],
    )?;
    let log = server.take_log();
    let resumed = format!("{} from {HALF}", place(package));
    ensure!(log.len() > 2 && log[1..].iter().all(|line| *line == resumed), "it was asked for {log:?}");

    server.heal();
    desk.makes_image(Some(&server))?;
    let log = server.take_log();
    ensure!(log == [resumed], "it was asked for {log:?}");
    Ok(())
}

pub(crate) fn nobody() -> Result<()> {
    let desk = Desk::new()?;
    let package = desk.package("netbase")?;
    desk.fill_cache(&[package])?;
    let title = format!("cannot fetch {}", package.title());
    desk.fails(
        &mut desk.image_builder(None)?,
        &[&title, "http://127.0.0.1:9/debian/pool/", "no connection", "check the network"],
    )?;
    desk.makes_image(Some(&desk.mirror()?))
}

/// `lock` takes nothing from a Release that its signature does not fit, and leaves the lock alone.
pub(crate) fn tampered_release() -> Result<()> {
    const RELEASE: &str = "debian/dists/test/InRelease";
    const SETS: &str =
        "[sets.small]\nsuites = [\"test\"]\narchitectures = [\"armhf\"]\npackages = [\"top\"]\n";
    let desk = Desk::new()?;
    let (signer, base) = (Signer::new(), desk.path("workspace/bases"));
    own(&base)?;
    own(&desk.path("workspace/pilotlight.lock"))?;
    let write = |name: &str, text: String| {
        fs::write(base.join("debian").join(name), text).with_context(|| format!("could not write {name}"))
    };
    write("archives.toml", archives_toml(&signer, &["test"], SETS))?;
    write("key.asc", signer.armoured())?;
    let suite = |version: &str| {
        let top = Deb::new("top", version, "armhf").with_fields("Depends: base\n");
        let mut site = Site::new();
        Suite::new("test", vec![top, Deb::new("base", "1", "all")]).publish(&signer, &mut site);
        site
    };
    let lock =
        || fs::read_to_string(desk.path("workspace/pilotlight.lock")).context("could not read the lock");
    let server = Server::start(suite("1"));
    let mut builder = desk.builder(&["lock", "--update"], None)?;
    builder.env("PILOTLIGHT_MIRROR", server.mirror("debian"));
    desk.succeeds(&mut builder, "top")?;
    let before = lock()?;
    ensure!(before.contains("name = \"top\""), "the lock is\n{before}");

    let mut site = suite("2");
    let text = String::from_utf8(site[RELEASE].read()).context("the Release is no text")?;
    site.insert(RELEASE.into(), Content::Bytes(text.replacen("Suite: test", "Suite: best", 1).into()));
    server.serve(site);
    server.take_log();
    let address = format!("{}/dists/test/InRelease", server.mirror("debian"));
    desk.fails(
        &mut builder,
        &["the Release of test", &address, &signer.fingerprint(), "nothing was believed", "--mirror"],
    )?;
    ensure!(lock()? == before, "the lock was changed");
    let log = server.take_log();
    ensure!(log == [RELEASE], "it was asked for {log:?}");

    server.serve(suite("2"));
    desk.succeeds(&mut builder, "top:armhf 1 -> 2 (small)")?;
    ensure!(lock()?.contains("version = \"2\""), "the lock is\n{}", lock()?);
    // What lies in the cache is what its name says.
    let objects = desk.path("cache/objects");
    for name in names(&objects)? {
        let content = fs::read(objects.join(&name)).context("could not read the cache")?;
        ensure!(Digest::of(&content).to_string() == name, "{name} is another file");
    }
    Ok(())
}
