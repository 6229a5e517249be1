//! Labs against a server with the layouts of the real ones, signed by a key of the test: what is found, what is kept,
//! and what is refused when any part of it was tampered with.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use pilotlight_fetch::{
    Cache, Client, Digest, Patience, Show,
    testing::{Content, Server, Signer, Site, Trouble},
};
use pilotlight_lab::{Lab, System};
use pilotlight_mirror::{Lock, Mirror, MirrorError, Room, Sources, Update};

const NOW: i64 = 2_800_000_000;
const FLATCAR: &str = "flatcar/stable/amd64-usr";
const KERNEL: &str = "flatcar_production_pxe.vmlinuz";
const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";

struct Scene {
    folder: tempfile::TempDir,
    server: Server,
    site: Site,
    sources: Sources,
    signer: Arc<Signer>,
}

/// Making a key is slow.
fn signer() -> Arc<Signer> {
    static SIGNER: OnceLock<Arc<Signer>> = OnceLock::new();
    Arc::clone(SIGNER.get_or_init(|| Arc::new(Signer::new())))
}

impl Scene {
    fn new() -> Self {
        let (server, signer) = (Server::start(Site::new()), signer());
        let at = |path: &str| server.mirror(path);
        let pinned = signer.fingerprint();
        let text = format!(
            "[flatcar]\nreleases = \"{}\"\nkeys = \"{}\"\npinned = [\"{pinned}\"]\n\
             [fedora-coreos]\nreleases = \"{}\"\nkeys = \"{}\"\npinned = [\"{pinned}\"]\n\
             [talos]\nversions = \"{}\"\nreleases = \"{}\"\n[kubernetes]\nreleases = \"{}\"\n\
             [cni-plugins]\nreleases = \"{}\"\n",
            at("flatcar/{channel}/{architecture}-usr"),
            at("keys.asc"),
            at("streams"),
            at("keys.asc"),
            at("talos.json"),
            at("talos"),
            at("k8s"),
            at("cni"),
        );
        let sources = Sources::parse(&text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut scene = Self { folder, server, site: Site::new(), sources, signer };
        scene.put("keys.asc", scene.signer.armoured());
        scene
    }

    fn put(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.site.insert(path.to_owned(), Content::Bytes(content.into()));
    }

    fn put_signed(&mut self, path: &str, content: &str) {
        self.put(&format!("{path}.sig"), self.signer.sign_detached(content.as_bytes()));
        self.put(path, content);
    }

    /// A release of Flatcar in the stable channel, as `current` if so wanted.
    fn flatcar(&mut self, version: &str, current: bool) {
        let text = format!("FLATCAR_BUILD=1\nFLATCAR_VERSION={version}\nFLATCAR_SDK_VERSION=1.0.0\n");
        let folders = [version].into_iter().chain(current.then_some("current"));
        for folder in folders {
            self.put_signed(&format!("{FLATCAR}/{folder}/version.txt"), &text);
            self.put_signed(&format!("{FLATCAR}/{folder}/{KERNEL}"), &format!("kernel of {version}"));
            self.put_signed(&format!("{FLATCAR}/{folder}/{INITRD}"), &format!("initrd of {version}"));
        }
    }

    fn fedora(&mut self, version: &str) {
        let mut artifact = |name: &str| {
            let path = format!("builds/fedora-coreos-{version}-live-{name}");
            let content = format!("{name} of {version}");
            self.put_signed(&path, &content);
            let url = self.server.mirror(&path);
            format!(r#"{{"location":"{url}","signature":"{url}.sig","sha256":"{}"}}"#, Digest::of(content))
        };
        let (kernel, initramfs, rootfs) =
            (artifact("kernel.x86_64"), artifact("initramfs.x86_64.img"), artifact("rootfs.x86_64.img"));
        let text = format!(
            r#"{{"stream":"testing","metadata":{{}},"architectures":{{"x86_64":{{"artifacts":{{"metal":{{
            "release":"{version}","formats":{{"pxe":{{"kernel":{kernel},"initramfs":{initramfs},"rootfs":{rootfs}}}}}}}}}}}}}}}"#
        );
        self.put("streams/testing.json", text);
    }

    fn talos(&mut self, version: &str) {
        self.put(
            "talos.json",
            format!(r#"[{{"tag_name":"v1.12.0-alpha.0","prerelease":true}},{{"tag_name":"{version}"}}]"#),
        );
        let (kernel, initrd) = (format!("vmlinuz of {version}"), format!("initramfs of {version}"));
        let sums = format!(
            "{}  _out/vmlinuz-amd64\n{}  _out/initramfs-amd64.xz\n",
            Digest::of(&kernel),
            Digest::of(&initrd)
        );
        self.put(&format!("talos/{version}/sha256sum.txt"), sums);
        self.put(&format!("talos/{version}/vmlinuz-amd64"), kernel);
        self.put(&format!("talos/{version}/initramfs-amd64.xz"), initrd);
    }

    fn lock(&self, lab: &str, old: &Lock, update: &Update) -> Result<Lock, MirrorError> {
        self.lock_with(&self.sources, lab, old, update)
    }

    fn lock_with(
        &self,
        sources: &Sources,
        lab: &str,
        old: &Lock,
        update: &Update,
    ) -> Result<Lock, MirrorError> {
        self.server.serve(self.site.clone());
        self.mirror(sources, |mirror| mirror.lock(&parsed(lab), old, update))
    }

    fn mirror<T>(&self, sources: &Sources, work: impl FnOnce(Mirror<'_>) -> T) -> T {
        let cache = Cache::at(self.folder.path()).unwrap();
        let patience =
            Patience { pause: std::time::Duration::from_millis(1), rounds: 2, ..Patience::default() };
        let client = Client::new(patience);
        work(Mirror { cache: &cache, sources, client, show: Show::Nothing, now: NOW, room: None })
    }

    /// What a person reads, with the server's address taken out.
    fn refused(&self, lab: &str) -> String {
        let fault = self.lock(lab, &Lock::default(), &Update::Changed).unwrap_err();
        self.told(&fault)
    }

    fn told(&self, fault: &MirrorError) -> String {
        let mut text = fault.to_string();
        let mut source = std::error::Error::source(fault);
        while let Some(inner) = source {
            text.push_str(&format!(": {inner}"));
            source = inner.source();
        }
        let server = self.server.mirror("");
        text.replace(server.trim_end_matches('/'), "SERVER").replace(&self.signer.fingerprint(), "PINNED")
    }
}

const NETWORK: &str = "[network]\naddress = \"10.77.0.1/24\"\n";

fn parsed(text: &str) -> Lab {
    pilotlight_lab::parse(&format!("{NETWORK}{text}")).unwrap_or_else(|problems| panic!("{problems:?}"))
}

const STABLE: &str = "[profiles.flatcar]\nkind = \"flatcar\"\n";
const TESTING: &str = "[profiles.fcos]\nkind = \"fedora-coreos\"\nchannel = \"testing\"\n";
const MINOR: &str = "[profiles.talos]\nkind = \"talos\"\nchannel = \"v1.11\"\n";

#[test]
fn all_systems_are_found_and_kept_by_version() {
    let mut scene = Scene::new();
    scene.flatcar("4230.2.1", true);
    scene.fedora("43.20261101.2.0");
    scene.talos("v1.11.5");
    let lab = format!("{STABLE}{TESTING}{MINOR}");
    let lock = scene.lock(&lab, &Lock::default(), &Update::Changed).unwrap();
    let versions: Vec<(&str, &str, usize)> = lock
        .releases
        .iter()
        .map(|release| (release.system.name(), release.version.as_str(), release.files.len()))
        .collect();
    assert_eq!(
        versions,
        [("flatcar", "4230.2.1", 2), ("fedora-coreos", "43.20261101.2.0", 3), ("talos", "v1.11.5", 2)]
    );
    assert_eq!(Lock::parse(&lock.text()).unwrap(), lock, "{}", lock.text());
    // What is locked is asked for no more.
    let log = scene.server.take_log();
    assert!(log.iter().all(|path| !path.contains("current/flatcar")), "files go by version: {log:?}");
    assert_eq!(scene.lock(&lab, &lock, &Update::Changed).unwrap(), lock);
    assert_eq!(scene.server.take_log(), Vec::<String>::new());
    // Whoever has only the lock gets the same bytes, and from them alone.
    let other = tempfile::tempdir().unwrap();
    let cache = Cache::at(other.path()).unwrap();
    let mirror = |client| Mirror {
        cache: &cache,
        sources: &scene.sources,
        client,
        show: Show::Nothing,
        now: NOW,
        room: None,
    };
    mirror(Client::default()).fetch(&lock).unwrap();
    for (path, file) in lock.all() {
        assert!(cache.has(&file.sha256, file.size), "{path}");
    }
}

#[test]
fn a_channel_moves_when_told_and_never_back() {
    let mut scene = Scene::new();
    scene.flatcar("4230.2.1", true);
    let first = scene.lock(STABLE, &Lock::default(), &Update::Changed).unwrap();
    scene.flatcar("4230.2.2", true);
    assert_eq!(scene.lock(STABLE, &first, &Update::Changed).unwrap(), first);
    assert_eq!(scene.lock(STABLE, &first, &Update::Systems(vec![System::Talos])).unwrap(), first);
    let second = scene.lock(STABLE, &first, &Update::Systems(vec![])).unwrap();
    assert_eq!(second.releases[0].version, "4230.2.2");
    assert_eq!(second.changes(&first), ["Flatcar stable for amd64: 4230.2.1 -> 4230.2.2"]);

    scene.flatcar("4230.2.1", true);
    let fault = scene.lock(STABLE, &second, &Update::Systems(vec![])).unwrap_err();
    assert!(matches!(fault, MirrorError::Backwards { .. }), "{fault:?}");
    // Held there it may be, and the newer one is collected.
    let held = format!("{STABLE}versions = {{ stable = \"4230.2.1\" }}\n");
    let third = scene.lock(&held, &second, &Update::Systems(vec![])).unwrap();
    assert_eq!(third.releases.iter().map(|one| one.version.as_str()).collect::<Vec<_>>(), ["4230.2.1"]);
}

#[test]
fn versions_lie_side_by_side() {
    let mut scene = Scene::new();
    scene.flatcar("4230.2.1", true);
    for path in [format!("{FLATCAR}/current/version.txt")] {
        let beta = path.replace("stable", "beta");
        scene.put_signed(&beta, "FLATCAR_VERSION=4372.1.0\n");
        for name in [KERNEL, INITRD] {
            scene.put_signed(&format!("flatcar/beta/amd64-usr/4372.1.0/{name}"), &format!("{name} of beta"));
        }
    }
    let lab = format!(
        "{STABLE}[[nodes]]\nname = \"one\"\nmac = \"52:54:00:00:00:01\"\naddress = \"10.77.0.11\"\nprofile = \"flatcar\"\nchannel = \"beta\"\n"
    );
    let lock = scene.lock(&lab, &Lock::default(), &Update::Changed).unwrap();
    let found: Vec<_> = lock.releases.iter().map(|one| (one.channels.join(" "), one.folder())).collect();
    let expected = [("stable", "flatcar/4230.2.1/amd64"), ("beta", "flatcar/4372.1.0/amd64")];
    assert_eq!(found, expected.map(|(channel, folder)| (channel.to_owned(), folder.to_owned())));
}

#[test]
fn whatever_is_tampered_with_is_refused() {
    let mut told = Vec::new();
    let mut refuse = |what: &str, lab: &str, spoil: &dyn Fn(&mut Scene)| {
        let mut scene = Scene::new();
        scene.flatcar("4230.2.1", true);
        scene.fedora("43.20261101.2.0");
        scene.talos("v1.11.5");
        spoil(&mut scene);
        told.push(format!("## {what}\n{}\n", scene.refused(lab)));
        let objects = fs::read_dir(scene.folder.path().join("objects")).unwrap();
        let spoilt = objects.flatten().filter(|entry| fs::read(entry.path()).unwrap().starts_with(b"spoilt"));
        assert_eq!(spoilt.count(), 0, "{what}");
    };
    let stranger = Signer::new();
    refuse("the version file", STABLE, &|scene| {
        scene.put(&format!("{FLATCAR}/current/version.txt"), "FLATCAR_VERSION=9999.0.0\n");
    });
    refuse("the version file's signature", STABLE, &|scene| {
        let signature = stranger.sign_detached(b"FLATCAR_BUILD=1\n");
        scene.put(&format!("{FLATCAR}/current/version.txt.sig"), signature);
    });
    refuse("the kernel", STABLE, &|scene| scene.put(&format!("{FLATCAR}/4230.2.1/{KERNEL}"), "spoilt"));
    refuse("the initrd", STABLE, &|scene| scene.put(&format!("{FLATCAR}/4230.2.1/{INITRD}"), "spoilt"));
    refuse("the kernel's signature", STABLE, &|scene| {
        scene.put(&format!("{FLATCAR}/4230.2.1/{KERNEL}.sig"), "no signature");
    });
    refuse("kernel and signature by another key", STABLE, &|scene| {
        let path = format!("{FLATCAR}/4230.2.1/{KERNEL}");
        scene.put(&format!("{path}.sig"), stranger.sign_detached(b"spoilt"));
        scene.put(&path, "spoilt");
    });
    refuse("the signature is gone", STABLE, &|scene| {
        scene.site.remove(&format!("{FLATCAR}/4230.2.1/{KERNEL}.sig"));
    });
    refuse("the keys", STABLE, &|scene| scene.put("keys.asc", stranger.armoured()));
    refuse("the keys are none", STABLE, &|scene| scene.put("keys.asc", "<html>"));
    refuse(
        "another version by the path of a held one",
        &format!("{STABLE}versions = {{ stable = \"4230.2.0\" }}\n"),
        &|scene| {
            scene.put_signed(&format!("{FLATCAR}/4230.2.0/version.txt"), "FLATCAR_VERSION=4230.2.1\n");
        },
    );
    refuse("the stream is another one", TESTING, &|scene| {
        spoil_stream(scene, r#""stream":"testing""#, r#""stream":"next""#);
    });
    refuse("the stream's digest", TESTING, &|scene| {
        let digest = Digest::of("kernel.x86_64 of 43.20261101.2.0").to_string();
        spoil_stream(scene, &digest, &Digest::of("spoilt").to_string());
    });
    refuse("digest and file, but not the signature", TESTING, &|scene| {
        let digest = Digest::of("rootfs.x86_64.img of 43.20261101.2.0").to_string();
        spoil_stream(scene, &digest, &Digest::of("spoilt").to_string());
        scene.put("builds/fedora-coreos-43.20261101.2.0-live-rootfs.x86_64.img", "spoilt");
    });
    refuse("an old file, signed, for a new version", TESTING, &|scene| {
        spoil_stream(scene, r#""release":"43.20261101.2.0""#, r#""release":"43.20261102.2.0""#);
    });
    refuse(
        "a held version that is not published",
        &format!("{TESTING}versions = {{ testing = \"42.1\" }}\n"),
        &|_| {},
    );
    refuse("a file beside its digest", MINOR, &|scene| scene.put("talos/v1.11.5/vmlinuz-amd64", "spoilt"));
    refuse("a list of digests without the file", MINOR, &|scene| {
        scene.put("talos/v1.11.5/sha256sum.txt", "nothing\n");
    });
    refuse(
        "no release of the minor version",
        "[profiles.talos]\nkind = \"talos\"\nchannel = \"v1.10\"\n",
        &|_| {},
    );
    let told = told.join("\n").replace(&stranger.fingerprint(), "STRANGER");
    insta::assert_snapshot!(told);
}

fn spoil_stream(scene: &mut Scene, from: &str, to: &str) {
    let text = String::from_utf8(scene.site["streams/testing.json"].read()).unwrap();
    assert!(text.contains(from), "{text}");
    scene.put("streams/testing.json", text.replace(from, to));
}

#[test]
fn what_is_in_the_cache_already_is_no_excuse_for_a_signature() {
    let mut scene = Scene::new();
    scene.fedora("43.20261101.2.0");
    scene.put("builds/fedora-coreos-43.20261101.2.0-live-kernel.x86_64.sig", "no signature");
    // The same bytes came before, for whatever reason.
    let content = "kernel.x86_64 of 43.20261101.2.0";
    let cache = Cache::at(scene.folder.path()).unwrap();
    fs::write(cache.object(&Digest::of(content)), content).unwrap();
    assert!(scene.refused(TESTING).contains("live-kernel.x86_64"), "{}", scene.refused(TESTING));
}

#[test]
fn supplies_come_by_their_digest() {
    let mut scene = Scene::new();
    let names = [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubeadm",
        "kubectl",
        "kubelet",
    ];
    for name in names {
        let path = format!("k8s/v1.34.1/bin/linux/amd64/{name}");
        scene.put(&path, name);
        scene.put(&format!("{path}.sha256"), Digest::of(name).to_string());
    }
    let plugins = "cni/v1.8.0/cni-plugins-linux-amd64-v1.8.0.tgz";
    scene.put(plugins, "plugins");
    scene.put(
        &format!("{plugins}.sha256"),
        format!("{}  cni-plugins-linux-amd64-v1.8.0.tgz\n", Digest::of("plugins")),
    );
    scene.put("own/tool", "a tool");
    let lab = format!(
        "[kubernetes]\nversion = \"1.34.1\"\napi = \"10.77.0.11\"\n[mirror]\ncni-plugins = \"1.8.0\"\n\
         urls = [{{ url = \"{}\", sha256 = \"{}\", path = \"tools/tool\" }}]\n",
        scene.server.mirror("own/tool"),
        Digest::of("a tool")
    );
    let lock = scene.lock(&lab, &Lock::default(), &Update::Changed).unwrap();
    let paths: Vec<&str> = lock.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths.len(), 9);
    assert!(paths.contains(&"kubernetes/v1.34.1/amd64/kubelet"), "{paths:?}");
    assert!(
        paths.contains(&"files/tools/tool")
            && paths.contains(&"cni-plugins/cni-plugins-linux-amd64-v1.8.0.tgz")
    );
    assert_eq!(scene.lock(&lab, &lock, &Update::Systems(vec![])).unwrap(), lock);

    // From now on the digest in the lock counts, whatever the server says.
    scene.put("k8s/v1.34.1/bin/linux/amd64/kubelet", "other");
    scene.put("k8s/v1.34.1/bin/linux/amd64/kubelet.sha256", Digest::of("other").to_string());
    scene.server.serve(scene.site.clone());
    let empty = tempfile::tempdir().unwrap();
    let cache = Cache::at(empty.path()).unwrap();
    let client = Client::default();
    let fault =
        Mirror { cache: &cache, sources: &scene.sources, client, show: Show::Nothing, now: NOW, room: None }
            .fetch(&lock)
            .unwrap_err();
    let told = scene.told(&fault);
    assert!(told.contains("kubelet: it was tampered") || told.contains("bytes instead of"), "{told}");
}

/// What lies in a cache, finished or not.
fn names(cache: &Cache) -> BTreeSet<String> {
    let folders = ["objects", "partial"].map(|part| fs::read_dir(cache.root().join(part)).unwrap());
    folders.into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn room_is_made_before_anything_comes() {
    let mut scene = Scene::new();
    scene.flatcar("4230.2.1", true);
    scene.server.serve(scene.site.clone());
    let cache = Cache::at(scene.folder.path()).unwrap().on_card();
    let lab = parsed(STABLE);
    let asked = AtomicU64::new(0);
    let lock = |free: u64| {
        let make = |wanted: u64| {
            asked.store(wanted, Ordering::Relaxed);
            if wanted <= free { Ok(()) } else { Err(free) }
        };
        let (client, sources, room) = (Client::default(), &scene.sources, Some(Room(&make)));
        let mirror = Mirror { cache: &cache, sources, client, show: Show::Nothing, now: NOW, room };
        mirror.lock(&lab, &Lock::default(), &Update::Changed)
    };
    let fault = lock(10).unwrap_err();
    let length = "kernel of 4230.2.1initrd of 4230.2.1".len() as u64;
    assert!(matches!(fault, MirrorError::NoRoom { wanted, free: 10 } if wanted == length), "{fault}");
    assert_eq!((asked.load(Ordering::Relaxed), names(&cache).len()), (length, 0));

    // What is half here is not asked room for again, and what nobody wants any more goes.
    let stale = Digest::of("https://example.org/of-another-release");
    let half = Cache::name(None, &scene.server.mirror(&format!("{FLATCAR}/4230.2.1/{INITRD}")));
    for (name, bytes) in [(stale, "stale"), (half, "initrd")] {
        fs::write(cache.root().join("partial").join(name.to_string()), bytes).unwrap();
    }
    lock(length).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), length - 6);
    let whole = ["kernel of 4230.2.1", "initrd of 4230.2.1"].map(|content| Digest::of(content).to_string());
    assert_eq!(names(&cache), BTreeSet::from(whole));
    cache.keep_only(&BTreeSet::new()).unwrap();
    assert_eq!(names(&cache).len(), 0);
}

#[test]
fn an_interrupted_file_goes_on_where_it_was() {
    let mut scene = Scene::new();
    scene.flatcar("4230.2.1", true);
    let path = format!("{FLATCAR}/4230.2.1/{INITRD}");
    scene.server.trouble(&path, Trouble::Cut { after: 5, times: 1 });
    scene.lock(STABLE, &Lock::default(), &Update::Changed).unwrap();
    assert!(scene.server.take_log().contains(&format!("{path} from 5")));
}

#[test]
fn a_lock_that_nobody_wrote_is_refused() {
    let mut scene = Scene::new();
    scene.flatcar("4230.2.1", true);
    let text = scene.lock(STABLE, &Lock::default(), &Update::Changed).unwrap().text();
    for (from, to) in [
        ("version = 1\n", "version = 2\n"),
        ("\"4230.2.1\"", "\"../4230\""),
        ("\"flatcar\"", "\"coreos\""),
        (KERNEL, "a/../b"),
        ("size = ", "length = "),
        ("sha256 = \"", "sha256 = \"0"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(Lock::parse(&changed).is_err(), "{from} -> {to}");
    }
}
