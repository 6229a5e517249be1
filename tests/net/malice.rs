//! Strangers without number, relays that are none, options without end: who belongs here is served all the same, and
//! memory stays within bounds.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_dhcp::packet::Draft;
use pilotlight_lab::MacAddr;
use pilotlight_tests::{daemon::Daemon, namespace::CLIENT};

use crate::{
    machines::{ACK, DISCOVER, Wire, message, renew, select, stranger},
    stage::{LAB, Stage},
};

const NODE: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0x11]);
const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
/// Somebody who has a lease when it begins.
const GUEST: u32 = u32::MAX;
/// What a server may take more of memory after all of this, in KiB: it remembers 65,536 addresses at most.
const BOUND: u64 = 24 * 1024;
/// More than there are addresses in the larger pool.
const STRANGERS: u32 = 66_000;
/// How many ask at a time.
const BATCH: u32 = 100;

/// The memory of a process in KiB, what it shares counted in proportion.
fn memory(server: &Daemon) -> Result<u64> {
    let path = format!("/proc/{}/smaps_rollup", server.pid());
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix("kB"));
    line.and_then(|kib| kib.trim().parse().ok()).with_context(|| format!("{path} has no Pss"))
}

/// A pool of the whole network, and all of it asked for.
pub(crate) fn starvation() -> Result<()> {
    let lab = LAB.replace("10.77.0.1/24", "10.77.0.1/16").replace("10.77.0.100", "10.77.1.0");
    let stage = Stage::set(&lab.replace("10.77.0.199", "10.77.255.254"))?;
    let mut server = stage.dhcpd()?;
    let wire = Wire::open(&stage)?;
    let guest = wire.lease(stranger(GUEST))?;
    let before = memory(&server)?;
    let mut offered = 0;
    for batch in 0..STRANGERS / BATCH {
        for number in batch * BATCH..(batch + 1) * BATCH {
            wire.say(&message(stranger(number), DISCOVER, &[]))?;
        }
        // As fast as offers come, so that none is lost for want of room.
        let mut heard = 0;
        while heard < BATCH && wire.hear(Duration::from_millis(100))?.is_some() {
            heard += 1;
        }
        offered += heard;
    }
    server.event("a pool that is exhausted", |event| event["kind"] == "pool-exhausted")?;
    let after = memory(&server)?;
    println!("{offered} strangers were made an offer; {before} KiB before, {after} KiB after");
    ensure!(after < before + BOUND, "memory went from {before} to {after} KiB");
    let node = wire.insist(&select(NODE, NODE_ADDRESS), ACK)?;
    ensure!(node.yiaddr == NODE_ADDRESS, "the named machine got {}", node.yiaddr);
    let again = wire.insist(&renew(stranger(GUEST), guest), ACK)?;
    ensure!(again.yiaddr == guest && wire.lease(stranger(GUEST))? == guest, "who had {guest} lost it");
    server.must_be_alive()
}

/// Relays that are none, options that never end, and a flood of both kinds of DISCOVER beside udhcpc.
pub(crate) fn bombs() -> Result<()> {
    let stage = Stage::set(LAB)?;
    let mut server = stage.dhcpd()?;
    let wire = Wire::open(&stage)?;
    let before = memory(&server)?;
    for number in 0..2000u32 {
        let elsewhere = Ipv4Addr::from_bits(0xc000_0200 + number);
        let [a, b, c, d] = elsewhere.octets();
        let link = vec![5, 4, a, b, c, d];
        let discover = message(stranger(number), DISCOVER, &[]);
        wire.say(&Draft { giaddr: elsewhere, ..discover.clone() })?;
        // A relay of this network that says it speaks for another one, and one that says nothing that can be read.
        let relay = Ipv4Addr::new(10, 77, 0, 77);
        wire.say(&Draft { giaddr: relay, relay_information: Some(link), ..discover.clone() })?;
        let nonsense = vec![5; 250];
        wire.say(&Draft { giaddr: elsewhere, relay_information: Some(nonsense), ..discover })?;
    }
    let foreign = |event: &serde_json::Value| event["kind"] == "foreign-link";
    server.event("a relay that is not of this network", foreign)?;
    let offers = server.events(|event| event["stage"] == "offer");
    ensure!(offers.is_empty(), "strangers elsewhere were made offers: {offers:?}");
    // One option in thousands of pieces, which are one (RFC 3396); options without a value; options in options.
    for number in 0..200u32 {
        let mut bomb = message(stranger(number % 8), DISCOVER, &[]).write(300)?[..243].to_vec();
        for piece in 0..5000u32 {
            let code = [61, 82, 43, 97, 118, number as u8 | 1][piece as usize % 6];
            bomb.extend([code, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        }
        // What does not fit into a datagram of this path is not sent: then it is as good as lost.
        let _ = wire.shout(&bomb);
        bomb.truncate(1400);
        wire.shout(&bomb)?;
    }
    let after = memory(&server)?;
    println!("{before} KiB before, {after} KiB after");
    ensure!(after < before + BOUND, "memory went from {before} to {after} KiB");
    beside_a_flood(&stage)?;
    server.must_be_alive()
}

/// A machine that is named gets its address while strangers shout as loud as they can.
fn beside_a_flood(stage: &Stage) -> Result<()> {
    for change in ["down", &format!("address {NODE}"), "up"] {
        stage.cable.ip(&format!("link set {CLIENT} {change}"))?;
    }
    // The routes went with the link.
    stage.cable.ip(&format!("route add 255.255.255.255 dev {CLIENT}"))?;
    static OVER: AtomicBool = AtomicBool::new(false);
    let flood = thread::spawn(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_broadcast(true)?;
        let mut sent = 0u32;
        while !OVER.load(Ordering::Relaxed) {
            let draft = message(stranger(1 << 24 | sent), DISCOVER, &[]);
            // The queue of the interface may be full.
            let _ = socket.send_to(&draft.write(300).unwrap_or_default(), "255.255.255.255:67");
            sent += 1;
        }
        Ok::<u32, std::io::Error>(sent)
    });
    let mut client = stage.client("udhcpc")?;
    client.args(["-f", "-n", "-q", "-t", "20", "-T", "1", "-A", "1", "-i", CLIENT, "-s", "/bin/true"]);
    let asked = client.output().context("could not start udhcpc");
    OVER.store(true, Ordering::Relaxed);
    let sent = flood.join().map_err(|_| anyhow::anyhow!("the flood ended early"))??;
    let asked = asked?;
    println!("udhcpc has its address beside {sent} DISCOVERs");
    ensure!(asked.status.success(), "no lease: {}", String::from_utf8_lossy(&asked.stderr));
    Ok(())
}
