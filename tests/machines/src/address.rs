//! A firmware that asks for an address: DISCOVER, OFFER, REQUEST, ACK, each repeated after the firmware's own waits.

use std::{net::Ipv4Addr, time::Duration};

use pilotlight_lab::MacAddr;

use crate::{
    dhcp::{Answer, Fault, Kind, Question},
    firmware::Firmware,
};

/// What asking for an address has come to.
#[derive(Debug)]
pub(crate) enum News {
    /// Nothing that concerns it.
    None,
    /// Say this to everybody.
    Say(Vec<u8>),
    /// The address is the machine's.
    Bound(Box<Answer>),
    /// It has asked as often as it does.
    GaveUp(&'static str),
    /// The answer is not what a server may say.
    Fault(Fault),
}

/// A firmware that asks.
#[derive(Debug)]
pub(crate) struct Asking {
    mac: MacAddr,
    uuid: [u8; 16],
    firmware: &'static Firmware,
    xid: u32,
    since: Duration,
    tries: usize,
    deadline: Duration,
    /// The offer that was chosen; none while none came.
    offer: Option<Answer>,
    requesting: bool,
}

impl Asking {
    pub(crate) fn start(
        mac: MacAddr,
        uuid: [u8; 16],
        firmware: &'static Firmware,
        xid: u32,
        now: Duration,
    ) -> (Self, Vec<u8>) {
        let mut asking = Self {
            mac,
            uuid,
            firmware,
            xid,
            since: now,
            tries: 0,
            deadline: now,
            offer: None,
            requesting: false,
        };
        let question = asking.ask(now);
        (asking, question)
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Something came to the client's port.
    pub(crate) fn heard(&mut self, now: Duration, payload: &[u8]) -> News {
        let answer = match Answer::read(payload) {
            Ok(answer) => answer,
            Err(fault) => return News::Fault(fault),
        };
        if answer.mac != self.mac || answer.xid != self.xid {
            return News::None;
        }
        match (answer.kind, self.requesting) {
            (Kind::Offer, false) if self.offer.is_none() => {
                let at_once = answer.at_once() || self.firmware.collect.is_zero();
                self.offer = Some(answer);
                if at_once {
                    return self.request(now);
                }
                self.deadline = self.deadline.min(now + self.firmware.collect);
                News::None
            }
            (Kind::Ack, true) if self.chosen() == (answer.server, answer.address) => {
                News::Bound(Box::new(answer))
            }
            (Kind::Ack, true) => {
                News::Fault(Fault::Field("an ACK of another address than the one asked for"))
            }
            (Kind::Nak, true) => {
                self.offer = None;
                self.requesting = false;
                self.tries = 0;
                News::Say(self.ask(now))
            }
            _ => News::None,
        }
    }

    /// The time is up.
    pub(crate) fn due(&mut self, now: Duration) -> News {
        if now < self.deadline {
            return News::None;
        }
        if self.offer.is_some() && !self.requesting {
            return self.request(now);
        }
        match (self.tries < self.waits().len(), self.requesting) {
            (true, _) => News::Say(self.ask(now)),
            (false, false) => News::GaveUp("no offer"),
            (false, true) => News::GaveUp("no acknowledgement of the address"),
        }
    }

    fn request(&mut self, now: Duration) -> News {
        self.requesting = true;
        self.tries = 0;
        News::Say(self.ask(now))
    }

    fn waits(&self) -> &'static [Duration] {
        if self.requesting { self.firmware.request } else { self.firmware.discover }
    }

    fn chosen(&self) -> (Ipv4Addr, Ipv4Addr) {
        self.offer
            .as_ref()
            .map_or((Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED), |offer| (offer.server, offer.address))
    }

    fn ask(&mut self, now: Duration) -> Vec<u8> {
        self.deadline = now + self.waits().get(self.tries).copied().unwrap_or_default();
        self.tries += 1;
        let firmware = self.firmware;
        let mut options = vec![
            (57, firmware.longest.to_be_bytes().to_vec()),
            (55, firmware.wants.to_vec()),
            (97, [&[0][..], &self.uuid].concat()),
            (94, vec![1, 2, 1]),
            (93, firmware.architecture.to_be_bytes().to_vec()),
            (60, firmware.class.as_bytes().to_vec()),
        ];
        options.extend(firmware.user_class.map(|class| (77, class.as_bytes().to_vec())));
        if self.requesting {
            let (server, address) = self.chosen();
            options.extend([(54, server.octets().to_vec()), (50, address.octets().to_vec())]);
        }
        let question = Question {
            kind: if self.requesting { Kind::Request } else { Kind::Discover },
            mac: self.mac,
            xid: self.xid,
            secs: now.saturating_sub(self.since).as_secs().min(u64::from(u16::MAX)) as u16,
            broadcast: firmware.broadcast,
            options,
        };
        question.write()
    }
}
