//! Names and time on a running Pi, asked for by its own C library and set as an operator does.

use anyhow::{Context as _, Result, ensure};
use pilotlight_emulator::{pi::Kind, scene::Scene};

use crate::{card, database::asked};

/// What all our daemons may take together while nobody wants anything of them, in KiB. They take some 7,500.
const MOST_MEMORY: u64 = 16 * 1024;

/// A client that has its first block before the TFTP server is started anew, and its second one after: from the same port,
/// whatever was sent again.
const ACROSS_A_RESTART: &str = concat!(
    "perl -MSocket -e 'alarm 60; socket(S, PF_INET, SOCK_DGRAM, 0); $a = sockaddr_in(69, inet_aton(\"10.77.0.1\")); ",
    r#"send(S, "\0\1ipxe.efi\0octet\0", 0, $a); $from = recv(S, $data, 600, 0); print unpack("H8", $data), " "; "#,
    r#"system("systemctl restart pilotlight-tftpd"); send(S, "\0\4\0\1", 0, $from); "#,
    r#"do { $again = recv(S, $data, 600, 0) } while (unpack("H8", $data) eq "00030001"); "#,
    r#"print unpack("H8", $data), $again eq $from ? " from its port\n" : " from another port\n"; "#,
    r#"send(S, "\0\5\0\0enough\0", 0, $from)'"#,
);

pub(crate) fn names_and_time() -> Result<()> {
    let mut scene = card::scene("virt-names-and-time")?;
    let card = card::of_image(&scene)?;
    card::start_shell(&mut scene, Kind::Virt, "ttyAMA0", &card)?;
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
        (ACROSS_A_RESTART, "00030001 00030002 from its port"),
        ("systemctl show -P NFileDescriptorStore pilotlight-tftpd", "0"),
        ("systemctl kill -s KILL pilotlight-ntpd; sleep 3; pilotctl clock", "set by an operator"),
    ] {
        let said = asked(&mut scene, command)?;
        ensure!(said.iter().any(|line| line.contains(expect)), "{command}: {}", said.join("\n"));
    }
    memory(&mut scene, MOST_MEMORY)?;
    scene.end(card::PI);

    // The plug was pulled: the clock goes on from there, and is not believed.
    card::start_shell(&mut scene, Kind::Virt, "ttyAMA0", &card)?;
    for (command, expect) in [("date -u +%Y", "2037"), ("pilotctl clock", "nobody has set the clock")] {
        let said = asked(&mut scene, command)?;
        ensure!(said.iter().any(|line| line.contains(expect)), "{command}: {}", said.join("\n"));
    }
    card::tidy(scene)
}

/// What the processes of our units take, what they share with one another counted once (PSS).
pub(crate) fn memory(scene: &mut Scene, most_kib: u64) -> Result<()> {
    const SUM: &str = "for pid in $(cat /sys/fs/cgroup/system.slice/pilotlight-*.service/cgroup.procs); do \
        echo $(cat /proc/$pid/comm) $(sed -n 's/^Pss: *//p' /proc/$pid/smaps_rollup); done";
    let said = asked(scene, SUM)?;
    let mut total = 0;
    for line in said.iter().filter(|line| !line.starts_with("status ")) {
        let kib = line.strip_suffix(" kB").and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        total += kib.with_context(|| format!("no figure: {line}"))?;
        println!("{line}");
    }
    println!("memory of all services: {:.1} MB PSS", total as f64 / 1024.0);
    ensure!(said.len() > 6, "not all services run: {}", said.join(", "));
    ensure!(total <= most_kib, "the services take {total} KiB, {most_kib} are allowed");
    Ok(())
}
