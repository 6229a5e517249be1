//! Which datagrams become lines of the log.

use std::{collections::BTreeMap, fmt, str::FromStr};

use pilotlight_kit::{Event, event::LONGEST_DATAGRAM};

/// The longest name of a service or a stage.
const LONGEST_NAME: usize = 32;

/// Someone who may send events: a user of the system and, where it is said, the one service it speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The user's number.
    pub uid: u32,
    /// The service that its events must name; any when it is left out.
    pub service: Option<String>,
}

/// A text that is no [`Sender`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no sender: a user's number is wanted, or number and service, as in 901=dhcp")]
pub struct SenderError(String);

impl FromStr for Sender {
    type Err = SenderError;

    /// Reads `901` or `901=dhcp`.
    fn from_str(text: &str) -> Result<Self, SenderError> {
        let (uid, service) = text.split_once('=').map_or((text, None), |(uid, name)| (uid, Some(name)));
        let fault = || SenderError(text.to_owned());
        if service.is_some_and(|service| !is_name(service)) {
            return Err(fault());
        }
        Ok(Self { uid: uid.parse().map_err(|_| fault())?, service: service.map(str::to_owned) })
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.uid)?;
        self.service.iter().try_for_each(|service| write!(out, "={service}"))
    }
}

/// Why a datagram is no line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The kernel did not say who sent it.
    #[error("an event without a sender")]
    NoSender,
    /// Its sender is not on the list.
    #[error("an event from a user who may not send any")]
    Stranger,
    /// It speaks for a service that its sender is not.
    #[error("an event in the name of another service")]
    Impostor,
    /// The datagram is longer than [`LONGEST_DATAGRAM`].
    #[error("an oversized event")]
    TooLong,
    /// It is not an event.
    #[error("not an event")]
    Garbage,
}

impl Refusal {
    /// The same as a fixed text, for counting.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoSender => "an event without a sender",
            Self::Stranger => "an event from a user who may not send any",
            Self::Impostor => "an event in the name of another service",
            Self::TooLong => "an oversized event",
            Self::Garbage => "not an event",
        }
    }
}

/// Who may send what.
#[derive(Debug, Clone, Default)]
pub struct Intake {
    senders: BTreeMap<u32, Vec<Option<String>>>,
}

impl Intake {
    /// Takes events from these senders alone.
    pub fn new(senders: impl IntoIterator<Item = Sender>) -> Self {
        let mut intake = Self::default();
        for sender in senders {
            intake.senders.entry(sender.uid).or_default().push(sender.service);
        }
        intake
    }

    /// What the lines of a datagram from the user `uid` become, each of them an event. One that is too long is
    /// refused whole.
    pub fn lines<'a>(
        &'a self,
        datagram: &'a [u8],
        uid: Option<u32>,
    ) -> impl Iterator<Item = Result<Vec<u8>, Refusal>> + 'a {
        let whole = datagram.len() > LONGEST_DATAGRAM;
        let lines = datagram.split(move |byte| *byte == b'\n' && !whole);
        lines.map(move |line| self.line(line, uid))
    }

    /// Turns an event from the user `uid` into a line of the log, line feed included. The line is written
    /// anew from what was understood, so that it is one line whatever was sent, and carries the sender's
    /// number as the fact `uid`, whatever the sender says about that.
    ///
    /// # Errors
    /// [`Refusal`] for what does not belong into the log.
    pub fn line(&self, event: &[u8], uid: Option<u32>) -> Result<Vec<u8>, Refusal> {
        let uid = uid.ok_or(Refusal::NoSender)?;
        let services = self.senders.get(&uid).ok_or(Refusal::Stranger)?;
        if event.len() > LONGEST_DATAGRAM {
            return Err(Refusal::TooLong);
        }
        let mut event: Event = serde_json::from_slice(event).map_err(|_| Refusal::Garbage)?;
        if !is_name(&event.service) || !is_name(&event.stage) {
            return Err(Refusal::Garbage);
        }
        let speaks_for =
            |service: &Option<String>| service.as_deref().is_none_or(|service| service == event.service);
        if !services.iter().any(speaks_for) {
            return Err(Refusal::Impostor);
        }
        event.facts.insert("uid".to_owned(), uid.into());
        let mut line = serde_json::to_vec(&event).map_err(|_| Refusal::Garbage)?;
        line.push(b'\n');
        Ok(line)
    }
}

fn is_name(text: &str) -> bool {
    let fits = (1..=LONGEST_NAME).contains(&text.len());
    fits && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn intake() -> Intake {
        Intake::new(["901=dhcp", "902", "903=http", "903=web"].map(|sender| sender.parse().unwrap()))
    }

    #[test]
    fn senders() {
        let check = |text: &str, expect: Option<(u32, Option<&str>)>| {
            let expect = expect.map(|(uid, service)| Sender { uid, service: service.map(str::to_owned) });
            assert_eq!(text.parse().ok(), expect, "{text}");
        };
        check("0", Some((0, None)));
        check("901=dhcp", Some((901, Some("dhcp"))));
        for text in ["", "x", "-1", "901=", "901=Dhcp", "=dhcp", "4294967296"] {
            check(text, None);
        }
    }

    #[test]
    fn events_and_others() {
        let check = |datagram: &str, uid: u32, expect: Result<&str, Refusal>| {
            let line = intake().line(datagram.as_bytes(), Some(uid));
            let line = line.map(|line| String::from_utf8(line).unwrap());
            assert_eq!(line.as_deref().map_err(|refusal| *refusal), expect, "{datagram} from {uid}");
        };
        let ack = r#"{"service":"dhcp","stage":"ack","outcome":"ok"}"#;
        let line = r#"{"unix-ms":0,"boot-ms":0,"service":"dhcp","stage":"ack","outcome":"ok","uid":901}"#;
        check(ack, 901, Ok(&format!("{line}\n")));
        check(ack, 902, Ok(&format!("{}\n", line.replace("901", "902"))));
        check(&ack.replace(",", ",\n\n"), 901, Ok(&format!("{line}\n")));
        check(&ack.replace('}', ",\"uid\":0}"), 901, Ok(&format!("{line}\n")));
        check(ack, 903, Err(Refusal::Impostor));
        check(ack, 0, Err(Refusal::Stranger));
        check(&ack.replace("ack", "a\\nb"), 901, Err(Refusal::Garbage));
        check(&ack.replace("ok", "maybe"), 901, Err(Refusal::Garbage));
        check("", 901, Err(Refusal::Garbage));
        check("[]", 901, Err(Refusal::Garbage));
        check(&"[".repeat(LONGEST_DATAGRAM), 901, Err(Refusal::Garbage));
        check(&" ".repeat(LONGEST_DATAGRAM + 1), 901, Err(Refusal::TooLong));
        assert_eq!(intake().line(ack.as_bytes(), None), Err(Refusal::NoSender));
    }

    #[test]
    fn a_datagram_of_several_events() {
        let ack = r#"{"service":"dhcp","stage":"ack","outcome":"ok"}"#;
        let check = |datagram: &str, expect: &[Option<Refusal>]| {
            let intake = intake();
            let got: Vec<_> = intake.lines(datagram.as_bytes(), Some(901)).map(Result::err).collect();
            assert_eq!(got, expect, "{datagram}");
        };
        check(ack, &[None]);
        check(&format!("{ack}\n{ack}"), &[None, None]);
        check(&format!("{ack}\n{{\n{ack}"), &[None, Some(Refusal::Garbage), None]);
        check("", &[Some(Refusal::Garbage)]);
        check(&"\n".repeat(LONGEST_DATAGRAM + 1), &[Some(Refusal::TooLong)]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_line_or_none(
            datagram in proptest::collection::vec(any::<u8>(), 0..300), reason in ".{0,60}", cut in 0usize..200,
        ) {
            let _ = intake().line(&datagram, Some(902));
            let event = Event::dropped("tftp", "drop", &reason).fact("file", reason.as_str());
            let whole = serde_json::to_vec(&event).unwrap();
            let line = intake().line(&whole, Some(902)).unwrap();
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert!(intake().line(&whole[..cut.min(whole.len() - 1)], Some(902)).is_err());
        }
    }
}
