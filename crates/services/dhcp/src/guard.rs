//! Asks the wire for another DHCP server before this one says a word, and stays silent while one answers.
//!
//! A fresh card does not know whose network it was plugged into: two servers on one wire break it for
//! everybody. The guard decides alone; sockets, clock and random numbers are the caller's.

use std::net::Ipv4Addr;

use dhcproto::v4::{MessageType, Opcode};
use pilotlight_kit::Event;
use pilotlight_lab::{Lab, MacAddr};

use crate::{Millis, packet::Packet, survey::question};

/// How often it asks before it believes the silence.
const ROUNDS: u32 = 3;
/// How long it listens after each question.
const ROUND: Millis = 2_000;
/// How long it stays silent before it asks again.
const SILENCE: Millis = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was asked yet, or the wire was not there.
    Idle,
    Asking {
        round: u32,
        xid: u32,
        until: Millis,
    },
    Silent {
        until: Millis,
    },
    Serving,
}

/// What the guard wants done.
#[derive(Debug, Default, PartialEq)]
pub struct Wish {
    /// Broadcast this from the client's port to the server's.
    pub send: Option<Vec<u8>>,
    /// Report this.
    pub event: Option<Event>,
}

/// The guard of one interface.
#[derive(Debug)]
pub struct Guard {
    interface: String,
    own: Ipv4Addr,
    mac: MacAddr,
    /// The other server that was last seen, and reported.
    other: Option<Ipv4Addr>,
    state: State,
}

impl Guard {
    /// A guard that serves at once when lab.toml says so, and else waits for [`Self::poll`].
    pub fn new(lab: &Lab, mac: MacAddr) -> Self {
        let state = if lab.network.probe_first { State::Idle } else { State::Serving };
        Self { interface: lab.network.interface.clone(), own: lab.network.address, mac, other: None, state }
    }

    /// Whether requests may be answered.
    pub fn serving(&self) -> bool {
        self.state == State::Serving
    }

    /// The other server that keeps this one silent.
    pub fn other(&self) -> Option<Ipv4Addr> {
        self.other.filter(|_| !self.serving())
    }

    /// Whether answers are waited for on the client's port.
    pub fn listening(&self) -> bool {
        matches!(self.state, State::Asking { .. })
    }

    /// When [`Self::poll`] has something to do; none when it never will.
    pub fn deadline(&self) -> Option<Millis> {
        match self.state {
            State::Idle => Some(0),
            State::Asking { until, .. } | State::Silent { until } => Some(until),
            State::Serving => None,
        }
    }

    /// The clock moved on. `random` names the exchange if a new one begins.
    pub fn poll(&mut self, now: Millis, random: u32) -> Wish {
        match self.state {
            State::Idle => self.ask(now, 1, random),
            State::Silent { until } if now >= until => self.ask(now, 1, random),
            State::Asking { round, xid, until } if now >= until => {
                if round < ROUNDS {
                    return self.ask(now, round + 1, xid);
                }
                self.state = State::Serving;
                self.other = None;
                let event = Event::ok("dhcp", "probe").fact("interface", self.interface.as_str());
                Wish { event: Some(event), send: None }
            }
            _ => Wish::default(),
        }
    }

    /// The question could not be sent: a round that nobody heard does not count.
    pub fn unsent(&mut self, now: Millis) {
        if let State::Asking { round, xid, .. } = self.state {
            self.state = State::Asking { round: round.saturating_sub(1), xid, until: now + ROUND };
        }
    }

    /// The cable was plugged in again, perhaps into another network: ask anew.
    pub fn link_up(&mut self, lab: &Lab) {
        if lab.network.probe_first {
            self.state = State::Idle;
        }
    }

    /// A datagram came in on the client's port.
    pub fn heard(&mut self, now: Millis, payload: &[u8]) -> Option<Event> {
        let State::Asking { xid, .. } = self.state else { return None };
        let packet = Packet::parse(payload).ok()?;
        if packet.op != Opcode::BootReply || packet.kind != MessageType::Offer || packet.xid != xid {
            return None;
        }
        let server = packet.address(54).unwrap_or(packet.siaddr);
        if server == self.own {
            return None;
        }
        self.state = State::Silent { until: now + SILENCE };
        if self.other.replace(server) == Some(server) {
            return None;
        }
        let interface = &self.interface;
        let reason = format!(
            "another DHCP server at {server} answers on {interface}: not serving; set mode = \"proxy\" in lab.toml to \
             boot machines beside it, or unplug it (asked again every minute)"
        );
        let event = Event::dropped("dhcp", "silent", reason).fact("server", server.to_string());
        Some(event.fact("interface", interface.as_str()))
    }

    fn ask(&mut self, now: Millis, round: u32, xid: u32) -> Wish {
        self.state = State::Asking { round, xid, until: now + ROUND };
        Wish { send: question(self.mac, xid, false).ok(), event: None }
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::Flags;

    use super::*;
    use crate::packet::Draft;

    fn lab(probe_first: bool) -> Lab {
        let text = format!("network = {{ address = \"10.77.0.1/24\", probe-first = {probe_first} }}");
        pilotlight_lab::parse(&text).unwrap()
    }

    fn offer(xid: u32, server: Option<Ipv4Addr>) -> Vec<u8> {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut options = vec![(53, vec![2])];
        options.extend(server.map(|server| (54, server.octets().to_vec())));
        Draft {
            op: Opcode::BootReply,
            xid,
            flags: Flags::default(),
            ciaddr: none,
            yiaddr: Ipv4Addr::new(192, 168, 1, 9),
            siaddr: Ipv4Addr::new(192, 168, 1, 2),
            giaddr: none,
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            file: String::new(),
            options,
            relay_information: None,
        }
        .write(548)
        .unwrap()
    }

    fn guard() -> Guard {
        Guard::new(&lab(true), MacAddr([2, 0, 0, 0, 0, 1]))
    }

    #[test]
    fn three_questions_without_an_answer_and_it_serves() {
        let mut guard = guard();
        let mut now = 1000;
        for _ in 0..ROUNDS {
            let question = guard.poll(now, 7).send.unwrap();
            let packet = Packet::parse(&question).unwrap();
            assert_eq!((packet.kind, packet.xid, packet.flags.broadcast()), (MessageType::Discover, 7, true));
            assert!(!guard.serving() && guard.listening());
            assert_eq!(guard.poll(now + 1, 8), Wish::default(), "it waits");
            now = guard.deadline().unwrap();
        }
        assert_eq!(guard.poll(now, 9).event.unwrap().stage, "probe");
        assert!(guard.serving() && !guard.listening());
        assert_eq!((now, guard.deadline()), (7000, None));
    }

    #[test]
    fn an_answer_makes_it_silent_until_there_is_none() {
        let mut guard = guard();
        let other = Ipv4Addr::new(192, 168, 1, 1);
        guard.poll(0, 7);
        let event = guard.heard(10, &offer(7, Some(other))).unwrap();
        assert_eq!((event.stage.as_str(), guard.other()), ("silent", Some(other)));
        assert!(!guard.serving() && !guard.listening());
        assert_eq!(guard.deadline(), Some(10 + SILENCE));
        assert!(guard.poll(10 + SILENCE, 8).send.is_some());
        assert_eq!(guard.heard(60_100, &offer(8, Some(other))), None, "said once for each server");
        let mut now = 60_100 + SILENCE;
        for _ in 0..ROUNDS {
            assert!(guard.poll(now, 9).send.is_some());
            now += ROUND;
        }
        assert_eq!(guard.poll(now, 9).event.unwrap().stage, "probe");
        assert!(guard.serving());
    }

    #[test]
    fn only_answers_to_its_question_count() {
        let own = Ipv4Addr::new(10, 77, 0, 1);
        let other = Some(Ipv4Addr::new(192, 168, 1, 1));
        let mut guard = guard();
        assert_eq!(guard.heard(0, &offer(0, other)), None, "nothing was asked");
        let question = guard.poll(0, 7).send.unwrap();
        for ignored in [offer(6, other), offer(7, Some(own)), question, vec![0; 20], vec![]] {
            assert_eq!(guard.heard(1, &ignored), None);
            assert!(guard.listening());
        }
        let event = guard.heard(1, &offer(7, None)).unwrap();
        assert_eq!(event.facts["server"], "192.168.1.2", "siaddr stands in for option 54");
    }

    #[test]
    fn a_question_that_was_not_sent_does_not_count() {
        let mut guard = guard();
        let mut now = 0;
        for _ in 0..100 {
            assert!(guard.poll(now, 7).send.is_some());
            guard.unsent(now);
            now = guard.deadline().unwrap();
            assert!(!guard.serving());
        }
    }

    #[test]
    fn without_probe_first_it_serves_at_once_and_always() {
        let mut guard = Guard::new(&lab(false), MacAddr([2, 0, 0, 0, 0, 1]));
        assert!(guard.serving());
        guard.link_up(&lab(false));
        assert!(guard.serving());
        assert_eq!((guard.deadline(), guard.poll(0, 1)), (None, Wish::default()));
    }

    #[test]
    fn another_network_is_asked_anew() {
        let mut guard = guard();
        for now in [0, 2_000, 4_000, 6_000] {
            guard.poll(now, 7);
        }
        assert!(guard.serving());
        guard.link_up(&lab(true));
        assert!(!guard.serving());
        assert!(guard.poll(9_000, 8).send.is_some());
    }
}
