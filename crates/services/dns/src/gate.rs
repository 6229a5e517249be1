//! Who may ask, and how much: the name server is no good for attacks on others, and nobody can keep it from answering the rest.

use std::{net::IpAddr, time::Duration};

use pilotlight_kit::limit::{self, Limits};
use pilotlight_lab::Network;

use crate::Transport;

/// Questions from one source at once by UDP, and by the second: more than a machine asks that boots, or a rack's resolver.
const BURST: u32 = 1000;
const RATE: u32 = 500;
/// How many sources are remembered.
const SOURCES: usize = 2048;

/// What becomes of a message before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is answered.
    Answer,
    /// It comes from outside the lab: refused.
    Refuse,
    /// Its source asks too much: told to ask by TCP, in case that it is not who it says.
    Cut,
    /// Its source asks too much, and was told a moment ago.
    Drop,
}

/// Decides about sources.
#[derive(Debug)]
pub struct Gate {
    network: Network,
    limits: Limits<IpAddr>,
    refused: u64,
}

impl Gate {
    /// The gate of a lab's network.
    pub fn new(network: &Network) -> Self {
        Self { network: network.clone(), limits: Limits::new(BURST, RATE, SOURCES), refused: 0 }
    }

    /// What becomes of a message from `source` at `now`, a time since any fixed start.
    pub fn admit(&mut self, source: IpAddr, transport: Transport, now: Duration) -> Admission {
        let inside = match source.to_canonical() {
            IpAddr::V4(address) => self.network.contains(address) || address.is_loopback(),
            // The lab has no IPv6 network: whoever speaks it does so on the link.
            IpAddr::V6(address) => address.is_unicast_link_local() || address.is_loopback(),
        };
        match transport {
            Transport::Tcp => {}
            Transport::Udp if self.limits.take(limit::source(source), now) => {}
            Transport::Udp => {
                // Every second one is told: so the answers are half of what came, if it came from somebody else.
                self.refused += 1;
                return if inside && self.refused.is_multiple_of(2) {
                    Admission::Cut
                } else {
                    Admission::Drop
                };
            }
        }
        if inside { Admission::Answer } else { Admission::Refuse }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(&pilotlight_lab::parse("network = { address = \"10.77.0.1/24\" }").unwrap().network)
    }

    #[test]
    fn the_lab_may_ask_and_nobody_else() {
        for (source, expect) in [
            ("10.77.0.50", Admission::Answer),
            ("127.0.0.1", Admission::Answer),
            ("::ffff:10.77.0.50", Admission::Answer),
            ("fe80::1", Admission::Answer),
            ("::1", Admission::Answer),
            ("10.78.0.50", Admission::Refuse),
            ("192.0.2.1", Admission::Refuse),
            ("2001:db8::1", Admission::Refuse),
        ] {
            for transport in [Transport::Udp, Transport::Tcp] {
                let source = source.parse().unwrap();
                assert_eq!(gate().admit(source, transport, Duration::ZERO), expect, "{source}");
            }
        }
    }

    #[test]
    fn a_flood_is_cut_by_udp_and_others_are_not_concerned() {
        let mut gate = gate();
        let mut admit =
            |source: &str, transport| gate.admit(source.parse().unwrap(), transport, Duration::ZERO);
        let flood: Vec<Admission> = (0..BURST + 4).map(|_| admit("10.77.0.50", Transport::Udp)).collect();
        assert!(flood[..BURST as usize].iter().all(|admission| *admission == Admission::Answer));
        use Admission::{Cut, Drop};
        assert_eq!(flood[BURST as usize..], [Drop, Cut, Drop, Cut]);
        assert_eq!(admit("10.77.0.50", Transport::Tcp), Admission::Answer);
        assert_eq!(admit("10.77.0.51", Transport::Udp), Admission::Answer);
        let outside: Vec<Admission> = (0..BURST + 4).map(|_| admit("192.0.2.1", Transport::Udp)).collect();
        assert_eq!(outside[BURST as usize..], [Drop; 4]);
    }
}
