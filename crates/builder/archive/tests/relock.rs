//! A lock that changes as little as it must, and packages that are nowhere to be had any more.

use std::{collections::BTreeMap, fs, time::Duration};

use pilotlight_archive::{
    Archives, Error, FetchError, Lock, Update,
    testing::{Content, Deb, Server, Signer, Site, Suite, Trouble, archives_toml},
};
use pilotlight_fetch::{Cache, Patience, Show};

/// 21 November 2026, a few hours after the test suites' Release.
const NOW: i64 = 1_795_250_000;
/// 12 September 2026 and 21 November 2026.
const OLD: &str = "Sat, 12 Sep 2026 07:55:41 UTC";
const NEW: &str = "Sat, 21 Nov 2026 00:53:03 UTC";
const SETS: &str = r#"
[sets.one]
suites = ["test"]
architectures = ["armhf"]
packages = ["top"]
[sets.two]
suites = ["test"]
architectures = ["armhf"]
packages = ["base", "side"]
"#;
const INDEX: &str = "debian/dists/test/main/binary-armhf/Packages.xz";

/// A base folder, a cache, a mirror and a snapshot archive.
struct Scene {
    folder: tempfile::TempDir,
    signer: Signer,
    server: Server,
    snapshot: Server,
}

impl Scene {
    fn new() -> Self {
        let signer = Signer::new();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key.asc"), signer.armoured()).unwrap();
        let scene =
            Self { folder, signer, server: Server::start(Site::new()), snapshot: Server::start(Site::new()) };
        scene.ask(SETS);
        scene.server.serve(scene.site(OLD, &old()));
        scene
    }

    fn ask(&self, sets: &str) {
        let text = archives_toml(&self.signer, &["test"], sets);
        fs::write(self.folder.path().join("archives.toml"), text).unwrap();
    }

    fn site(&self, date: &str, packages: &[Deb]) -> Site {
        let mut site = Site::new();
        Suite::new("test", packages.to_vec()).dated(date).publish(&self.signer, &mut site);
        site
    }

    /// The mirror moves on: the indexes are new, and so are the packages; `dropped` are not there any more.
    fn moves_on(&self, dropped: &[&Deb]) {
        let mut site = self.site(OLD, &old());
        site.retain(|path, _| !path.contains("/dists/"));
        site.extend(self.site(NEW, &new()));
        for deb in dropped {
            site.remove(&format!("debian/{}", deb.path())).unwrap();
        }
        self.server.serve(site);
    }

    fn archives(&self) -> Archives {
        let mirrors = BTreeMap::from([("debian".to_owned(), vec![self.server.mirror("debian")])]);
        let snapshots = BTreeMap::from([("debian".to_owned(), vec![self.snapshot.mirror("snapshot")])]);
        let patience = Patience {
            stall: Duration::from_millis(300),
            slowest: 100,
            rounds: 2,
            pause: Duration::from_millis(1),
        };
        Archives::open(self.folder.path(), mirrors, Cache::at(self.folder.path().join("cache")).unwrap())
            .unwrap()
            .with_snapshots(snapshots)
            .with_patience(patience)
            .with_show(Show::Nothing)
    }

    fn relock(&self, old: &Lock, update: &Update) -> Lock {
        let lock = self.archives().relock(old, update, NOW).unwrap();
        assert_eq!(Lock::parse(&lock.render()).unwrap(), lock);
        lock
    }

    fn fetch(&self, lock: &Lock) -> Result<(), Error> {
        self.archives().fetch(lock, &["one", "two"])
    }

    fn forget(&self) {
        fs::remove_dir_all(self.folder.path().join("cache")).unwrap();
    }
}

fn top(version: &str) -> Deb {
    Deb::new("top", version, "armhf").with_fields("Depends: base (>= 1), twin\n")
}

/// Two packages of one source that have to be of one version.
fn twin(version: &str) -> [Deb; 2] {
    let fields = format!("Depends: twin-data (= {version})\n");
    [Deb::new("twin", version, "armhf").with_fields(&fields), Deb::new("twin-data", version, "all")]
}

fn all(version: &str) -> Vec<Deb> {
    let mut debs = vec![top(version), Deb::new("base", version, "armhf"), Deb::new("side", version, "armhf")];
    debs.extend(twin(version));
    debs.push(Deb::new("extra", version, "armhf").with_fields("Depends: base\n"));
    debs
}

fn old() -> Vec<Deb> {
    all("1")
}

fn new() -> Vec<Deb> {
    all("2")
}

/// Each set's packages as `name=version`.
fn versions(lock: &Lock, set: &str) -> String {
    let packages = lock.sets[set].packages.iter();
    packages.map(|package| format!("{}={}", package.name, package.version)).collect::<Vec<_>>().join(" ")
}

fn check(lock: &Lock, one: &str, two: &str) {
    assert_eq!((versions(lock, "one").as_str(), versions(lock, "two").as_str()), (one, two));
}

fn wishes(names: &[&str]) -> Update {
    Update::Packages(names.iter().map(|name| (*name).to_owned().try_into().unwrap()).collect())
}

const ONE: &str = "base=1 top=1 twin=1 twin-data=1";
const TWO: &str = "base=1 side=1";

#[test]
fn what_is_settled_stays() {
    let scene = Scene::new();
    let lock = scene.relock(&Lock::default(), &Update::Changed);
    check(&lock, ONE, TWO);
    scene.moves_on(&[]);
    scene.server.take_log();
    assert_eq!(scene.relock(&lock, &Update::Changed), lock);
    assert!(scene.server.take_log().is_empty(), "somebody was asked for nothing");
}

#[test]
fn a_set_that_changed() {
    let scene = Scene::new();
    let lock = scene.relock(&Lock::default(), &Update::Changed);
    scene.moves_on(&[]);
    scene.ask(&SETS.replace("\"side\"", "\"side\", \"extra\""));
    let changed = scene.relock(&lock, &Update::Changed);
    // What is new is the newest; what was locked stays, though no index names it any more.
    check(&changed, ONE, "base=1 extra=2 side=1");
    let dates: Vec<_> = changed.releases.iter().map(|release| release.origin.date.as_str()).collect();
    assert_eq!(dates, [OLD, NEW]);
    scene.fetch(&changed).unwrap();
    // And a set that is gone takes its packages along.
    scene.ask(SETS.split("[sets.two]").next().unwrap());
    let fewer = scene.relock(&changed, &Update::Changed);
    assert_eq!(fewer.sets.keys().collect::<Vec<_>>(), ["one"]);
    assert_eq!(fewer.releases.len(), 1);
}

#[test]
fn one_package_moves() {
    let scene = Scene::new();
    let lock = scene.lock_and_move();
    check(&scene.relock(&lock, &wishes(&["side"])), ONE, "base=1 side=2");
    check(&scene.relock(&lock, &wishes(&["base"])), "base=2 top=1 twin=1 twin-data=1", "base=2 side=1");
    // What has to move along does.
    check(&scene.relock(&lock, &wishes(&["twin-data"])), "base=1 top=1 twin=2 twin-data=2", TWO);
    check(
        &scene.relock(&lock, &wishes(&["twin:armhf", "side"])),
        "base=1 top=1 twin=2 twin-data=2",
        "base=1 side=2",
    );
    check(&scene.relock(&lock, &Update::All), "base=2 top=2 twin=2 twin-data=2", "base=2 side=2");
    let fault = scene.archives().relock(&lock, &wishes(&["twim"]), NOW).unwrap_err();
    assert_eq!(fault.to_string(), "no set of the lock has a package twim (did you mean `twin`?)");
}

#[test]
fn nothing_newer_is_nothing_new() {
    let scene = Scene::new();
    let lock = scene.relock(&Lock::default(), &Update::Changed);
    assert_eq!(scene.relock(&lock, &wishes(&["side", "base"])), lock);
    assert_eq!(scene.relock(&lock, &Update::All), lock);
}

#[test]
fn an_index_that_cannot_be_had_is_replaced_by_the_locked_one() {
    let scene = Scene::new();
    let lock = scene.relock(&Lock::default(), &Update::Changed);
    scene.moves_on(&[]);
    // The Release is new, its index is not there yet.
    scene.server.trouble(INDEX, Trouble::Flip);
    scene.ask(&SETS.replace("\"side\"", "\"side\", \"extra\""));
    let without_hashes =
        |site: Site| -> Site { site.into_iter().filter(|(path, _)| !path.contains("by-hash")).collect() };
    let mut site = without_hashes(scene.site(OLD, &old()));
    site.extend(without_hashes(scene.site(NEW, &new())));
    scene.server.serve(site);
    check(&scene.relock(&lock, &Update::Changed), ONE, "base=1 extra=1 side=1");
    // Nothing newer comes out of an old index, so an update has to say why it cannot be.
    let fault = scene.archives().relock(&lock, &Update::All, NOW).unwrap_err();
    assert!(fault.to_string().contains("is being updated, or stale"), "{fault}");
    scene.forget();
    let fault = scene.archives().relock(&lock, &Update::Changed, NOW).unwrap_err();
    assert!(fault.to_string().contains("the index of test main for armhf"), "{fault}");
}

impl Scene {
    fn lock_and_move(&self) -> Lock {
        let lock = self.relock(&Lock::default(), &Update::Changed);
        self.moves_on(&[]);
        lock
    }
}

/// The packages of the lock that are gone, as a fetch says it.
fn gone(fault: &Error) -> Vec<(String, pilotlight_fetch::Digest)> {
    match fault {
        Error::Fetch(FetchError::Gone(files)) => {
            files.iter().map(|file| (file.title.clone(), file.sha256)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dropped_package_comes_from_the_snapshot() {
    let scene = Scene::new();
    let lock = scene.lock_and_move();
    let side = Deb::new("side", "1", "armhf");
    scene.moves_on(&[&side]);
    // Six hours after the Release.
    let place = format!("snapshot/20260912T135541Z/{}", side.path());
    let snapshot = Site::from([(place.clone(), Content::Bytes(side.build()))]);
    scene.snapshot.serve(snapshot.clone());
    scene.fetch(&lock).unwrap();
    assert_eq!(scene.snapshot.take_log(), std::slice::from_ref(&place));
    // A turn of the snapshot archive fell out: the next day it has it.
    scene.forget();
    let later = place.replace("0912T135541", "0913T075541");
    scene.snapshot.serve(Site::from([(later.clone(), Content::Bytes(side.build()))]));
    scene.fetch(&lock).unwrap();
    assert_eq!(scene.snapshot.take_log(), [place.clone(), later]);
    // Another file of that name is not taken, and does not pass for a file that is gone.
    scene.forget();
    scene.snapshot.serve(snapshot);
    scene.snapshot.trouble(&place, Trouble::Flip);
    let fault = scene.fetch(&lock).unwrap_err();
    assert!(matches!(fault, Error::Fetch(FetchError::Mirrors { .. })), "{fault:?}");
    assert!(fault.to_string().contains("tampered"), "{fault}");
}

#[test]
fn a_mirror_that_is_only_silent_has_dropped_nothing() {
    let scene = Scene::new();
    let lock = scene.lock_and_move();
    let side = Deb::new("side", "1", "armhf");
    scene.server.trouble(&format!("debian/{}", side.path()), Trouble::Status(503));
    let fault = scene.fetch(&lock).unwrap_err();
    assert!(matches!(fault, Error::Fetch(FetchError::Mirrors { .. })), "{fault:?}");
    assert!(scene.snapshot.take_log().is_empty());
}

#[test]
fn a_package_that_is_nowhere_is_replaced_alone() {
    let scene = Scene::new();
    let lock = scene.lock_and_move();
    let [twin_1, data] = twin("1");
    scene.moves_on(&[&Deb::new("side", "1", "armhf"), &data]);
    let fault = scene.fetch(&lock).unwrap_err();
    let mut missing = gone(&fault);
    missing.sort();
    let titles: Vec<_> = missing.iter().map(|(title, _)| title.as_str()).collect();
    assert_eq!(titles, ["side 1 (armhf)", "twin-data 1 (all)"]);
    // Everything else came.
    assert_eq!(scene.archives().missing(&lock, "one").unwrap().len(), 1);
    let update = Update::Gone(missing.iter().map(|(_, digest)| *digest).collect());
    let mended = scene.relock(&lock, &update);
    check(&mended, "base=1 top=1 twin=2 twin-data=2", "base=1 side=2");
    scene.fetch(&mended).unwrap();
    // Another that is gone only shows when the first is replaced: it goes the same way.
    scene.forget();
    scene.moves_on(&[&twin_1, &data, &Deb::new("base", "1", "armhf")]);
    let digests = gone(&scene.fetch(&lock).unwrap_err()).into_iter().map(|(_, digest)| digest).collect();
    let mended = scene.relock(&lock, &Update::Gone(digests));
    check(&mended, "base=2 top=1 twin=2 twin-data=2", "base=2 side=1");
    scene.fetch(&mended).unwrap();
}

#[test]
fn what_the_index_still_names_cannot_be_replaced() {
    let scene = Scene::new();
    let lock = scene.relock(&Lock::default(), &Update::Changed);
    scene.server.trouble(&format!("debian/{}", Deb::new("side", "1", "armhf").path()), Trouble::Status(404));
    let digests = gone(&scene.fetch(&lock).unwrap_err()).into_iter().map(|(_, digest)| digest).collect();
    let fault = scene.archives().relock(&lock, &Update::Gone(digests), NOW).unwrap_err();
    assert!(fault.to_string().contains("side 1 (armhf)"), "{fault}");
}
