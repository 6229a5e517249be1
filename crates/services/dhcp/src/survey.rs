//! Asks the wire which DHCP servers are on it, and gathers what they offer: for an operator whose machines get addresses
//! from somebody else. Sockets, clock and random numbers are the caller's, as they are the guard's.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use dhcproto::v4::{EncodeError, Flags, MessageType, Opcode};
use pilotlight_lab::MacAddr;

use crate::{
    Millis,
    packet::{Draft, Packet},
};

/// How often it asks. Every other time it says that it is firmware: some servers tell firmware where to boot from, and
/// answer nobody else.
const ROUNDS: u32 = 4;
/// How long it listens after each question.
const ROUND: Millis = 750;
/// How many servers are told apart: a wire with more has other troubles.
const MOST: usize = 64;
/// What the question asks for: whatever gives a server away.
const WANTED: &[u8] = &[1, 3, 6, 15, 51, 54, 66, 67];

/// A server that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it calls itself (option 54), or else where it says to boot from.
    pub server: Ipv4Addr,
    /// The address that its answer came from: a relay's, when it is not on this wire.
    pub from: Ipv4Addr,
    /// The address that it offers; none when it only says where to boot from.
    pub offers: Option<Ipv4Addr>,
    /// For how long, in seconds.
    pub lease_s: Option<u32>,
    /// The way out that it tells machines.
    pub router: Option<Ipv4Addr>,
    /// The file that it has firmware boot.
    pub boots: Option<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.server)?;
        if self.from != self.server {
            write!(out, " (by way of {})", self.from)?;
        }
        match self.offers {
            Some(address) => write!(out, " offers {address}")?,
            None => write!(out, " offers no address")?,
        }
        if let Some(seconds) = self.lease_s {
            write!(out, " for {seconds} s")?;
        }
        if let Some(router) = self.router {
            write!(out, ", router {router}")?;
        }
        match &self.boots {
            Some(file) => write!(out, ", has firmware boot {file}"),
            None => Ok(()),
        }
    }
}

/// What the survey wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Broadcast this from the client's port to the server's.
    Ask(Vec<u8>),
    /// Nothing, until [`Survey::deadline`].
    Wait,
    /// Nothing any more.
    Done,
}

/// One look around.
#[derive(Debug)]
pub struct Survey {
    own: Ipv4Addr,
    mac: MacAddr,
    xid: u32,
    asked: u32,
    until: Millis,
    found: BTreeMap<Ipv4Addr, Found>,
}

impl Survey {
    /// A survey by the server with the address `own` on the interface with the address `mac`. `random` names the exchange.
    pub fn new(own: Ipv4Addr, mac: MacAddr, random: u32) -> Self {
        Self { own, mac, xid: random, asked: 0, until: 0, found: BTreeMap::new() }
    }

    /// When [`Self::poll`] has something to do.
    pub fn deadline(&self) -> Millis {
        self.until
    }

    /// The clock moved on.
    pub fn poll(&mut self, now: Millis) -> Step {
        if now < self.until {
            return Step::Wait;
        }
        if self.asked == ROUNDS {
            return Step::Done;
        }
        self.asked += 1;
        self.until = now + ROUND;
        let firmware = self.asked.is_multiple_of(2);
        question(self.mac, self.xid, firmware).map_or(Step::Wait, Step::Ask)
    }

    /// A datagram from `from` came in on the client's port.
    pub fn heard(&mut self, from: Ipv4Addr, payload: &[u8]) {
        let Ok(packet) = Packet::parse(payload) else { return };
        if packet.op != Opcode::BootReply || packet.kind != MessageType::Offer || packet.xid != self.xid {
            return;
        }
        let server = packet.address(54).unwrap_or(packet.siaddr);
        if server == self.own || (self.found.len() >= MOST && !self.found.contains_key(&server)) {
            return;
        }
        let none = Found { server, from, offers: None, lease_s: None, router: None, boots: None };
        let found = self.found.entry(server).or_insert(none);
        // What it says to firmware is added to what it says to others.
        let router = packet.option(3).and_then(|value| value.first_chunk::<4>()).copied();
        found.offers = found.offers.or((!packet.yiaddr.is_unspecified()).then_some(packet.yiaddr));
        found.lease_s = found.lease_s.or(packet.number32(51));
        found.router = found.router.or(router.map(Ipv4Addr::from));
        found.boots = found.boots.take().or_else(|| file(&packet, payload));
    }

    /// Who answered, in the order of their addresses.
    pub fn found(self) -> Vec<Found> {
        self.found.into_values().collect()
    }
}

/// A DISCOVER whose answer must come by broadcast: the address that is offered is never taken.
pub(crate) fn question(mac: MacAddr, xid: u32, firmware: bool) -> Result<Vec<u8>, EncodeError> {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut options = vec![(53, vec![u8::from(MessageType::Discover)]), (55, WANTED.to_vec())];
    if firmware {
        options.push((60, b"PXEClient:Arch:00007:UNDI:003000".to_vec()));
        options.push((93, vec![0, 7]));
        options.push((94, vec![1, 3, 0]));
        options.push((97, vec![0; 17]));
    }
    Draft {
        op: Opcode::BootRequest,
        xid,
        flags: Flags::default().set_broadcast(),
        ciaddr: none,
        yiaddr: none,
        siaddr: none,
        giaddr: none,
        mac,
        file: String::new(),
        options,
        relay_information: None,
    }
    .write(548)
}

/// The boot file of an answer: what is not printable in it is not printed.
fn file(packet: &Packet, payload: &[u8]) -> Option<String> {
    // Option 52 says that options are in there.
    let field = payload.get(108..236).filter(|_| packet.option(52).is_none()).unwrap_or_default();
    let name = packet.option(67).unwrap_or(field);
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    (!name.is_empty()).then(|| name.escape_ascii().to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn offer(xid: u32, server: u8, yiaddr: Ipv4Addr, options: &[(u8, &[u8])]) -> Vec<u8> {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut all = vec![(53, vec![2]), (54, vec![10, 77, 0, server])];
        all.extend(options.iter().map(|(code, value)| (*code, value.to_vec())));
        Draft {
            op: Opcode::BootReply,
            xid,
            flags: Flags::default(),
            ciaddr: none,
            yiaddr,
            siaddr: none,
            giaddr: none,
            mac: MAC,
            file: String::new(),
            options: all,
            relay_information: None,
        }
        .write(548)
        .unwrap()
    }

    #[test]
    fn it_asks_as_a_machine_and_as_firmware_and_comes_to_an_end() {
        let mut survey = Survey::new(OWN, MAC, 7);
        let mut now = 5_000;
        for round in 0..ROUNDS {
            let Step::Ask(question) = survey.poll(now) else { panic!("round {round}") };
            let packet = Packet::parse(&question).unwrap();
            assert_eq!((packet.kind, packet.xid), (MessageType::Discover, 7));
            assert!(packet.flags.broadcast());
            assert_eq!(packet.option(60).is_some(), round % 2 == 1);
            assert_eq!(survey.poll(now + 1), Step::Wait);
            now = survey.deadline();
        }
        assert_eq!((survey.poll(now), now), (Step::Done, 8_000));
    }

    #[test]
    fn who_answers_is_named_once_with_all_it_said() {
        let mut survey = Survey::new(OWN, MAC, 7);
        let offered = Ipv4Addr::new(10, 77, 0, 150);
        let lease: (u8, &[u8]) = (51, &[0, 0, 14, 16]);
        let router: (u8, &[u8]) = (3, &[10, 77, 0, 254]);
        let home = Ipv4Addr::new(10, 77, 0, 254);
        survey.heard(home, &offer(7, 254, offered, &[lease, router]));
        survey.heard(home, &offer(7, 254, offered, &[lease, router, (67, b"net\x1b[2Jboot\0")]));
        survey.heard(Ipv4Addr::new(10, 77, 0, 9), &offer(7, 8, Ipv4Addr::UNSPECIFIED, &[(67, b"ipxe.efi")]));
        for ignored in [offer(6, 3, offered, &[]), offer(7, 1, offered, &[]), vec![], vec![0; 300]] {
            survey.heard(home, &ignored);
        }
        let found: Vec<String> = survey.found().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "10.77.0.8 (by way of 10.77.0.9) offers no address, has firmware boot ipxe.efi",
                "10.77.0.254 offers 10.77.0.150 for 3600 s, router 10.77.0.254, has firmware boot net\\x1b[2Jboot",
            ]
        );
    }

    #[test]
    fn a_wire_full_of_servers_fills_no_memory() {
        let mut survey = Survey::new(OWN, MAC, 7);
        for server in 0..=255 {
            survey.heard(OWN, &offer(7, server, OWN, &[]));
        }
        assert_eq!(survey.found().len(), MOST);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut survey = Survey::new(OWN, MAC, 7);
            let mut answer = offer(7, 9, OWN, &[]);
            answer.truncate(246);
            answer.extend(tail);
            survey.heard(OWN, &answer);
            for found in survey.found() {
                prop_assert!(found.to_string().is_ascii());
            }
        }
    }
}
