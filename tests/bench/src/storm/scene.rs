//! A scene: who is switched on, over what wire, and what goes wrong.

use std::{sync::mpsc, thread, time::Duration};

use anyhow::Result;
use pilotlight_emulator::fault::Faults;
use pilotlight_tests::{
    bad_wire::Weather,
    herd::{self, Fared, Herd, Member},
    namespace::Cable,
    rack::{self, Killed, Services},
    surroundings::Tools,
};

use crate::{
    link::{self, Count},
    table,
};

/// What can be played.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    /// What is said above its figures.
    title: &'static str,
    pub(crate) machines: u32,
    /// What each gets over HTTP unless told otherwise, in bytes.
    pub(crate) bytes: u64,
    /// Whether it is played when none is named.
    pub(crate) usual: bool,
    wire: Option<Weather>,
    wrong: Wrong,
}

/// What goes wrong beside the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Some machines vanish, never acknowledge, or flood; the others are compared with a run without them.
    Villains,
    /// Services are killed, one each time this has passed.
    Kills(Duration),
}

/// A rack, without anything wrong.
const RACK: Scene = Scene {
    name: "rack",
    title: "a rack is switched on",
    machines: 200,
    bytes: 6_000_000,
    usual: true,
    wire: None,
    wrong: Wrong::Nothing,
};

/// A cable that does nothing to frames.
const FAIR: Weather = Weather { lost: 0, doubled: 0, jitter: Duration::ZERO, overtake: false, seed: 1 };

/// All of them.
pub(crate) const ALL: &[Scene] = &[
    RACK,
    Scene {
        name: "loss",
        title: "2 % of all frames are lost",
        wire: Some(Weather { lost: 20, ..FAIR }),
        ..RACK
    },
    Scene {
        name: "jitter",
        title: "up to 200 ms of jitter, in order",
        wire: Some(Weather { jitter: Duration::from_millis(200), ..FAIR }),
        ..RACK
    },
    Scene {
        name: "shuffle",
        title: "up to 200 ms of jitter, and frames overtake each other",
        wire: Some(Weather { jitter: Duration::from_millis(200), overtake: true, ..FAIR }),
        usual: false,
        ..RACK
    },
    Scene { name: "thousand", title: "a hall is switched on", machines: 1000, ..RACK },
    Scene {
        name: "villains",
        title: "one vanishes, one never acknowledges, one floods",
        machines: 60,
        bytes: 2_000_000,
        wrong: Wrong::Villains,
        ..RACK
    },
    Scene {
        name: "kills",
        title: "the services are killed in turn",
        bytes: 2_000_000,
        wrong: Wrong::Kills(Duration::from_secs(4)),
        ..RACK
    },
];

/// Far longer than any of it takes.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How many services are killed while machines boot: firmware begins a download anew, so that none would ever end if it
/// went on for ever.
const KILLS: usize = 9;
/// How often the machine gone wild speaks: three datagrams each time.
const FLOOD: Duration = Duration::from_millis(1);

pub(crate) fn play(scene: &Scene, machines: u32, bytes: u64, seed: u64) -> Result<()> {
    let clients = Tools::clients()?;
    let cable = match scene.wire {
        None => Cable::lay(&clients)?,
        Some(weather) => Cable::lay_badly(&clients, Weather { seed, ..weather })?,
    };
    link::shape(&cable, &clients)?;
    herd::prepare(&cable)?;
    let title = |what: &str| format!("{what}: {machines} machines, {bytes} bytes each over HTTP");
    let boot = |members: Vec<Member>| -> Result<(Vec<Fared>, Count)> {
        let mut services = Services::start(&cable, &members, bytes as usize, seed)?;
        let (fared, count) = storm(members, seed)?;
        services.must_be_alive()?;
        services.judge(&fared)?;
        services.end()?;
        Ok((fared, count))
    };
    match scene.wrong {
        Wrong::Nothing => {
            let (fared, count) = boot(rack::machines(machines))?;
            table::print(&title(scene.title), &fared, count);
        }
        Wrong::Villains => {
            let (alone, count) = boot(rack::machines(machines))?;
            table::print(&title("without them"), &alone, count);
            let mut members = rack::machines(machines);
            members.extend(rack::villains(machines, FLOOD));
            let (beside, count) = boot(members)?;
            table::print(&title(scene.title), &beside, count);
            table::compare(&alone, &beside);
        }
        Wrong::Kills(each) => {
            let members = rack::machines(machines);
            let mut services = Services::start(&cable, &members, bytes as usize, seed)?;
            let (over, stop) = mpsc::channel();
            let (booted, killed) = thread::scope(|scope| {
                let (services, cable) = (&mut services, &cable);
                let killer = scope.spawn(move || {
                    let killed = services.kill_in_turn(cable, each, KILLS, &stop);
                    // Those that it has started end with this thread.
                    killed.and_then(|killed| services.must_be_alive().map(|()| killed))
                });
                let booted = storm(members, seed);
                drop(over);
                (booted, killer.join())
            });
            let (fared, count) = booted?;
            let killed: Vec<Killed> =
                killed.map_err(|_| anyhow::anyhow!("the thread that kills services has panicked"))??;
            services.judge(&fared)?;
            services.end()?;
            table::print(&title(scene.title), &fared, count);
            table::killed(&killed);
        }
    }
    Ok(())
}

/// Switches them on, and waits for all.
fn storm(members: Vec<Member>, seed: u64) -> Result<(Vec<Fared>, Count)> {
    let herd = Herd::new(members, Faults { seed, ..Faults::default() })?;
    let before = Count::now()?;
    let mut told = 0;
    let fared = herd.run(PATIENCE, |now, booted| {
        if now.as_secs() / 30 > told {
            told = now.as_secs() / 30;
            eprintln!("  after {} s {booted} machines have booted", now.as_secs());
        }
        Ok(())
    })?;
    Ok((fared, Count::now()?.since(before)))
}
