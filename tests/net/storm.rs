//! A small rack that is switched on at once: on a bad wire, beside machines with trouble of their own, and while services
//! are killed. The figures are `cargo xtask bench storm`'s; here every machine has to boot.

use std::{sync::mpsc, thread, time::Duration};

use anyhow::{Result, ensure};
use pilotlight_emulator::fault::Faults;
use pilotlight_tests::{
    daemon::PATIENCE,
    herd::{self, Herd},
    namespace::Cable,
    rack::{self, Services},
    surroundings::Tools,
};

/// What each machine gets over HTTP, in bytes.
const SYSTEM: usize = 500_000;

/// One datagram in ten is lost, others come twice or late; one machine vanishes, one never acknowledges, one floods.
pub(crate) fn faults() -> Result<()> {
    let cable = Cable::lay(&Tools::clients()?)?;
    herd::prepare(&cable)?;
    let mut members = rack::machines(8);
    members.extend(rack::villains(8, Duration::from_millis(5)));
    let mut services = Services::start(&cable, &members, SYSTEM, 1)?;
    let herd = Herd::new(members, Faults { seed: 1, lost: 100, doubled: 50, late: 50 })?;
    let fared = herd.run(PATIENCE * 3, |_, _| Ok(()))?;
    services.must_be_alive()?;
    services.judge(&fared)?;
    let setbacks: usize = fared.iter().map(|one| one.machine.setbacks().len()).sum();
    println!("all 8 booted; {setbacks} starts had led nowhere");
    Ok(())
}

/// Each service is killed more than once while machines boot from it.
pub(crate) fn killed() -> Result<()> {
    let cable = Cable::lay(&Tools::clients()?)?;
    herd::prepare(&cable)?;
    let mut members = rack::machines(40);
    // Somebody is at every stage when a service goes.
    for (number, member) in (0..).zip(&mut members) {
        member.on = Duration::from_millis(50 * number);
    }
    let mut services = Services::start(&cable, &members, SYSTEM, 1)?;
    let herd = Herd::new(members, Faults { seed: 1, ..Faults::default() })?;
    let (over, stop) = mpsc::channel();
    let (fared, killed) = thread::scope(|scope| {
        let (services, cable) = (&mut services, &cable);
        let killer = scope.spawn(move || {
            let killed = services.kill_in_turn(cable, Duration::from_millis(150), usize::MAX, &stop);
            // Those that it has started end with this thread.
            killed.and_then(|killed| services.must_be_alive().map(|()| killed))
        });
        let fared = herd.run(PATIENCE * 3, |_, _| Ok(()));
        drop(over);
        (fared, killer.join())
    });
    let killed = killed.map_err(|_| anyhow::anyhow!("the thread that kills services has panicked"))??;
    services.judge(&fared?)?;
    ensure!(killed.len() >= 3, "only {killed:?} were killed while machines booted");
    let slowest = killed.iter().map(|one| one.back_after.as_millis()).max().unwrap_or_default();
    println!("all 40 booted; services were killed {} times, ready again after {slowest} ms", killed.len());
    Ok(())
}
