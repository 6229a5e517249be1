//! The journal of leases on the data partition. One that cannot be read is moved aside, never an end.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use pilotlight_dhcp::{
    Millis,
    store::{self, Change, HEADER, Kept},
};
use pilotlight_kit::{Event, Events};
use pilotlight_lab::MacAddr;
use rustix::fs::{FlockOperation, flock};

const NAME: &str = "leases.journal";
/// How long a journal that could not be written is left alone, in milliseconds.
const RETRY: Millis = 5_000;
/// The journal is written anew when it is longer than this and mostly history, in bytes.
const LONG: u64 = 1 << 20;
/// About as long is a line, in bytes.
const LINE: usize = 170;

/// A lease from before the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restored {
    pub(crate) mac: MacAddr,
    pub(crate) address: Ipv4Addr,
    pub(crate) until: Millis,
}

/// The journal. What it says in force is kept in memory too, so that one made anew has it again.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    boot: Arc<str>,
    open: Option<Open>,
    /// What was written last of each address.
    kept: BTreeMap<Ipv4Addr, Kept>,
    /// Whether the journal from before the start was read.
    loaded: bool,
    /// Leases from before the start that were read after it.
    found: Vec<Restored>,
    tried: Millis,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// Locked: two servers must not promise the same addresses.
    folder: File,
}

impl Store {
    /// Opens or makes the journal in `folder`. Never fails: what went wrong is an event, and [`Self::write`]
    /// tries again.
    pub(crate) fn open(folder: &Path, now: Millis, events: &Events) -> (Self, Vec<Restored>) {
        let mut store = Self {
            folder: folder.to_owned(),
            boot: boot_id(now).into(),
            open: None,
            kept: BTreeMap::new(),
            loaded: false,
            found: Vec::new(),
            tried: now,
        };
        if let Err(error) = store.reopen(now, events) {
            let reason = format!(
                "{error:#}: pool addresses are given to nobody until leases can be written; reserved ones are"
            );
            events.emit(Event::failed("dhcp", "store", reason));
        }
        let restored = store.found();
        (store, restored)
    }

    /// Leases from before the start that came to light since this was last asked: the server must know them
    /// before it promises anything else. Of two leases of one machine the later one comes last.
    pub(crate) fn found(&mut self) -> Vec<Restored> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|lease| lease.until);
        found
    }

    /// Writes leases down; when it returns without an error they are on the card.
    pub(crate) fn write(&mut self, changes: &[Change], now: Millis, events: &Events) -> anyhow::Result<()> {
        if self.open.is_none() {
            anyhow::ensure!(now >= self.tried + RETRY, "{} cannot be written", self.path().display());
            self.tried = now;
            self.reopen(now, events)?;
        }
        if !self.found.is_empty() {
            anyhow::bail!("leases from before were found only now, and this address may be one of them");
        }
        let text: String = changes.iter().map(|change| store::line(change, &self.boot)).collect();
        if let Err(error) = self.append(&text) {
            // Nobody knows what is in the file now: it is written anew before it is trusted again.
            self.open = None;
            self.tried = now;
            return Err(error).with_context(|| format!("write to {}", self.path().display()));
        }
        let boot = &self.boot;
        let kept =
            changes.iter().map(|change| (change.address, Kept { change: *change, boot: Arc::clone(boot) }));
        self.kept.extend(kept);
        Ok(())
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        let live = (self.kept.len() * LINE) as u64;
        if self.open.as_ref().is_some_and(|open| open.length > LONG.max(4 * live)) {
            self.rewrite()?;
        }
        let open = self.open.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        open.file.write_all(text.as_bytes())?;
        open.file.sync_data()?;
        open.length += text.len() as u64;
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    fn reopen(&mut self, now: Millis, events: &Events) -> anyhow::Result<()> {
        let path = self.path();
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("make the folder {}", self.folder.display()))?;
        let folder =
            File::open(&self.folder).with_context(|| format!("open the folder {}", self.folder.display()))?;
        flock(&folder, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("lock {}, which another DHCP server may use", self.folder.display()))?;
        if !self.loaded {
            self.load(now, events);
        }
        self.open = Some(Open { file: self.fresh(&folder)?, length: 0, folder });
        self.open_length().with_context(|| format!("measure {}", path.display()))
    }

    /// Takes over what the journal says. What is wrong with it is an event, and a copy of it stays.
    fn load(&mut self, now: Millis, events: &Events) {
        let (path, aside) = (self.path(), self.folder.join(format!("{NAME}.damaged")));
        let fault = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(format!("read {}: {error}", path.display())),
            Ok(bytes) => {
                let journal = store::read(&bytes, &self.boot, now);
                self.found.extend(journal.leases.iter().map(|(address, (mac, until))| Restored {
                    mac: *mac,
                    address: *address,
                    until: *until,
                }));
                self.kept.extend(journal.kept);
                (journal.damaged > 0).then(|| {
                    format!(
                        "{} is damaged: {} leases were read, {} are lost",
                        path.display(),
                        journal.leases.len(),
                        journal.damaged
                    )
                })
            }
        };
        self.loaded = true;
        let Some(fault) = fault else { return };
        let moved = match fs::rename(&path, &aside) {
            Ok(()) => format!("moved to {}", aside.display()),
            Err(error) => format!("could not be moved to {}: {error}", aside.display()),
        };
        let reason = format!(
            "{fault}; it was {moved}; a machine whose lease is lost may find its address given to another one"
        );
        events.emit(Event::failed("dhcp", "store", reason));
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let file = self.fresh(&open.folder).map_err(io::Error::other)?;
        self.open = Some(Open { file, length: 0, folder: open.folder });
        self.open_length()
    }

    fn open_length(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.length = open.file.metadata()?.len();
        Ok(())
    }

    /// Makes a journal with what is in force under another name, and renames it when it is on the card.
    fn fresh(&self, folder: &File) -> anyhow::Result<File> {
        let (path, partial) = (self.path(), self.folder.join(format!("{NAME}.new")));
        let attempt = || -> io::Result<File> {
            let lines = self.kept.values().map(Kept::line);
            let text: String = std::iter::once(HEADER.to_owned()).chain(lines).collect();
            fs::write(&partial, text)?;
            let file = OpenOptions::new().append(true).open(&partial)?;
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            folder.sync_all()?;
            Ok(file)
        };
        attempt().map_err(|error| {
            // On a full card half a journal takes the room that the next attempt needs.
            let _ = fs::remove_file(&partial);
            anyhow::Error::from(error).context(format!("make {}", path.display()))
        })
    }
}

/// The name of this boot. Where the kernel does not tell it, one that no other run has: leases then count in
/// full after each start.
fn boot_id(now: Millis) -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_else(|_| format!("unknown-{}-{now}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(last: u8, at: Millis) -> Change {
        let address = Ipv4Addr::new(10, 77, 0, last);
        Change { mac: MacAddr([2, 0, 0, 0, 0, last]), address, lease_s: 600, at }
    }

    fn events(folder: &Path) -> Events {
        Events::new(&folder.join("nobody-listens"))
    }

    fn open(folder: &Path) -> (Store, Vec<Restored>) {
        Store::open(folder, 1_000, &events(folder))
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("dhcp");
        let (mut store, restored) = open(&state);
        assert!(restored.is_empty());
        store.write(&[change(1, 1_000), change(2, 1_000)], 1_000, &events(&state)).unwrap();
        store.write(&[change(1, 2_000)], 2_000, &events(&state)).unwrap();
        drop(store);
        for _ in 0..2 {
            let (_store, restored) = Store::open(&state, 3_000, &events(&state));
            let found: Vec<_> =
                restored.iter().map(|lease| (lease.mac, lease.address, lease.until)).collect();
            let expect = [change(2, 1_000), change(1, 2_000)];
            assert_eq!(found, expect.map(|change| (change.mac, change.address, change.at + 600_000)));
        }
        let names: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [NAME], "no leftovers");
    }

    #[test]
    fn a_damaged_journal_is_moved_aside_and_service_goes_on() {
        for damage in [b"garbage".as_slice(), &[0; 100_000], &[0xff; 5000]] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(NAME), damage).unwrap();
            let (mut store, restored) = open(folder.path());
            assert!(restored.is_empty());
            store.write(&[change(1, 1_000)], 1_000, &events(folder.path())).unwrap();
            drop(store);
            assert_eq!(fs::read(folder.path().join("leases.journal.damaged")).unwrap(), damage);
            assert_eq!(open(folder.path()).1.len(), 1);
        }
    }

    #[test]
    fn a_journal_that_is_no_file_is_moved_aside_too() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(NAME)).unwrap();
        let (mut store, _) = open(folder.path());
        store.write(&[change(1, 1_000)], 1_000, &events(folder.path())).unwrap();
        assert!(folder.path().join("leases.journal.damaged").is_dir());
    }

    #[test]
    fn history_is_forgotten_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = open(folder.path());
        let renewals: Vec<_> = (0..1000).map(|at| change(1, at)).collect();
        for _ in 0..20 {
            store.write(&renewals, 1_000, &events(folder.path())).unwrap();
        }
        let length = fs::metadata(folder.path().join(NAME)).unwrap().len();
        assert!(length < LONG + 200_000, "{length}");
        drop(store);
        assert_eq!(open(folder.path()).1.len(), 1);
    }

    #[test]
    fn without_a_folder_nothing_is_promised_until_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("dhcp");
        fs::write(&state, "in the way").unwrap();
        let (mut store, _) = open(&state);
        assert!(store.write(&[change(1, 1_000)], 1_000, &events(&state)).is_err());
        fs::remove_file(&state).unwrap();
        let soon = 1_000 + RETRY - 1;
        assert!(store.write(&[change(1, soon)], soon, &events(&state)).is_err(), "not yet again");
        store.write(&[change(1, soon + 1)], soon + 1, &events(&state)).unwrap();
    }

    #[test]
    fn a_journal_that_another_server_has_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, _) = open(folder.path());
        first.write(&[change(1, 1_000)], 1_000, &events(folder.path())).unwrap();
        let (mut second, restored) = open(folder.path());
        assert!(restored.is_empty());
        assert!(second.write(&[change(2, 1_000)], 1_000, &events(folder.path())).is_err());
        drop(first);
        let now = 1_000 + RETRY;
        assert!(second.write(&[change(1, now)], now, &events(folder.path())).is_err(), "it is another's");
        assert_eq!(second.found().len(), 1);
        second.write(&[change(2, now)], now, &events(folder.path())).unwrap();
        drop(second);
        assert_eq!(open(folder.path()).1.len(), 2);
    }
}
