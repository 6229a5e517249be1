//! A Pi that follows its channels, with the plug pulled at every moment: what a machine is started with is whole, belongs
//! together and is what was found.

use std::collections::BTreeMap;

use pilotlight_fetch::Digest;
use pilotlight_lab::{Architecture, System};
use pilotlight_mirror::{Act, Fit, Held, Here, Lock, LockedFile, LockedRelease, Sources};
use proptest::prelude::*;

const AMD64: Architecture = Architecture::Amd64;

fn content(system: System, version: &str, name: &str) -> String {
    format!("{name} of {} {version}", system.name())
}

fn file(path: &str, content: &str) -> LockedFile {
    let url = format!("https://example.org/{path}");
    LockedFile { path: path.to_owned(), url, size: content.len() as u64, sha256: Digest::of(content) }
}

fn release(system: System, version: &str, channels: &[&str]) -> LockedRelease {
    let files = ["kernel", "initrd"].map(|name| file(name, &content(system, version, name)));
    let channels = channels.iter().map(|&channel| channel.to_owned()).collect();
    LockedRelease {
        system,
        architecture: AMD64,
        version: version.to_owned(),
        channels,
        files: files.to_vec(),
    }
}

/// What the builder makes, and every lock of this card keeps.
fn own() -> LockedRelease {
    release(System::DebianRam, "13.1", &["stable"])
}

/// A lock with these versions in Flatcar's two channels and in Talos' one, and a plain file.
fn lock(stable: u8, beta: u8, talos: Option<u8>, tool: u8) -> Lock {
    let mut releases = vec![own()];
    let version = |number: u8| format!("1.{number}.0");
    if stable == beta {
        releases.push(release(System::Flatcar, &version(stable), &["beta", "stable"]));
    } else {
        releases.push(release(System::Flatcar, &version(stable), &["stable"]));
        releases.push(release(System::Flatcar, &version(beta), &["beta"]));
    }
    releases.extend(talos.map(|talos| release(System::Talos, &version(talos), &["v1"])));
    releases.sort_by_key(|release| (release.system, release.version.clone()));
    Lock { releases, images: vec![], files: vec![file("files/tool", &format!("tool {tool}"))] }
}

/// How much room thrift would give back.
fn spare(here: &Here) -> u64 {
    match here.fit(u64::MAX, 0) {
        Fit::Never(most) => most,
        fit => panic!("room for everything: {fit:?}"),
    }
}

/// A card: what is on it after an act is there after a cut, but what was removed may come back.
#[derive(Clone, Default)]
struct Card {
    here: Here,
    removed: BTreeMap<String, Held>,
}

impl Card {
    /// As the builder makes one, with a system of its own.
    fn new() -> Self {
        let mut card = Self::default();
        card.here.lock.releases.push(own());
        card.here.index = card.here.lock.versions();
        for (path, file) in card.here.lock.all() {
            card.here.files.insert(path, Held { size: file.size, sha256: file.sha256 });
        }
        card
    }

    fn perform(&mut self, act: Act) {
        match act {
            Act::Place { path, file } => {
                self.removed.remove(&path);
                self.here.files.insert(path, Held { size: file.size, sha256: file.sha256 });
            }
            Act::Note(lock) => self.here.lock = lock,
            Act::Publish(index) => self.here.index = index,
            Act::Remove { path } => {
                let held = self.here.files.remove(&path).expect("what is removed is there");
                self.removed.insert(path, held);
            }
        }
    }

    /// Does `acts` as far as the `count`th, and pulls the plug. Every moment has to be a good one.
    fn cut(&mut self, acts: Vec<Act>, count: usize, returns: u64) {
        for act in acts.into_iter().take(count) {
            self.perform(act);
            self.is_good();
        }
        for (place, (path, held)) in std::mem::take(&mut self.removed).into_iter().enumerate() {
            if returns >> (place % 64) & 1 == 1 {
                self.here.files.insert(path, held);
            }
        }
        self.is_good();
    }

    /// Each version that a machine may be started with is here, file by file, as the index says and as it was made.
    fn is_good(&self) {
        for (key, version) in &self.here.index.channels {
            let files = &self.here.index.files[&(key.0, key.1, version.clone())];
            assert!(!files.is_empty());
        }
        for ((system, architecture, version), files) in &self.here.index.files {
            for (name, digest) in files {
                let path = format!("{}/{version}/{architecture}/{name}", system.name());
                let held = self.here.files.get(&path).unwrap_or_else(|| panic!("{path} is not here"));
                assert_eq!(held.sha256.to_string(), *digest, "{path}");
                assert_eq!(held.sha256, Digest::of(content(*system, version, name)), "{path}");
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// Somebody publishes, or the lab's owner changes what is wanted; the Pi looks, and is cut off after so many acts.
    Refresh { stable: u8, beta: u8, talos: Option<u8>, tool: u8, acts: usize },
    /// Room is wanted.
    Thrift { acts: usize },
}

fn events() -> impl Strategy<Value = Vec<(Event, u64)>> {
    let acts = || prop_oneof![3 => Just(usize::MAX), 2 => 0..12_usize];
    let refresh = (0..5_u8, 0..5_u8, proptest::option::of(0..3_u8), 0..3_u8, acts())
        .prop_map(|(stable, beta, talos, tool, acts)| Event::Refresh { stable, beta, talos, tool, acts });
    let thrift = acts().prop_map(|acts| Event::Thrift { acts });
    proptest::collection::vec((prop_oneof![4 => refresh, 1 => thrift], any::<u64>()), 1..12)
}

proptest! {
    #[test]
    fn whatever_happens_a_machine_is_started_with_what_belongs_together(events in events()) {
        let mut card = Card::new();
        card.is_good();
        for (event, returns) in events {
            match event {
                Event::Refresh { stable, beta, talos, tool, acts } => {
                    let found = lock(stable, beta, talos, tool);
                    let all = card.here.acts(&found);
                    let whole = acts >= all.len();
                    card.cut(all, acts, returns);
                    if whole {
                        let now = &card.here.index.channels;
                        let key = |system, channel: &str| (system, AMD64, channel.to_owned());
                        prop_assert_eq!(&now[&key(System::Flatcar, "stable")], &format!("1.{stable}.0"));
                        prop_assert_eq!(&now[&key(System::Flatcar, "beta")], &format!("1.{beta}.0"));
                        prop_assert_eq!(now.contains_key(&key(System::Talos, "v1")), talos.is_some());
                        let held = card.here.files["files/tool"];
                        prop_assert_eq!(held.sha256, Digest::of(format!("tool {tool}")));
                        // What came back after the cut goes at the next look, and then there is nothing to be done.
                        let again = card.here.acts(&found);
                        prop_assert!(again.iter().all(|act| matches!(act, Act::Remove { .. })), "{:?}", again);
                        card.cut(again, usize::MAX, 0);
                        prop_assert_eq!(card.here.acts(&found), vec![]);
                        prop_assert!(card.here.files.len() <= 2 + 1 + 2 * 2 + 2 * 4, "{:?}", card.here.files);
                    }
                }
                Event::Thrift { acts } => {
                    let (room, before) = (spare(&card.here), card.here.clone());
                    let all = card.here.thrift();
                    let whole = acts >= all.len();
                    card.cut(all, acts, 0);
                    if whole {
                        let bytes = |here: &Here| here.files.values().map(|held| held.size).sum::<u64>();
                        prop_assert_eq!(bytes(&before) - bytes(&card.here), room);
                        // What was noted and not yet published is here as a whole.
                        let noted = before.lock.versions().channels;
                        let now = &card.here.index.channels;
                        prop_assert!(noted.iter().all(|(key, version)| now.get(key) == Some(version)));
                        prop_assert_eq!(now.len(), noted.len());
                        prop_assert_eq!(spare(&card.here), 0);
                    }
                }
            }
        }
    }
}

#[test]
fn what_a_channel_had_stays_until_it_moves_again() {
    let mut card = Card::new();
    let mut refresh = |found: Lock| {
        card.cut(card.here.acts(&found), usize::MAX, 0);
        let versions = card.here.index.files.keys().filter(|(system, ..)| *system == System::Flatcar);
        versions.map(|(_, _, version)| version.clone()).collect::<Vec<_>>()
    };
    assert_eq!(refresh(lock(1, 1, None, 0)), ["1.1.0"]);
    assert_eq!(refresh(lock(2, 2, None, 0)), ["1.1.0", "1.2.0"]);
    // Another file, and Flatcar as it was.
    assert_eq!(refresh(lock(2, 2, None, 1)), ["1.1.0", "1.2.0"]);
    assert_eq!(refresh(lock(3, 3, None, 1)), ["1.2.0", "1.3.0"]);
    // Taken back: what is newer stays as well.
    assert_eq!(refresh(lock(2, 2, None, 1)), ["1.2.0", "1.3.0"]);
    // Not wanted any more.
    let mut none = lock(2, 2, Some(1), 1);
    none.releases.retain(|release| release.system != System::Flatcar);
    assert_eq!(refresh(none), [""; 0]);
}

#[test]
fn a_file_of_the_same_length_is_another_one() {
    let mut card = Card::new();
    card.cut(card.here.acts(&lock(1, 1, None, 0)), usize::MAX, 0);
    let acts = card.here.acts(&lock(1, 1, None, 7));
    assert!(matches!(&acts[..], [Act::Place { path, .. }, Act::Note(_)] if path == "files/tool"), "{acts:?}");
}

#[test]
fn a_lost_lock_takes_nothing_away() {
    let mut card = Card::new();
    card.cut(card.here.acts(&lock(1, 1, None, 0)), usize::MAX, 0);
    card.cut(card.here.acts(&lock(2, 2, None, 0)), usize::MAX, 0);
    let Here { index, mut files, .. } = card.here.clone();
    let found = Here::without_lock(index.clone(), files.clone());
    assert_eq!(found.lock.versions(), index);
    assert!(
        found.thrift().iter().all(|act| !matches!(act, Act::Remove { path } if path.contains("/1.2.0/")))
    );

    // A release that has lost a file is nothing to start a machine with, or to go back to.
    files.remove("flatcar/1.1.0/amd64/initrd");
    card.here.files = files.clone();
    let acts = card.here.acts(&lock(2, 2, None, 7));
    assert!(
        acts.iter().any(|act| matches!(act, Act::Remove { path } if path == "flatcar/1.1.0/amd64/kernel"))
    );
    let found = Here::without_lock(index, files);
    assert_eq!(found.lock.releases.len(), 2);
}

#[test]
fn what_is_handed_over_takes_nothing_away() {
    let lab = "[network]\naddress = \"10.77.0.1/24\"\n[profiles.flatcar]\nkind = \"flatcar\"\n[profiles.talos]\n\
               kind = \"talos\"\nchannel = \"v1.1\"\n";
    let lab = pilotlight_lab::parse(lab).expect("a lab");
    let mut old = lock(1, 1, Some(1), 0);
    old.releases.iter_mut().filter(|release| release.system == System::Talos).for_each(|release| {
        release.channels = vec!["v1.1".to_owned()];
    });
    let mut handed = Lock::default();
    handed.keep_of(&old, &lab, &Sources::own().unwrap());
    let systems = |lock: &Lock| lock.releases.iter().map(|release| release.system).collect::<Vec<_>>();
    assert_eq!(systems(&handed), [System::Flatcar, System::Talos], "{handed:?}");
    assert_eq!(handed.releases[0].channels, ["stable"]);
    // What comes counts, and what the lab does not want goes.
    let mut handed = lock(2, 2, None, 0);
    handed.keep_of(&old, &lab, &Sources::own().unwrap());
    let flatcar: Vec<_> =
        handed.releases.iter().filter(|release| release.system == System::Flatcar).collect();
    assert_eq!((flatcar.len(), flatcar[0].version.as_str()), (1, "1.2.0"));
}
