//! Who else is on the wire: other DHCP servers, and machines that sit on an address of the Pi's.

use pilotlight_dhcp::{
    drops::Dropped,
    survey::{Step, Survey},
};
use pilotlight_kit::event::since_power_on_ms;

use super::{BATCH, Daemon};
use crate::wire::receive;

impl Daemon {
    pub(super) fn guard(&mut self) {
        let Some(serving) = &mut self.serving else { return };
        let now = since_power_on_ms();
        if !serving.wire.link.running || serving.guard.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let wish = serving.guard.poll(now, random());
        let opened = serving.listen();
        if let Some(question) = wish.send
            && let Err(error) = opened.and_then(|()| serving.wire.ask(&question))
        {
            serving.guard.unsent(now);
            let reason = format!("the question for other DHCP servers was not sent: {error}");
            let dropped = Dropped { kind: "probe-unsent", reason, mac: None, node: None };
            self.drops.note(now, dropped).into_iter().for_each(|event| self.events.hold(event));
        }
        wish.event.into_iter().for_each(|event| self.events.hold(event));
    }

    /// Looks for other servers when an operator wants to know.
    pub(super) fn survey(&mut self) {
        self.control.accept();
        if !self.control.is_asked() {
            return;
        }
        let (interface, own) = (&self.lab.in_force().network.interface, self.lab.in_force().network.address);
        let Some(serving) = self.serving.as_mut().filter(|serving| serving.wire.link.running) else {
            return self.control.refuse(&format!("{interface} is not there, or has no cable"));
        };
        let mac = serving.wire.link.mac;
        let survey = serving.survey.get_or_insert_with(|| Survey::new(own, mac, random()));
        match survey.poll(since_power_on_ms()) {
            Step::Wait => {}
            Step::Ask(question) => {
                if let Err(error) = serving.listen().and_then(|()| serving.wire.ask(&question)) {
                    serving.survey = None;
                    self.control.refuse(&format!("the question could not be sent: {error}"));
                }
            }
            Step::Done => {
                let found = serving.survey.take().map(Survey::found).unwrap_or_default();
                self.control.answer(interface, &found);
                // Closing a socket does not fail.
                let _ = serving.listen();
            }
        }
    }

    pub(super) fn conflicts(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Some(heard) = self.serving.as_ref().and_then(|serving| serving.wire.heard(buffer)) else {
                break;
            };
            let now = since_power_on_ms();
            if let Some(event) = heard.and_then(|end| self.server.in_use(now, end.address, end.mac)) {
                self.events.hold(event);
            }
        }
    }

    pub(super) fn other_servers(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Some(serving) = &mut self.serving else { break };
            let Some((payload, from)) = serving.wire.probe().and_then(|probe| receive(probe, buffer)) else {
                break;
            };
            let event = serving.guard.heard(since_power_on_ms(), payload);
            event.into_iter().for_each(|event| self.events.hold(event));
            if let Some(survey) = &mut serving.survey {
                survey.heard(*from.ip(), payload);
            }
            let _ = serving.listen();
        }
    }
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_ne_bytes(bytes)
}
