//! A mirror that does everything wrong, and what becomes of it.

use std::{collections::BTreeMap, error::Error as _, fs, path::Path, time::Duration};

use pilotlight_archive::{
    Archives, Error, FetchError, Lock,
    testing::{Content, Deb, Server, Signer, Site, Suite, Trouble, archives_toml},
};
use pilotlight_fetch::{Cache, Fault, Patience, Show};

/// 21 November 2026, a few hours after the test suites' Release.
const NOW: i64 = 1_795_250_000;
const SETS: &str = "[sets.small]\nsuites = [\"test\"]\narchitectures = [\"armhf\"]\npackages = [\"top\"]\n";
const IN_RELEASE: &str = "debian/dists/test/InRelease";

/// A base folder, a cache, a mirror with two packages.
struct Scene {
    folder: tempfile::TempDir,
    signer: Signer,
    server: Server,
    packages: Vec<Deb>,
}

impl Scene {
    fn new() -> Self {
        // 300 kB of noise, so that neither xz nor a socket buffer swallows it whole.
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(300_000)
        .collect();
        let packages = vec![
            Deb::new("top", "2-1", "armhf")
                .with_fields("Depends: base (>= 1)\n")
                .with_file("usr/share/top/noise", noise),
            Deb::new("base", "1:1.0", "all"),
        ];
        let signer = Signer::new();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key.asc"), signer.armoured()).unwrap();
        fs::write(folder.path().join("archives.toml"), archives_toml(&signer, &["test"], SETS)).unwrap();
        let scene = Self { folder, server: Server::start(Site::new()), signer, packages };
        scene.server.serve(scene.site(&scene.suite(), &scene.signer));
        scene
    }

    fn suite(&self) -> Suite {
        Suite::new("test", self.packages.clone())
    }

    fn site(&self, suite: &Suite, signer: &Signer) -> Site {
        let mut site = Site::new();
        suite.publish(signer, &mut site);
        site
    }

    fn path(&self, package: usize) -> String {
        format!("debian/{}", self.packages[package].path())
    }

    fn cache(&self) -> Cache {
        Cache::at(self.folder.path().join("cache")).unwrap()
    }

    fn archives(&self) -> Archives {
        self.archives_at(&[self.server.mirror("debian")])
    }

    fn archives_at(&self, mirrors: &[String]) -> Archives {
        let mirrors = BTreeMap::from([("debian".to_owned(), mirrors.to_vec())]);
        let patience = Patience {
            stall: Duration::from_millis(300),
            slowest: 100,
            rounds: 2,
            pause: Duration::from_millis(1),
        };
        Archives::open(self.folder.path(), mirrors, self.cache())
            .unwrap()
            .with_patience(patience)
            .with_show(Show::Nothing)
    }

    fn lock(&self) -> Lock {
        self.archives().lock(NOW).unwrap()
    }

    /// The lock fails, and its message holds all of `expect`.
    fn lock_fails(&self, expect: &[&str]) -> Error {
        let fault = self.archives().lock(NOW).unwrap_err();
        says(&fault, expect);
        fault
    }

    /// Fetching fails, and its message holds all of `expect`; nothing wrong is in the cache.
    fn fetch_fails(&self, lock: &Lock, expect: &[&str]) -> Fault {
        let fault = self.archives().fetch(lock, &["small"]).unwrap_err();
        says(&fault, expect);
        for entry in fs::read_dir(self.cache().root().join("objects")).unwrap() {
            let path = entry.unwrap().path();
            let digest = pilotlight_fetch::Digest::of(fs::read(&path).unwrap()).to_string();
            assert_eq!(path.file_name().unwrap().to_str(), Some(digest.as_str()));
        }
        match fault {
            Error::Fetch(FetchError::Mirrors { mut attempts, .. }) => attempts.remove(0).fault,
            other => panic!("{other:?}"),
        }
    }

    fn unpacks(&self, lock: &Lock) {
        let packages = self.archives().packages(lock, "small").unwrap();
        let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["base", "top"]);
    }
}

fn says(fault: &Error, expect: &[&str]) {
    let mut message = fault.to_string();
    let mut source = fault.source();
    while let Some(inner) = source {
        message += &format!(": {inner}");
        source = inner.source();
    }
    for part in expect {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn from_nothing_to_packages() {
    let scene = Scene::new();
    let lock = scene.lock();
    assert_eq!(Lock::parse(&lock.render()).unwrap(), lock);
    assert_eq!(scene.archives().missing(&lock, "small").unwrap().len(), 2);
    scene.archives().fetch(&lock, &["small"]).unwrap();
    scene.unpacks(&lock);
    // All is here now: nobody is asked again.
    scene.server.take_log();
    scene.archives().fetch(&lock, &["small"]).unwrap();
    scene.unpacks(&lock);
    assert!(scene.server.take_log().is_empty());
    assert!(scene.archives().missing(&lock, "small").unwrap().is_empty());
    // The same again is the same again.
    assert_eq!(scene.lock().render(), lock.render());
}

#[test]
fn a_changed_spec_makes_the_lock_stale() {
    let scene = Scene::new();
    let lock = scene.lock();
    let changed = SETS.replace("\"top\"", "\"base\"");
    fs::write(scene.folder.path().join("archives.toml"), archives_toml(&scene.signer, &["test"], &changed))
        .unwrap();
    let fault = scene.archives().fetch(&lock, &["small"]).unwrap_err();
    says(&fault, &["small", "cargo xtask lock"]);
    says(
        &scene.archives().fetch(&lock, &["smal"]).unwrap_err(),
        &["no set \"smal\"", "did you mean `small`?"],
    );
}

#[test]
fn a_tampered_release() {
    let scene = Scene::new();
    let mut site = scene.site(&scene.suite(), &scene.signer);
    let text = String::from_utf8(site[IN_RELEASE].read()).unwrap();
    site.insert(
        IN_RELEASE.into(),
        Content::Bytes(text.replacen("Suite: test", "Suite: best", 1).into_bytes()),
    );
    scene.server.serve(site);
    scene.lock_fails(&[
        "the Release of test",
        IN_RELEASE,
        "does not fit",
        &scene.signer.fingerprint(),
        "--mirror",
    ]);
}

#[test]
fn a_stranger_signs() {
    let scene = Scene::new();
    let stranger = Signer::new();
    scene.server.serve(scene.site(&scene.suite(), &stranger));
    scene.lock_fails(&["none of the pinned keys", &stranger.fingerprint()]);
}

#[test]
fn nobody_signs() {
    let scene = Scene::new();
    let mut site = scene.site(&scene.suite(), &scene.signer);
    site.insert(IN_RELEASE.into(), Content::Bytes(scene.suite().release().into_bytes()));
    scene.server.serve(site);
    scene.lock_fails(&["not an OpenPGP signed text"]);
}

#[test]
fn a_stale_release() {
    let scene = Scene::new();
    let suite = Suite { valid_until: Some("Fri, 20 Nov 2026 00:00:00 UTC".into()), ..scene.suite() };
    scene.server.serve(scene.site(&suite, &scene.signer));
    scene.lock_fails(&["valid until Fri, 20 Nov 2026 00:00:00 UTC only", "stale"]);
    let suite = Suite { valid_until: Some("Sun, 22 Nov 2026 00:00:00 UTC".into()), ..scene.suite() };
    scene.server.serve(scene.site(&suite, &scene.signer));
    scene.lock();
}

#[test]
fn another_suite_than_asked() {
    let scene = Scene::new();
    let mut site = scene.site(&scene.suite(), &scene.signer);
    let other = Suite::new("other", scene.packages.clone());
    site.insert(
        IN_RELEASE.into(),
        Content::Bytes(scene.signer.sign(&other.release().replace("Suite: test", "Suite: x"))),
    );
    scene.server.serve(site);
    scene.lock_fails(&["\"other\", asked was \"test\""]);
}

#[test]
fn an_index_that_is_not_the_signed_one() {
    let scene = Scene::new();
    let mut site = scene.site(&scene.suite(), &scene.signer);
    let older = Suite::new("test", vec![Deb::new("top", "1", "armhf")]);
    let stale = scene.site(&older, &scene.signer)["debian/dists/test/main/binary-armhf/Packages.xz"].clone();
    site.retain(|path, _| !path.contains("by-hash"));
    site.insert("debian/dists/test/main/binary-armhf/Packages.xz".into(), stale);
    scene.server.serve(site);
    scene.lock_fails(&["the index of test main for armhf", "instead of", "is being updated, or stale"]);
}

#[test]
fn a_package_that_there_is_not() {
    let scene = Scene::new();
    let changed = SETS.replace("\"top\"", "\"topp\"");
    fs::write(scene.folder.path().join("archives.toml"), archives_toml(&scene.signer, &["test"], &changed))
        .unwrap();
    scene.lock_fails(&["no package topp in test", "did you mean `top`?"]);
}

#[test]
fn a_tampered_package() {
    let scene = Scene::new();
    let lock = scene.lock();
    scene.server.trouble(&scene.path(0), Trouble::Flip);
    let fault =
        scene.fetch_fails(&lock, &["top 2-1 (armhf)", &scene.path(0), "tampered", "nothing of it was kept"]);
    assert!(matches!(fault, Fault::Tampered { .. }), "{fault:?}");
    scene.server.heal();
    scene.archives().fetch(&lock, &["small"]).unwrap();
    scene.unpacks(&lock);
}

#[test]
fn a_package_of_another_size() {
    let scene = Scene::new();
    let lock = scene.lock();
    scene.server.trouble(&scene.path(0), Trouble::Longer(3));
    let fault = scene.fetch_fails(&lock, &["top 2-1 (armhf)", "another file"]);
    assert!(matches!(fault, Fault::Size { found: Some(_), .. }), "{fault:?}");
}

#[test]
fn a_package_that_is_gone() {
    let scene = Scene::new();
    let lock = scene.lock();
    scene.server.trouble(&scene.path(1), Trouble::Status(404));
    let fault = scene.archives().fetch(&lock, &["small"]).unwrap_err();
    says(&fault, &["base 1:1.0 (all)", "404", "cargo xtask lock --update"]);
    assert!(matches!(&fault, Error::Fetch(FetchError::Gone(files)) if files.len() == 1), "{fault:?}");
}

#[test]
fn a_mirror_that_stops_half_way() {
    let scene = Scene::new();
    let lock = scene.lock();
    // Each request gives 100 kB and breaks: with every one it is further on.
    scene.server.trouble(&scene.path(0), Trouble::Cut { after: 100_000, times: 2 });
    scene.server.take_log();
    scene.archives().fetch(&lock, &["small"]).unwrap();
    let log: Vec<_> = scene.server.take_log().into_iter().filter(|line| line.contains("top")).collect();
    let path = scene.path(0);
    assert_eq!(log, [path.clone(), format!("{path} from 100000"), format!("{path} from 200000")]);
    scene.unpacks(&lock);
}

#[test]
fn the_second_run_goes_on() {
    let scene = Scene::new();
    let lock = scene.lock();
    let path = scene.path(0);
    // It gives 100 kB once, and from then on nothing more.
    scene.server.trouble(&path, Trouble::Cut { after: 100_000, times: 1 });
    scene.archives().fetch(&lock, &["small"]).unwrap_or_default();
    let scene = Scene::new();
    let lock = scene.lock();
    let path = scene.path(0);
    scene.server.trouble(&path, Trouble::Busy { status: 503, times: 1_000 });
    scene.fetch_fails(&lock, &["status 503", "it goes on from what is already here"]);
    let half = lock.sets["small"].packages.iter().find(|package| package.name == "top").unwrap();
    let whole = scene.packages[0].build();
    fs::write(scene.cache().root().join("partial").join(half.sha256.to_string()), &whole[..123_456]).unwrap();
    scene.server.heal();
    scene.server.take_log();
    scene.archives().fetch(&lock, &["small"]).unwrap();
    assert!(scene.server.take_log().contains(&format!("{path} from 123456")));
    scene.unpacks(&lock);
}

#[test]
fn a_mirror_that_falls_silent() {
    let scene = Scene::new();
    let lock = scene.lock();
    scene.server.trouble(&scene.path(0), Trouble::Stall { after: 50_000, times: 1 });
    scene.server.take_log();
    scene.archives().fetch(&lock, &["small"]).unwrap();
    assert!(scene.server.take_log().contains(&format!("{} from 50000", scene.path(0))));
    scene.unpacks(&lock);
    let scene = Scene::new();
    let lock = scene.lock();
    scene.server.trouble(&scene.path(0), Trouble::Stall { after: 0, times: 1_000 });
    let fault = scene.fetch_fails(&lock, &["no byte came for 0.3 s"]);
    assert!(matches!(fault, Fault::Stalled(_)), "{fault:?}");
}

#[test]
fn a_mirror_that_only_drips() {
    let scene = Scene::new();
    let lock = scene.lock();
    let slow = Server::start(scene.site(&scene.suite(), &scene.signer));
    slow.trouble(&scene.path(0), Trouble::Drip(Duration::from_millis(20)));
    // Within the time in which a byte has to come there is always one, but the next mirror is quicker.
    let archives = scene.archives_at(&[slow.mirror("debian"), scene.server.mirror("debian")]);
    scene.server.take_log();
    archives.fetch(&lock, &["small"]).unwrap();
    let log = scene.server.take_log();
    assert!(log.len() == 1 && log[0].starts_with(&format!("{} from ", scene.path(0))), "{log:?}");
    scene.unpacks(&lock);
}

#[test]
fn a_mirror_that_sends_us_on() {
    let scene = Scene::new();
    let lock = scene.lock();
    let path = scene.path(0);
    let elsewhere = Server::start(scene.site(&scene.suite(), &scene.signer));
    scene.server.trouble(&path, Trouble::Redirect(elsewhere.mirror(&path)));
    // It breaks off there, and goes on from there.
    elsewhere.trouble(&path, Trouble::Cut { after: 100_000, times: 1 });
    scene.archives().fetch(&lock, &["small"]).unwrap();
    assert_eq!(elsewhere.take_log(), [path.clone(), format!("{path} from 100000")]);
    scene.unpacks(&lock);
    // In a circle.
    fs::remove_dir_all(scene.cache().root()).unwrap();
    scene.server.trouble(&path, Trouble::Redirect(scene.server.mirror(&path)));
    scene.fetch_fails(&lock, &["top 2-1 (armhf)", "too many redirects"]);
}

#[test]
fn a_dead_mirror_is_not_waited_for_again_and_again() {
    let mut scene = Scene::new();
    scene.packages.extend((0..40).map(|number| Deb::new(&format!("dep{number}"), "1", "all")));
    let depends = (0..40).map(|number| format!("dep{number}")).collect::<Vec<_>>().join(", ");
    scene.packages[1] = Deb::new("base", "2", "all").with_fields(&format!("Depends: {depends}\n"));
    scene.server.serve(scene.site(&scene.suite(), &scene.signer));
    let lock = scene.lock();
    let dead = Server::start(scene.site(&scene.suite(), &scene.signer));
    for package in &scene.packages {
        dead.trouble(&format!("debian/{}", package.path()), Trouble::Stall { after: 0, times: 1_000 });
    }
    let archives = scene.archives_at(&[dead.mirror("debian"), scene.server.mirror("debian")]);
    archives.fetch(&lock, &["small"]).unwrap();
    // Each of the eight transfers can have begun there before the first silence showed; and perhaps once more.
    let asked = dead.take_log().len();
    assert!((1..=16).contains(&asked), "it was asked for {asked} of 42 files");
}

#[test]
fn what_was_half_here_was_wrong() {
    let scene = Scene::new();
    let lock = scene.lock();
    let top = lock.sets["small"].packages.iter().find(|package| package.name == "top").unwrap();
    let partial = scene.cache().root().join("partial").join(top.sha256.to_string());
    for content in [vec![7; 1_000], vec![7; top.size as usize], vec![7; top.size as usize + 9]] {
        fs::write(&partial, content).unwrap();
        scene.archives().fetch(&lock, &["small"]).unwrap();
        scene.unpacks(&lock);
        fs::remove_file(scene.cache().object(&top.sha256)).unwrap();
    }
}

#[test]
fn a_mirror_without_ranges() {
    let scene = Scene::new();
    let lock = scene.lock();
    let top = lock.sets["small"].packages.iter().find(|package| package.name == "top").unwrap();
    for trouble in [Trouble::NoRanges, Trouble::WrongRange] {
        let whole = scene.packages[0].build();
        fs::write(scene.cache().root().join("partial").join(top.sha256.to_string()), &whole[..50_000])
            .unwrap();
        scene.server.trouble(&scene.path(0), trouble);
        scene.archives().fetch(&lock, &["small"]).unwrap();
        scene.unpacks(&lock);
        fs::remove_file(scene.cache().object(&top.sha256)).unwrap();
    }
}

#[test]
fn another_mirror_helps() {
    let scene = Scene::new();
    let lock = scene.lock();
    let bad = Server::start(scene.site(&scene.suite(), &scene.signer));
    for trouble in [
        Trouble::Flip,
        Trouble::Longer(1),
        Trouble::Status(404),
        Trouble::Status(500),
        Trouble::Cut { after: 10, times: 1_000 },
        Trouble::Stall { after: 10, times: 1_000 },
    ] {
        bad.trouble(&scene.path(0), trouble.clone());
        bad.trouble(IN_RELEASE, trouble);
        let mirrors =
            ["http://127.0.0.1:1/debian".into(), bad.mirror("debian"), scene.server.mirror("debian")];
        let archives = scene.archives_at(&mirrors);
        assert_eq!(archives.lock(NOW).unwrap(), lock);
        archives.fetch(&lock, &["small"]).unwrap();
        scene.unpacks(&lock);
        fs::remove_dir_all(scene.cache().root()).unwrap();
    }
}

#[test]
fn nobody_is_there() {
    let scene = Scene::new();
    let fault = scene.archives_at(&["http://127.0.0.1:1/debian".into()]).lock(NOW).unwrap_err();
    says(&fault, &["http://127.0.0.1:1/debian/dists/test/InRelease", "no connection", "check the network"]);
}

#[test]
fn two_builders_share_a_cache() {
    let scene = Scene::new();
    let lock = scene.lock();
    scene.server.take_log();
    std::thread::scope(|scope| {
        let run = || scene.archives().fetch(&lock, &["small"]).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    scene.unpacks(&lock);
    // Whoever came second waited instead of fetching it once more.
    let log = scene.server.take_log();
    assert_eq!(log.len(), 2, "{log:?}");
    assert_eq!(fs::read_dir(scene.cache().root().join("partial")).unwrap().count(), 0);
}

#[test]
fn damage_in_the_cache() {
    let scene = Scene::new();
    let lock = scene.lock();
    scene.archives().fetch(&lock, &["small"]).unwrap();
    scene.unpacks(&lock);
    let top = lock.sets["small"].packages.iter().find(|package| package.name == "top").unwrap();
    // What was unpacked is made anew from the package.
    let unpacked = scene.cache().root().join("unpacked").join(top.sha256.to_string());
    let good = fs::read(&unpacked).unwrap();
    let damage = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        fs::remove_file(&unpacked).unwrap();
        fs::write(&unpacked, bytes).unwrap();
        scene.unpacks(&lock);
        assert!(fs::read(&unpacked).unwrap() == good);
    };
    damage(|bytes| bytes[100_000] ^= 1);
    damage(|bytes| bytes.truncate(100_000));
    damage(Vec::clear);
    damage(|bytes| bytes.iter_mut().for_each(|byte| *byte = 0));
    // A package that changed is noticed before anything of it is used, and fetched anew.
    fs::remove_file(&unpacked).unwrap();
    flip(&scene.cache().object(&top.sha256));
    says(
        &scene.archives().packages(&lock, "small").unwrap_err(),
        &["top 2-1 (armhf)", "damaged", "run the same command again"],
    );
    scene.archives().fetch(&lock, &["small"]).unwrap();
    scene.unpacks(&lock);
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[1_000] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_key_file_of_somebody_else() {
    let scene = Scene::new();
    fs::write(scene.folder.path().join("key.asc"), Signer::new().armoured()).unwrap();
    let fault = Archives::open(scene.folder.path(), BTreeMap::new(), scene.cache()).unwrap_err();
    says(&fault, &["key.asc", &scene.signer.fingerprint(), "is pinned"]);
}
