//! Every message that a person can get about keys, mirrors, the lock and security updates, word for word.

use std::{collections::BTreeMap, error::Error as _, fs, time::Duration};

use pilotlight_archive::{
    Archives, Error, Lock, Review, Update, resolve_mirrors, resolve_snapshots,
    testing::{Content, Deb, Server, Signer, Site, Suite, Trouble},
};
use pilotlight_fetch::{Cache, Patience, Show};

/// 21 November 2026, a few hours after the test suites' Release.
const NOW: i64 = 1_795_250_000;
/// Made by GnuPG 2.2 as if on 1 January 2020: one was valid for 30 days, the other is taken back.
const EXPIRED: &str = "AF24F4029E4A58F83F3373E72DD4364C4E1B2FF8";
const REVOKED: &str = "172362B123DDEED4ED1E5426C914F8A20077182F";
const RELEASE: &str = "debian/dists/test/InRelease";
const SECURITY: &str = "debian-security/dists/test-security";

/// A base with an archive and its security archive, a mirror, a snapshot archive, and nothing in the cache.
struct Scene {
    folder: tempfile::TempDir,
    signer: Signer,
    server: Server,
    snapshot: Server,
}

impl Scene {
    fn new() -> Self {
        let signer = Signer::new();
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
            server: Server::start(Site::new()),
            snapshot: Server::start(Site::new()),
            signer,
        };
        scene.write("key.asc", &scene.signer.armoured());
        scene.write("archives.toml", &scene.base());
        scene.server.serve(scene.site(&scene.signer));
        scene
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn base(&self) -> String {
        let key =
            format!("keys = [{{ fingerprint = \"{}\", file = \"key.asc\" }}]", self.signer.fingerprint());
        format!(
            "[archives.debian]\nmirror = \"http://mirror.invalid/debian\"\nsuites = [\"test\"]\n{key}\n\
             [archives.debian-security]\nmirror = \"http://mirror.invalid/debian-security\"\nsecurity = true\nsuites = \
             [\"test-security\"]\n{key}\n[sets.small]\nsuites = [\"test\"]\narchitectures = [\"armhf\", \
             \"arm64\"]\npackages = [\"top\", \"kernel:arm64\"]\n"
        )
    }

    fn site(&self, signer: &Signer) -> Site {
        let packages = vec![
            Deb::new("top", "2-1", "armhf").with_fields("Depends: base (>= 1)\n"),
            Deb::new("base", "1:1.0", "all").with_fields("Source: basics (7)\n"),
            Deb::new("kernel", "6", "arm64"),
        ];
        let mut site = Site::new();
        Suite::new("test", packages).publish(signer, &mut site);
        self.security(&[]).publish(signer, &mut site);
        site
    }

    fn security(&self, packages: &[Deb]) -> Suite {
        Suite { archive: "debian-security".into(), ..Suite::new("test-security", packages.to_vec()) }
    }

    fn place(name: &str, version: &str, architecture: &str) -> String {
        format!("debian/{}", Deb::new(name, version, architecture).path())
    }

    fn open(&self) -> Result<Archives, Error> {
        let at = |server: &Server| {
            ["debian", "debian-security"].map(|name| (name.to_owned(), vec![server.mirror(name)]))
        };
        let patience = Patience {
            stall: Duration::from_millis(300),
            slowest: 100,
            rounds: 1,
            pause: Duration::from_millis(1),
        };
        let cache = Cache::at(self.folder.path().join("cache")).unwrap();
        let archives = Archives::open(self.folder.path(), BTreeMap::from(at(&self.server)), cache)?;
        Ok(archives
            .with_snapshots(BTreeMap::from(at(&self.snapshot)))
            .with_patience(patience)
            .with_show(Show::Nothing))
    }

    fn lock(&self) -> Lock {
        self.open().unwrap().lock(NOW).unwrap()
    }

    fn locking(&self) -> String {
        self.told(&self.open().unwrap().lock(NOW).unwrap_err())
    }

    fn fetching(&self, lock: &Lock) -> String {
        self.told(&self.open().unwrap().fetch(lock, &["small"]).unwrap_err())
    }

    /// The whole story, without what differs from run to run.
    fn told(&self, fault: &Error) -> String {
        let mut text = fault.to_string();
        let mut source = fault.source();
        while let Some(inner) = source {
            text += &format!("\n  because: {inner}");
            source = inner.source();
        }
        self.plain(&text)
    }

    fn plain(&self, text: &str) -> String {
        let text = text
            .replace(self.folder.path().to_str().unwrap(), "BASE")
            .replace(&self.server.mirror(""), "http://mirror/")
            .replace(&self.snapshot.mirror(""), "http://snapshot/")
            .replace(&self.signer.fingerprint(), "PINNED");
        // Signatures, and with them keys' names and digests, are others in every run.
        let is_hex = |word: &&str| word.len() >= 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let words: Vec<&str> = text.split(|sign: char| !sign.is_ascii_alphanumeric()).collect();
        words.into_iter().filter(is_hex).fold(text.clone(), |text, word| text.replace(word, "HEX"))
    }
}

#[test]
fn keys() {
    let scene = Scene::new();
    let opening = || scene.told(&scene.open().unwrap_err());
    let mut said = Vec::new();
    let pinned = |fingerprint: &str| scene.base().replace(&scene.signer.fingerprint(), fingerprint);
    scene.write("archives.toml", &pinned(REVOKED));
    scene.write("key.asc", include_str!("data/revoked.asc"));
    said.push(opening());
    scene.write("archives.toml", &pinned(EXPIRED));
    scene.write("key.asc", include_str!("data/expired.asc"));
    let mut site = scene.site(&scene.signer);
    site.insert(RELEASE.into(), Content::Bytes(include_bytes!("data/expired.InRelease").to_vec()));
    scene.server.serve(site);
    said.push(scene.locking());
    scene.write("archives.toml", &scene.base());
    scene.write("key.asc", &Signer::new().armoured());
    said.push(opening());
    scene.write("key.asc", "no key\n");
    said.push(opening().lines().next().unwrap().to_owned() + "\n  because: …");
    fs::remove_file(scene.folder.path().join("key.asc")).unwrap();
    said.push(opening());
    scene.write("key.asc", &scene.signer.armoured());
    scene.write(
        "archives.toml",
        &scene.base().replace("http://", "ftp://").replace("\"test\"]\na", "\"tset\"]\na"),
    );
    said.push(opening());
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn addresses() {
    let spec = Archives::spec(Scene::new().folder.path()).unwrap();
    let named = |address: &str| vec![address.to_owned()];
    let mut said = Vec::new();
    for address in [
        "mirror.example",
        "ftp://mirror.example/debian",
        "debain=http://mirror.example",
        "http://",
        "debian=",
    ] {
        for fault in [
            resolve_mirrors(&spec, &named(address), &[]).map(drop),
            resolve_snapshots(&spec, &named(address)).map(drop),
        ] {
            said.push(format!(
                "{address}: {}",
                fault.map_or_else(|fault| fault.to_string(), |()| "taken".to_owned())
            ));
        }
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn releases() {
    let scene = Scene::new();
    let mut said = Vec::new();
    let mut with = |change: &dyn Fn(&mut Site)| {
        let mut site = scene.site(&scene.signer);
        change(&mut site);
        scene.server.serve(site);
        said.push(scene.locking());
    };
    let release = Suite::new("test", Vec::<Deb>::new());
    let signed = |text: &str| Content::Bytes(scene.signer.sign(text));
    with(&|site| *site = scene.site(&Signer::new()));
    with(&|site| {
        let text = String::from_utf8(site[RELEASE].read()).unwrap().replace("Suite: test", "Suite: best");
        site.insert(RELEASE.into(), Content::Bytes(text.into()));
    });
    with(&|site| {
        drop(site.insert(RELEASE.into(), signed(&release.release().replace(" test\n", " other\n"))))
    });
    with(&|site| {
        let stale = Suite { valid_until: Some("Fri, 20 Nov 2026 00:00:00 UTC".into()), ..release.clone() };
        site.insert(RELEASE.into(), signed(&stale.release()));
    });
    with(&|site| drop(site.insert(RELEASE.into(), signed(&release.release().replace("main/", "other/")))));
    with(&|site| drop(site.remove(RELEASE)));
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn mirrors() {
    let scene = Scene::new();
    let lock = scene.lock();
    let top = Scene::place("top", "2-1", "armhf");
    let mut said = Vec::new();
    for trouble in [
        Trouble::Flip,
        Trouble::Longer(3),
        Trouble::Ends(10),
        Trouble::Stall { after: 0, times: 9 },
        Trouble::Status(503),
        Trouble::Status(403),
        Trouble::Redirect(scene.server.mirror(&top)),
    ] {
        scene.server.trouble(&top, trouble);
        said.push(scene.fetching(&lock));
        scene.server.heal();
        fs::remove_dir_all(scene.folder.path().join("cache")).unwrap();
    }
    // Nobody has one, then nobody has two.
    scene.server.trouble(&top, Trouble::Status(404));
    said.push(scene.fetching(&lock));
    fs::remove_dir_all(scene.folder.path().join("cache")).unwrap();
    scene.server.trouble(&Scene::place("kernel", "6", "arm64"), Trouble::Status(404));
    said.push(scene.fetching(&lock).lines().next().unwrap().to_owned());
    // And there is nothing in its place.
    let gone =
        lock.packages().filter(|package| package.name == "top").map(|package| package.sha256).collect();
    said.push(scene.told(&scene.open().unwrap().relock(&lock, &Update::Gone(gone), NOW).unwrap_err()));
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn locks() {
    let scene = Scene::new();
    let lock = scene.lock();
    let mut said = Vec::new();
    for (from, to) in [
        ("version = 2", "version = 1"),
        ("pool/main", "../main"),
        ("\"top:armhf\"", "\"tip:armhf\""),
        ("name = \"top\"", "name = \"t o p\""),
        ("sets", "[sets"),
    ] {
        let fault = Lock::parse(&lock.render().replacen(from, to, 1)).unwrap_err();
        said.push(fault.to_string());
    }
    let mut fits = |from: &str, to: &str| {
        scene.write("archives.toml", &scene.base().replace(from, to));
        said.push(scene.told(&scene.open().unwrap().fits(&lock).unwrap_err()));
    };
    fits("\"top\", ", "");
    fits("sets.small", "sets.large");
    let text = format!(
        "{}[sets.more]\nsuites = [\"test\"]\narchitectures = [\"armhf\"]\npackages = [\"topp\"]\n",
        scene.base()
    );
    scene.write("archives.toml", &text);
    said.push(scene.told(&scene.open().unwrap().relock(&lock, &Update::Changed, NOW).unwrap_err()));
    let wish = "kernal".to_owned().try_into().unwrap();
    let update = Update::Packages(vec![wish]);
    said.push(scene.told(&scene.open().unwrap().relock(&lock, &update, NOW).unwrap_err()));
    let more = format!("{}\n[sets.old]\nspec = \"0\"\npackages = []\n", lock.render());
    let superfluous = Lock::parse(&more).unwrap();
    scene.write("archives.toml", &scene.base());
    said.push(scene.told(&scene.open().unwrap().fits(&superfluous).unwrap_err()));
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn reviews() {
    let scene = Scene::new();
    let lock = scene.lock();
    let review = |packages: &[Deb]| {
        let mut site = scene.site(&scene.signer);
        scene.security(packages).publish(&scene.signer, &mut site);
        scene.server.serve(site);
        scene.open().unwrap().review(&lock, NOW)
    };
    let told = |review: &Review| scene.plain(&review.to_string());
    let mut said = Vec::new();

    let good = review(&[Deb::new("top", "2-1", "armhf"), Deb::new("other", "9", "armhf")]);
    assert!(good.lacking.is_empty() && good.unknown.is_empty());
    said.push(told(&good));

    let fixed = [
        Deb::new("top", "2-1+fix1", "armhf"),
        Deb::new("top", "2-1+fix2", "armhf"),
        Deb::new("base", "1:1.0+fix1", "all").with_fields("Source: basics (7)\n"),
    ];
    let lacking = review(&fixed);
    assert!(lacking.lacking.len() == 2 && lacking.unknown.is_empty());
    said.push(told(&lacking));

    // What is of one architecture cannot be believed: the rest is told all the same.
    let stale = review(&[]);
    assert!(stale.lacking.is_empty());
    let mut site = scene.site(&scene.signer);
    let old = format!("{SECURITY}/main/binary-armhf/Packages.xz");
    let content = site[&old].clone();
    scene.security(&fixed).publish(&scene.signer, &mut site);
    site.retain(|path, _| !path.contains("/by-hash/"));
    site.insert(old, content);
    scene.server.serve(site);
    fs::remove_dir_all(scene.folder.path().join("cache")).unwrap();
    let half = scene.open().unwrap().review(&lock, NOW);
    assert_eq!((half.lacking.len(), half.unknown.len()), (1, 1));
    said.push(told(&half));

    scene.server.trouble(&format!("{SECURITY}/InRelease"), Trouble::Status(404));
    let unknown = scene.open().unwrap().review(&lock, NOW);
    assert!(unknown.suites.is_empty() && unknown.unknown.len() == 1);
    said.push(told(&unknown));

    scene.write("archives.toml", &scene.base().replace("security = true\n", ""));
    let nowhere = scene.open().unwrap().review(&lock, NOW);
    assert_eq!(nowhere.unknown.len(), 1);
    said.push(told(&nowhere));
    insta::assert_snapshot!(said.join("\n----\n"));
}
