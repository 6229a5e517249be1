//! What must hold, whatever the wire does.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use pilotlight_dhcp::server::Actions;
use pilotlight_kit::Outcome;
use pilotlight_lab::{Lab, MacAddr};

use crate::dhcp::{Answer, Kind};

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A server did to a machine what no server may do.
    #[error("{mac}: {what}")]
    Fault {
        /// The machine.
        mac: MacAddr,
        /// What was done.
        what: String,
    },
    /// Two machines have one address.
    #[error("{address} was given to {second} while {first} has it")]
    Shared {
        /// The address.
        address: Ipv4Addr,
        /// Who has it.
        first: MacAddr,
        /// Who was given it.
        second: MacAddr,
    },
    /// A reservation did not hold.
    #[error("{address} was given to {mac}, against lab.toml")]
    Reservation {
        /// The address.
        address: Ipv4Addr,
        /// Who was given it.
        mac: MacAddr,
    },
    /// An address was promised that is not on the card.
    #[error("{address} was promised to {mac} before it was written down")]
    Unwritten {
        /// The address.
        address: Ipv4Addr,
        /// Whom it was promised to.
        mac: MacAddr,
    },
    /// A promise did not outlive the process.
    #[error("the lease of {address} by {mac} was lost when the server was killed")]
    Forgotten {
        /// The address.
        address: Ipv4Addr,
        /// Whom it was promised to.
        mac: MacAddr,
    },
    /// What a decision says of itself is not what it is.
    #[error("an event does not fit what was done: {0}")]
    Event(String),
    /// The sorcerer's apprentice.
    #[error("blocks went out again on an acknowledgement that was none the newer: block {0}")]
    Apprentice(u64),
    /// More was sent than waits and gaps account for.
    #[error("{sent} packets of data for {blocks} blocks, which {reasons} waits and gaps do not account for")]
    TooMuch {
        /// Packets.
        sent: u64,
        /// Blocks of the file.
        blocks: u64,
        /// Waits that ended and gaps that were told.
        reasons: u64,
    },
    /// What arrived is not what was sent.
    #[error("{mac} received another {name} than there is")]
    Content {
        /// The machine.
        mac: MacAddr,
        /// What it received.
        name: String,
    },
    /// A machine gave up although nothing of it was lost.
    #[error("{mac} gave up at {stage} ({why}) from {since:?} to {at:?}, and nothing had gone wrong")]
    GaveUp {
        /// The machine.
        mac: MacAddr,
        /// What it was doing.
        stage: &'static str,
        /// Why it went no further.
        why: String,
        /// When it began.
        since: Duration,
        /// When it gave up.
        at: Duration,
    },
    /// A machine neither booted nor gave up.
    #[error("{mac} is still at {stage} after {at:?}")]
    Endless {
        /// The machine.
        mac: MacAddr,
        /// What it is doing.
        stage: &'static str,
        /// For how long.
        at: Duration,
    },
}

/// What has been promised and said so far.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Who believes that it has an address, and until when.
    holders: BTreeMap<Ipv4Addr, (MacAddr, Duration)>,
    /// Whom something was offered to.
    offered: BTreeMap<MacAddr, Ipv4Addr>,
}

impl Rules {
    /// A machine takes an address that was acknowledged.
    pub(crate) fn takes(
        &mut self,
        now: Duration,
        mac: MacAddr,
        (address, lease_s): (Ipv4Addr, u32),
    ) -> Result<(), Violation> {
        if let Some((first, until)) = self.holders.get(&address)
            && *first != mac
            && *until > now
        {
            return Err(Violation::Shared { address, first: *first, second: mac });
        }
        // Whoever takes another address has given up the one before.
        self.holders.retain(|_, (holder, _)| *holder != mac);
        self.holders.insert(address, (mac, now + Duration::from_secs(lease_s.into())));
        Ok(())
    }

    /// The server has decided about a packet; what it does and what it says must be one.
    pub(crate) fn decided(&mut self, lab: &Lab, actions: &Actions) -> Result<(), Violation> {
        let wrong = |what: &str| Err(Violation::Event(format!("{what}: {actions:?}")));
        if actions.events.len() > 1 {
            return wrong("more than one event for one packet");
        }
        let Some(event) = actions.events.first() else {
            return match (&actions.reply, &actions.dropped) {
                (None, Some(_)) => Ok(()),
                _ => wrong("a packet came to nothing and nothing was said"),
            };
        };
        if actions.dropped.is_some() {
            return wrong("dropped and not dropped");
        }
        let Some(reply) = &actions.reply else { return Ok(()) };
        let answer = match Answer::read(&reply.payload) {
            Ok(answer) => answer,
            Err(fault) => return wrong(&fault.to_string()),
        };
        let stage = match answer.kind {
            Kind::Offer => "offer",
            Kind::Ack => "ack",
            _ => "nak",
        };
        let node = lab.node_by_mac(answer.mac);
        let said = (event.service.as_str(), event.stage.as_str(), event.outcome, event.node.as_deref());
        if said != ("dhcp", stage, Outcome::Ok, node.map(|node| node.name.as_str())) {
            return wrong("another stage, outcome or node");
        }
        if event.mac.as_deref() != Some(answer.mac.to_string().as_str()) {
            return wrong("another machine");
        }
        if answer.kind == Kind::Nak {
            return Ok(());
        }
        if event.facts.get("address").and_then(|fact| fact.as_str()) != Some(&*answer.address.to_string()) {
            return wrong("another address");
        }
        match answer.kind {
            Kind::Offer => drop(self.offered.insert(answer.mac, answer.address)),
            _ if !self.offered.contains_key(&answer.mac) => return wrong("an ACK without an offer before"),
            _ => {}
        }
        let reserved = lab.node_by_address(answer.address).map(|node| node.mac);
        let own = node.and_then(|node| node.address);
        if reserved.is_some_and(|mac| mac != answer.mac) || own.is_some_and(|own| own != answer.address) {
            return Err(Violation::Reservation { address: answer.address, mac: answer.mac });
        }
        Ok(())
    }

    /// Who believes that it has an address at `now`.
    pub(crate) fn holders(&self, now: Duration) -> impl Iterator<Item = (Ipv4Addr, MacAddr)> {
        let current = self.holders.iter().filter(move |(_, (_, until))| *until > now);
        current.map(|(address, (mac, _))| (*address, *mac))
    }
}
