//! A card that takes its time, which cards do: an OFFER does not wait for it, an ACK does, and soon enough.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_dhcp::packet::{Draft, Packet};
use pilotlight_lab::MacAddr;
use pilotlight_tests::{daemon::PATIENCE, namespace::CLIENT};

use crate::stage::{LAB, Stage};

/// Machines that ask at once.
const MACHINES: u8 = 50;
/// What firmware waits for an ACK before it asks again: EDK II's first round (PXE 2.1 § 2.2.6).
const FIRMWARE_WAITS: Duration = Duration::from_secs(4);
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// The clients' end, on which all machines speak.
struct Wire(UdpSocket);

impl Wire {
    fn say(&self, machine: u8, kind: u8, options: &[(u8, Vec<u8>)]) -> Result<()> {
        let draft = Draft {
            op: 1.into(),
            xid: u32::from(machine),
            flags: 0x8000.into(),
            ciaddr: NONE,
            yiaddr: NONE,
            siaddr: NONE,
            giaddr: NONE,
            mac: MacAddr([0x52, 0x54, 0, 0, 1, machine]),
            file: String::new(),
            options: [&[(53, vec![kind])], options].concat(),
            relay_information: None,
        };
        self.0.send_to(&draft.write(548)?, "255.255.255.255:67").map(drop).context("could not ask")
    }

    fn request(&self, machine: u8, address: Ipv4Addr) -> Result<()> {
        self.say(machine, REQUEST, &[(54, vec![10, 77, 0, 1]), (50, address.octets().to_vec())])
    }

    /// The next answer: its kind, its machine, and the address.
    fn hear(&self) -> Result<(u8, u8, Ipv4Addr)> {
        let mut buffer = [0; 1500];
        let length = self.0.recv(&mut buffer).context("no answer came")?;
        let packet = Packet::parse(&buffer[..length])?;
        Ok((packet.kind.into(), packet.mac.0[5], packet.yiaddr))
    }
}

pub(crate) fn card() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    stage.cable.ip(&format!("route add 255.255.255.255 dev {CLIENT}"))?;
    for late in [50, 500, 2000] {
        let waited =
            all_get_an_address(&stage, late).with_context(|| format!("with {late} ms for each write"))?;
        println!(
            "each write takes {late} ms: the last of {MACHINES} ACKs came after {} ms",
            waited.as_millis()
        );
        // With 2 s for a write, who comes when one has begun waits for that one and the next.
        ensure!(
            late > 500 || waited < FIRMWARE_WAITS,
            "an ACK took {waited:?} with {late} ms for each write"
        );
    }
    Ok(())
}

/// All machines ask at once. Gives the longest time from a REQUEST to its ACK.
fn all_get_an_address(stage: &Stage, late: u32) -> Result<Duration> {
    let (_server, state) = stage.dhcpd_on_slow_card(late)?;
    let wire = Wire(UdpSocket::bind("0.0.0.0:68").context("could not open the client's port")?);
    wire.0.set_broadcast(true)?;
    wire.0.set_read_timeout(Some(PATIENCE))?;
    let mut offered = BTreeMap::new();
    for machine in 0..MACHINES {
        wire.say(machine, DISCOVER, &[])?;
        let (kind, heard, address) = wire.hear()?;
        ensure!((kind, heard) == (OFFER, machine), "{kind} for {heard}");
        offered.insert(machine, address);
    }
    let mut asked = BTreeMap::new();
    for (machine, address) in &offered {
        asked.insert(*machine, Instant::now());
        wire.request(*machine, *address)?;
    }
    // While the card is at it, one more wants an offer: it comes before all that wait for the card.
    wire.say(MACHINES, DISCOVER, &[])?;
    let (kind, heard, _) = wire.hear()?;
    ensure!(
        (kind, heard) == (OFFER, MACHINES),
        "an OFFER waited for the card: first came {kind} for {heard}"
    );
    let mut longest = Duration::ZERO;
    while let Some(missing) = asked.len().checked_sub(1) {
        let (kind, machine, address) = wire.hear()?;
        ensure!(kind == ACK && address == offered[&machine], "{kind} for {machine}");
        let since = asked.remove(&machine).with_context(|| format!("a second ACK for {machine}"))?;
        longest = longest.max(since.elapsed());
        let journal = fs::read_to_string(state.join("leases.journal"))?;
        ensure!(journal.contains(&format!("\"{address}\"")), "{address} was promised before it was written");
        if missing == 0 {
            break;
        }
    }
    Ok(longest)
}
