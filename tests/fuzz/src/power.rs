//! What switches machines: its answers, and whole conversations with it.

use std::time::Duration;

use pilotlight_lab::DeviceKind;
use pilotlight_power::{
    Answer, Login, Question, Request, Target, Wire, WireError, Wish, check, status, switch,
};

use crate::targets::{kind, messages, words};

/// An answer, whole or not.
pub(crate) fn answer(input: &[u8]) -> u64 {
    let [part, whole] = [false, true].map(|ended| Answer::read(input, ended));
    let outcome = |read: Result<Option<Answer>, _>| read.map(|answer| answer.map(|answer| answer.status));
    kind(format!("{:?} {:?}", outcome(part), outcome(whole)))
}

/// A question of an operator's.
pub(crate) fn question(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let lines = Question::lines(&text);
    match Question::parse(&text) {
        Err(fault) => kind((fault, lines)),
        Ok(Question::Status { .. }) => kind(("status", lines)),
        Ok(Question::Switch { wish, .. }) => kind((format!("{wish:?}"), lines)),
        Ok(Question::Login { tried, .. }) => kind(("login", tried, lines)),
        Ok(Question::Logout { .. }) => kind(("logout", lines)),
    }
}

/// A device that has so much to say and no more.
struct Device<'a, I: Iterator<Item = &'a [u8]>>(I);

impl<'a, I: Iterator<Item = &'a [u8]>> Wire for Device<'a, I> {
    fn ask(&mut self, request: &Request) -> Result<Answer, WireError> {
        let right = request.path.starts_with('/') && request.path.bytes().all(|c| c.is_ascii_graphic());
        assert!(right, "a device had {request} asked");
        let bytes = self.0.next().ok_or(WireError::Silence)?;
        Answer::read(bytes, true)?.ok_or(WireError::Silence)
    }

    fn wait(&mut self, _: Duration) {}

    fn random(&mut self) -> Result<[u8; 16], WireError> {
        Ok([7; 16])
    }
}

/// What a device says to one question after the other: the first byte says what is wanted of it.
pub(crate) fn device(input: &[u8]) -> u64 {
    let Ok(login) = Login::new("admin", "geheim") else { return 0 };
    let (first, rest) = input.split_first().unwrap_or((&0, &[]));
    let mut wire = Device(messages(rest));
    let target = if first & 1 == 0 { Target::Outlet(*first) } else { Target::System("1") };
    let wish = match first >> 1 & 3 {
        0 => Wish::On,
        1 => Wish::Off,
        2 => Wish::ShutDown,
        _ => Wish::Cycle { off_for: Duration::ZERO },
    };
    let said = match first >> 3 & 3 {
        0 => status(&mut wire, &login, target).map(|state| words(&state.to_string())),
        1 => check(&mut wire, &login, DeviceKind::Redfish).map(|()| "let in".to_owned()),
        _ => switch(&mut wire, &login, target, wish).map(|done| words(&format!("{done:?}"))),
    };
    let told = said.unwrap_or_else(|error| {
        let text = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(!text.contains("geheim"), "the password is told");
        // What the device says is its own; the kind of mistake is what counts.
        format!("{:?}", std::mem::discriminant(&error))
    });
    kind(told)
}
