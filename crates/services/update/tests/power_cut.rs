//! An update with the plug pulled at every step, on a card that loses any part of what it was not told to keep.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    sync::OnceLock,
};

use pilotlight_disk::{
    Mbr, Slot, Trial,
    layout::{self, FALLBACK_SECTOR, SECTOR},
};
use pilotlight_update::{
    Area, ChangeError, Disk, Hash, Known, Manifest, Piece, arm, cut, find_in_place, go_back, index, missing,
    send_piece, settle, table, take, verify,
};
use proptest::prelude::*;

const SIGNATURE: u32 = 0x0bad_cafe;
const SIZE: usize = SECTOR as usize;

/// A card in memory: what it has for good, and what it may lose, sector by sector.
#[derive(Default)]
struct Card {
    kept: RefCell<BTreeMap<u64, [u8; SIZE]>>,
    pending: RefCell<BTreeMap<u64, [u8; SIZE]>>,
    /// How many more writes and flushes there will be before the plug is pulled.
    left: Cell<Option<u32>>,
}

impl Card {
    fn sector(&self, number: u64) -> [u8; SIZE] {
        let newest = self.pending.borrow().get(&number).copied();
        newest.or_else(|| self.kept.borrow().get(&number).copied()).unwrap_or([0; SIZE])
    }

    fn step(&self) -> io::Result<()> {
        match self.left.get() {
            Some(0) => return Err(io::Error::other("the plug is pulled")),
            Some(left) => self.left.set(Some(left - 1)),
            None => {}
        }
        Ok(())
    }

    /// The plug is pulled: of what is pending, whichever sectors `lucky` says are kept.
    fn cut(&self, mut lucky: impl FnMut() -> bool) {
        for (number, bytes) in std::mem::take(&mut *self.pending.borrow_mut()) {
            if lucky() {
                self.kept.borrow_mut().insert(number, bytes);
            }
        }
        self.left.set(None);
    }
}

impl Disk for Card {
    fn read(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = at + done as u64;
            let within = (at % SECTOR) as usize;
            let len = (SIZE - within).min(buf.len() - done);
            buf[done..done + len].copy_from_slice(&self.sector(at / SECTOR)[within..within + len]);
            done += len;
        }
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        let mut done = 0;
        while done < bytes.len() {
            let at = at + done as u64;
            let (number, within) = (at / SECTOR, (at % SECTOR) as usize);
            let len = (SIZE - within).min(bytes.len() - done);
            let mut sector = self.sector(number);
            sector[within..within + len].copy_from_slice(&bytes[done..done + len]);
            self.pending.borrow_mut().insert(number, sector);
            done += len;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.step()?;
        self.cut_nothing();
        Ok(())
    }
}

impl Card {
    fn cut_nothing(&self) {
        let left = self.left.get();
        self.cut(|| true);
        self.left.set(left);
    }
}

/// Bytes that look like nothing else.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(step).collect()
}

/// A system: its boot partition and its root.
type System = [Vec<u8>; 2];
const AREAS: [Area; 2] = [Area::Boot, Area::Root];

fn old() -> System {
    [noise(1, 60_000), noise(2, 300_000)]
}

/// The next one: a changed root, and a boot partition that names the other slot.
fn new() -> System {
    let [mut boot, mut root] = old();
    boot[100..120].fill(7);
    root.splice(130_000..130_010, noise(3, 20_000));
    [boot, root]
}

/// A card that runs `old` from slot A.
fn card() -> Card {
    let card = Card::default();
    let table = Mbr::for_card(SIGNATURE, Slot::A, layout::IMAGE_LEN / SECTOR).unwrap();
    card.write(0, &table.encode()).unwrap();
    for (area, bytes) in AREAS.into_iter().zip(old()) {
        card.write(area.of(Slot::A).start, &bytes).unwrap();
    }
    card.flush().unwrap();
    card
}

fn manifest(system: &System) -> Manifest {
    let pieces = AREAS.into_iter().zip(system).flat_map(|(area, bytes)| {
        cut(bytes).into_iter().map(move |range| Piece {
            area,
            at: range.start as u64,
            len: range.len() as u32,
            sha256: Hash::of(&bytes[range]),
        })
    });
    Manifest {
        signature: format!("{SIGNATURE:08x}"),
        slot: "b".to_owned(),
        board: "rpi3".to_owned(),
        lab: Hash::of(b"lab"),
        pieces: pieces.collect(),
    }
}

/// The whole update, as the daemon does it. Returns how many bytes the desk sent.
fn update(card: &Card, system: &System) -> Result<usize, ChangeError> {
    let manifest = manifest(system);
    let mut known = Known::new();
    for (area, bytes) in AREAS.into_iter().zip(old()) {
        let mut running = vec![0; bytes.len()];
        card.read(area.of(Slot::A).start, &mut running).unwrap();
        index(running.as_slice(), area.of(Slot::A).start, &mut known).unwrap();
    }
    find_in_place(card, &manifest, &mut known)?;
    let mut line = Vec::new();
    for number in missing(&manifest, &table(card)?, Slot::A, &known)? {
        let piece = manifest.pieces[number as usize];
        let bytes = &system[usize::from(piece.area == Area::Root)];
        send_piece(&mut line, &bytes[piece.at as usize..][..piece.len as usize]).unwrap();
    }
    take(card, &manifest, &known, &mut line.as_slice())?;
    verify(card, &manifest)?;
    arm(card, Slot::B)?;
    Ok(line.len())
}

/// What the boot loader does, and what it then starts: a slot, which is whole.
fn start(card: &Card) -> Slot {
    let table = table(card).unwrap();
    let table = match table.trial {
        Trial::Settled => table,
        Trial::Armed => {
            let mut sector = table.encode();
            sector[..4].copy_from_slice(b"PLt2");
            card.write(0, &sector).unwrap();
            table
        }
        Trial::Tried => {
            let mut fallback = [0; SIZE];
            card.read(FALLBACK_SECTOR * SECTOR, &mut fallback).unwrap();
            assert_eq!(Mbr::parse(&fallback).unwrap().signature, SIGNATURE, "there is no way back");
            card.write(0, &fallback).unwrap();
            return start(card);
        }
    };
    card.flush().unwrap();
    let slot = table.active_slot().unwrap();
    let system = if slot == Slot::A { old() } else { new() };
    for (area, bytes) in AREAS.into_iter().zip(system) {
        let mut found = vec![0; bytes.len()];
        card.read(area.of(slot).start, &mut found).unwrap();
        assert!(found == bytes, "slot {slot} was started, and its {area:?} is not whole");
    }
    slot
}

#[test]
fn an_update_sends_what_differs_and_is_tried_once() {
    let card = card();
    let sent = update(&card, &new()).unwrap();
    assert!(sent > 20_000 && sent < 300_000, "{sent} bytes were sent");
    assert!(matches!(update(&card, &new()), Err(ChangeError::OnTrial)));
    assert_eq!(start(&card), Slot::B);
    assert_eq!(start(&card), Slot::A, "nobody said that it works");
    update(&card, &new()).unwrap();
    assert_eq!(start(&card), Slot::B);
    settle(&card).unwrap();
    assert_eq!([start(&card), start(&card)], [Slot::B, Slot::B]);
    assert!(matches!(update(&card, &new()), Err(ChangeError::OtherNext { .. })));
    go_back(&card).unwrap();
    assert_eq!(start(&card), Slot::B, "there was no trial to go back from");
}

#[test]
fn what_does_not_fit_the_card_is_refused() {
    let card = card();
    let good = manifest(&new());
    let table = table(&card).unwrap();
    let check = |change: &dyn Fn(&mut Manifest), expect: &str| {
        let mut manifest = good.clone();
        change(&mut manifest);
        let said = missing(&manifest, &table, Slot::A, &Known::new()).unwrap_err().to_string();
        assert!(said.contains(expect), "{said}");
    };
    check(
        &|offer| offer.signature = "00000001".to_owned(),
        "the offer is for the card 00000001, this one is 0badcafe",
    );
    check(&|offer| offer.slot = "a".to_owned(), "the offer is for slot a, which runs");
    check(&|offer| offer.slot = "c".to_owned(), "slot \"c\"");
    check(&|offer| offer.pieces.clear(), "0 pieces");
    // Another piece than the one that was offered.
    let mut line = Vec::new();
    send_piece(&mut line, b"something else").unwrap();
    let fault = take(&card, &good, &Known::new(), &mut line.as_slice()).unwrap_err().to_string();
    assert!(fault.contains("is not what was offered"), "{fault}");
    assert_eq!(start(&card), Slot::A);
}

/// How many writes and flushes an update takes.
fn steps() -> u32 {
    static STEPS: OnceLock<u32> = OnceLock::new();
    *STEPS.get_or_init(|| {
        let card = card();
        card.left.set(Some(u32::MAX));
        update(&card, &new()).unwrap();
        u32::MAX - card.left.get().unwrap()
    })
}

#[test]
fn the_plug_is_pulled_at_every_step_with_nothing_and_with_all_of_it_written() {
    for left in 0..=steps() {
        for lucky in [false, true] {
            let card = card();
            card.left.set(Some(left));
            let _ = update(&card, &new());
            card.cut(|| lucky);
            start(&card);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is lost, a whole system starts; and a second try succeeds.
    #[test]
    fn the_plug_is_pulled_anywhere(left in 0..60_u32, seed: u64) {
        let card = card();
        card.left.set(Some(left % (steps() + 1)));
        let done = update(&card, &new()).is_ok();
        let mut luck = noise(seed, 4096).into_iter().cycle();
        card.cut(|| luck.next().is_some_and(|byte| byte & 1 == 0));
        let slot = start(&card);
        prop_assert!(!done || slot == Slot::B, "it said armed, and slot A started");
        if slot == Slot::A {
            update(&card, &new()).unwrap();
            prop_assert_eq!(start(&card), Slot::B);
        }
    }
}
