//! Power cuts: what was written to a card is recorded, and every state that a cut may have left is judged.
//!
//! A state is good when the slot that its table starts is whole, when it could go back if it is on trial, when the data
//! partition needs nothing but its journal played back, and when every lease that a machine was given is in it.

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_disk::{Extent, Mbr, Slot, Trial, layout, mbr};
use pilotlight_emulator::{asker, card as emulator_card, pi::Kind, scene::Scene};
use pilotlight_image::ReadAt;
use pilotlight_init::ext4::{self, Superblock};
use pilotlight_powercut::{Cuts, Log, SECTOR, State};
use pilotlight_tests::{
    process::{Outcome, must, run},
    surroundings::{self, Tools, checkout},
};

use crate::{
    PATIENCE,
    card::{self, PI},
    push::Desk,
};

/// How many machines are given an address.
const MACHINES: u8 = 24;
/// What the scene judges.
const SCENE: Rounds = Rounds { boundaries: 60, random: 60, booted: 0 };
/// What `cargo xtask soak` judges of each run: every flush.
const SOAK: Rounds = Rounds { boundaries: usize::MAX, random: 1_000, booted: 10 };
/// Where the leases are in the data partition.
const JOURNAL: &str = "/lib/pilotlight/dhcp/leases.journal";

/// How much is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    /// Moments after a flush, spread over all of them.
    pub(crate) boundaries: usize,
    /// Moments with a part of what was under way.
    pub(crate) random: u64,
    /// How many of the latter are started.
    pub(crate) booted: u64,
}

/// A lease that a machine was given, and how long the record was when it knew.
struct Promise {
    mac: [u8; 6],
    address: Ipv4Addr,
    reached: u64,
}

/// A recorded run.
pub(crate) struct Recorded {
    /// The card before it.
    base: PathBuf,
    log: PathBuf,
    promises: Vec<Promise>,
    /// The slots whose content may be another after it.
    written: Option<Slot>,
}

pub(crate) fn normal_running() -> Result<()> {
    let mut scene = card::scene("virt-power-cuts")?;
    let recorded = record_leases(&mut scene)?;
    println!("{}", judge(&recorded, SCENE, 1)?);
    card::tidy(scene)
}

pub(crate) fn soak_leases() -> Result<()> {
    soak("soak-leases", record_leases)
}

pub(crate) fn soak_update() -> Result<()> {
    soak("soak-update", record_update)
}

fn soak(name: &str, record: fn(&mut Scene) -> Result<Recorded>) -> Result<()> {
    let seed = std::env::var("PILOTLIGHT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut scene = card::scene(name)?;
    let recorded = record(&mut scene)?;
    println!("{}", judge(&recorded, SOAK, seed)?);
    for number in 0..SOAK.booted {
        start_one(&mut scene, &recorded, seed.wrapping_add(number * SOAK.random / SOAK.booted))?;
    }
    println!("{} of them were started, and were ready", SOAK.booted);
    card::tidy(scene)
}

/// Starts the card in one of the states that [`judge`] found good.
fn start_one(scene: &mut Scene, recorded: &Recorded, seed: u64) -> Result<()> {
    let base = fs::File::open(&recorded.base)?;
    let bytes = fs::read(&recorded.log)?;
    let log = Log::read(&bytes)?;
    let state = Cuts::new(&base, &bytes, &log).at_random(seed);
    let path = scene.folder().join("card.img");
    emulator_card::work_copy(&recorded.base, &path)?;
    let file = fs::File::options().write(true).open(&path)?;
    for (sector, content) in state.changed() {
        file.write_all_at(content, sector * SECTOR)?;
    }
    let card = card::at(&path, scene, surroundings::board(surroundings::BOARD)?)?;
    let ready = card::start(scene, Kind::Virt, &card).with_context(|| format!("the card {}", state.title))?;
    ensure!(ready.contains("data: ok") && ready.contains("failed units: none"), "{}: {ready}", state.title);
    scene.end(PI);
    Ok(())
}

/// A whole update: the other slot written, started on trial, and kept.
fn record_update(scene: &mut Scene) -> Result<Recorded> {
    let desk = Desk::new(scene.folder())?;
    let card = card::of_lab_file(scene, &desk.lab()?)?;
    let base = scene.folder().join("base.img");
    emulator_card::work_copy(card.path(), &base)?;
    let logs = ["push.writes", "trial.writes"].map(|name| scene.folder().join(name));
    card::start_recorded(scene, &card, &logs[0], Some(desk.port))?;
    let said = desk.push(checkout(), &desk.key())?;
    ensure!(said.status.success() && said.text.contains("slot b, read back"), "{}", said.text);
    scene.wait(PI, "a restart", PATIENCE, |heard| heard.closed.then_some(()))?;
    scene.end(PI);
    card::start_recorded(scene, &card, &logs[1], Some(desk.port))?;
    scene.wait_for(PI, "slot b is kept", PATIENCE)?;
    scene.end(PI);
    // One row of requests: nothing is under way while the Pi restarts.
    let mut whole = fs::read(&logs[0])?;
    let end = Log::read(&whole)?.entries.last().map_or(0, |entry| entry.end);
    whole.truncate(end);
    whole.extend(fs::read(&logs[1])?.get(SECTOR as usize..).unwrap_or_default());
    let log = scene.folder().join("update.writes");
    fs::write(&log, whole)?;
    Ok(Recorded { base, log, promises: Vec::new(), written: Some(Slot::B) })
}

/// A card's first start, with machines that are given addresses from the pool, until the plug is pulled.
pub(crate) fn record_leases(scene: &mut Scene) -> Result<Recorded> {
    let card = card::of_lab(scene, "scene")?;
    let base = scene.folder().join("base.img");
    emulator_card::work_copy(card.path(), &base)?;
    let log = scene.folder().join("leases.writes");
    card::start_recorded(scene, &card, &log, None)?;
    let mut promises = Vec::new();
    for number in 0..MACHINES {
        let mac = [0x52, 0x54, 0x00, 0xcc, 0x00, number];
        let address = asker::lease(scene.hub().path(), mac, PATIENCE).context("a machine got no address")?;
        let reached = fs::metadata(&log).context("there is no record of writes")?.len();
        promises.push(Promise { mac, address, reached });
    }
    scene.end(PI);
    Ok(Recorded { base, log, promises, written: None })
}

/// Judges states of a recorded run, and says how many were good; the first bad one is an error.
pub(crate) fn judge(recorded: &Recorded, rounds: Rounds, seed: u64) -> Result<String> {
    let base = fs::File::open(&recorded.base)?;
    let bytes = fs::read(&recorded.log).context("could not read the record of writes")?;
    let log = Log::read(&bytes)?;
    let cuts = Cuts::new(&base, &bytes, &log);
    let bench = Bench { base: &base, base_path: &recorded.base, recorded, last: cuts.last() };
    let all = cuts.boundaries();
    ensure!(all > 10, "only {all} flushes were recorded in {} requests", log.entries.len());
    let judged = all.min(rounds.boundaries);
    for number in 0..judged {
        // The first and the last are always among them.
        bench.judge(&cuts.at_boundary(number * (all - 1) / (judged - 1).max(1)))?;
    }
    for number in 0..rounds.random {
        bench.judge(&cuts.at_random(seed.wrapping_add(number)))?;
    }
    let requests = log.entries.len();
    Ok(format!(
        "{requests} requests, {all} flushes: {judged} states after a flush and {} with a part of what followed are good",
        rounds.random
    ))
}

/// What states are held against.
struct Bench<'a> {
    base: &'a fs::File,
    base_path: &'a Path,
    recorded: &'a Recorded,
    /// The card as it was when all was done.
    last: State<'a, fs::File>,
}

impl Bench<'_> {
    fn judge(&self, state: &State<'_, fs::File>) -> Result<()> {
        self.boots(state)
            .and_then(|()| self.keeps(state))
            .with_context(|| format!("the card {}", state.title))
    }

    /// Firmware, boot loader and `init` find all that they need.
    fn boots(&self, state: &State<'_, fs::File>) -> Result<()> {
        let now = table(state, 0).context("the firmware finds no partition table")?;
        let active = now.active_slot()?;
        self.is_whole(state, active).with_context(|| format!("slot {active}, which is started"))?;
        if now.trial != Trial::Settled {
            let fallback = table(state, layout::FALLBACK_SECTOR).context("there is nothing to go back to")?;
            ensure!(fallback.active_slot()? == active.other(), "the way back leads to slot {active} again");
            self.is_whole(state, active.other()).context("the slot to go back to")?;
        }
        Ok(())
    }

    /// A slot is what it was before the run, or what it was made in it.
    fn is_whole(&self, state: &State<'_, fs::File>, slot: Slot) -> Result<()> {
        let places = [slot.boot(), slot.root()];
        let within = |sector: u64| places.iter().any(|place| contains(*place, sector));
        let changed: BTreeMap<u64, &[u8]> = state.changed().filter(|(sector, _)| within(*sector)).collect();
        if self.recorded.written != Some(slot) {
            let mut before = [0; SECTOR as usize];
            for (sector, content) in changed {
                ReadAt::read_exact_at(self.base, sector * SECTOR, &mut before)?;
                ensure!(before == content, "sector {sector} of a slot that nobody writes to is another");
            }
            return Ok(());
        }
        let whole: BTreeMap<u64, &[u8]> = self.last.changed().filter(|(sector, _)| within(*sector)).collect();
        ensure!(changed == whole, "{} of {} sectors are there", changed.len(), whole.len());
        Ok(())
    }

    /// The data partition can be used, and nothing that was promised is lost.
    fn keeps(&self, state: &State<'_, fs::File>) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let place = table(state, 0)?.partition(layout::DATA_PARTITION).context("no data partition")?.extent();
        self.cut_out(state, place, &data)?;
        let mut superblock = [0; ext4::LENGTH];
        ReadAt::read_exact_at(state, place.start + ext4::OFFSET, &mut superblock)?;
        // As `init` does it; what is then left to repair would be a fault.
        let torn = Superblock::parse(&superblock)?.torn;
        let way: &[&str] = if torn { &["-f", "-y"] } else { &["-E", "journal_only", "-p"] };
        let check = |way: &[&str]| {
            let mut check = Command::new(Tools::checkers()?.program("e2fsck")?);
            run(check.args(way).arg(&data), PATIENCE)
        };
        // Of a torn superblock's two tries the second counts; then it is believed.
        let first = check(way)?;
        let is_good = |outcome: &Outcome| matches!(outcome.status.code(), Some(0 | 1));
        if torn && !is_good(&check(way)?) {
            ext4::believe(&mut superblock);
            fs::File::options().write(true).open(&data)?.write_all_at(&superblock, ext4::OFFSET)?;
            check(way)?;
        }
        for way in [way, &["-f", "-p"]] {
            let checked = check(way)?;
            ensure!(is_good(&checked), "e2fsck {}: {}\nbefore: {}", way.join(" "), checked.text, first.text);
        }
        let owed: Vec<&Promise> =
            self.recorded.promises.iter().filter(|promise| promise.reached <= state.reached as u64).collect();
        if owed.is_empty() {
            return Ok(());
        }
        let journal = folder.path().join("journal");
        let mut dump = Command::new(Tools::checkers()?.program("debugfs")?);
        must(dump.arg("-R").arg(format!("dump {JOURNAL} {}", journal.display())).arg(&data), PATIENCE)?;
        let journal = fs::read(&journal).context("the leases' journal is not there")?;
        let journal = pilotlight_dhcp::store::read(&journal, "another boot", 0);
        ensure!(journal.damaged == 0, "{} leases are damaged", journal.damaged);
        for promise in &owed {
            let found = journal.leases.get(&promise.address).map(|(mac, _)| mac.0);
            ensure!(found == Some(promise.mac), "the lease of {} is lost: {found:?}", promise.address);
        }
        Ok(())
    }

    /// The extent of a state as a file, holes where the base has some.
    fn cut_out(&self, state: &State<'_, fs::File>, place: Extent, to: &Path) -> Result<()> {
        use rustix::fs::{SeekFrom, seek};
        let out = fs::File::create(to)?;
        out.set_len(place.len)?;
        let base = fs::File::open(self.base_path)?;
        let mut buffer = vec![0; 1 << 20];
        let mut at = place.start;
        while at < place.end() {
            let Ok(start) = seek(&base, SeekFrom::Data(at)) else { break };
            let end = seek(&base, SeekFrom::Hole(start))?.min(place.end());
            let (mut from, start) = (start.min(place.end()), start);
            while from < end {
                let length = buffer.len().min((end - from) as usize);
                ReadAt::read_exact_at(&base, from, &mut buffer[..length])?;
                out.write_all_at(&buffer[..length], from - place.start)?;
                from += length as u64;
            }
            at = end.max(start + 1);
        }
        for (sector, content) in state.changed().filter(|(sector, _)| contains(place, *sector)) {
            out.write_all_at(content, sector * SECTOR - place.start)?;
        }
        Ok(())
    }
}

fn contains(place: Extent, sector: u64) -> bool {
    (place.start..place.end()).contains(&(sector * SECTOR))
}

fn table(state: &State<'_, fs::File>, sector: u64) -> Result<Mbr> {
    let mut bytes = [0; mbr::LEN];
    ReadAt::read_exact_at(state, sector * SECTOR, &mut bytes)?;
    Ok(Mbr::parse(&bytes)?)
}
