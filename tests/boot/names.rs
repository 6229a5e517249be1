//! Names and time on a running Pi, asked for by its own C library and set as an operator does.

use anyhow::{Result, ensure};

use crate::{card, database::asked};

pub(crate) fn names_and_time() -> Result<()> {
    let mut scene = card::scene("virt-names-and-time")?;
    let card = card::of_image(&scene)?;
    card::start_with_shell(&mut scene, &card)?;
    for (command, expect) in [
        ("getent hosts pilotlight.lab.home.arpa", "10.77.0.1"),
        ("getent hosts 10.77.0.1", "pilotlight.lab.home.arpa"),
        ("getent hosts none.lab.home.arpa", "status 2"),
        ("pilotctl clock", "nobody has set the clock"),
        ("pilotctl clock --set 2027-02-29T08:00:00Z", "is no time"),
        ("pilotctl clock --set 2037-01-15T08:00:00Z", "set by an operator 0 s ago"),
        ("date -u +%F", "2037-01-15"),
        // What the next start goes on from.
        ("stat -c %y /var/lib/pilotlight/ntp/clock", "2037-01-15"),
        ("systemctl kill -s KILL pilotlight-ntpd; sleep 3; pilotctl clock", "set by an operator"),
    ] {
        let said = asked(&mut scene, command)?;
        ensure!(said.iter().any(|line| line.contains(expect)), "{command}: {}", said.join("\n"));
    }
    scene.end(card::PI);

    // The plug was pulled: the clock goes on from there, and is not believed.
    card::start_with_shell(&mut scene, &card)?;
    for (command, expect) in [("date -u +%Y", "2037"), ("pilotctl clock", "nobody has set the clock")] {
        let said = asked(&mut scene, command)?;
        ensure!(said.iter().any(|line| line.contains(expect)), "{command}: {}", said.join("\n"));
    }
    card::tidy(scene)
}
