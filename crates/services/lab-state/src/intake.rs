//! Which datagrams become lines of the log.

use std::{collections::BTreeMap, fmt, str::FromStr};

use pilotlight_kit::{
    Event, Outcome,
    events::{LONGEST_DATAGRAM, LONGEST_EVENT},
};
use pilotlight_lab::MacAddr;

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
    /// It is longer than [`LONGEST_EVENT`], or all of them together than [`LONGEST_DATAGRAM`].
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

/// An event that belongs into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its line, line feed included.
    pub line: Vec<u8>,
    /// The node that was given what it needs to be installed without a question, where the event tells of that.
    pub installs: Option<String>,
    /// The node that a machine was recognised as, and the machine's hardware address, where the event tells of that.
    pub meets: Option<(String, MacAddr)>,
    /// What the event tells of a node's start, where it does.
    pub starts: Option<(Start, String)>,
}

/// What was seen of a machine's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Its firmware or boot loader was told what to fetch.
    Booted,
    /// It was off, and the Pi switched it on or woke it; or the Pi restarted it.
    SwitchedOn,
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

    /// Turns a datagram from the user `uid` into lines of the log. Each is written anew from what was
    /// understood, so that it is one line whatever was sent, and carries the sender's number as the fact `uid`, whatever
    /// the sender says about that.
    ///
    /// # Errors
    /// [`Refusal`] for a datagram of which nothing belongs into the log; for a single line where the others do.
    pub fn lines(
        &self,
        datagram: &[u8],
        uid: Option<u32>,
    ) -> Result<impl Iterator<Item = Result<Taken, Refusal>>, Refusal> {
        let uid = uid.ok_or(Refusal::NoSender)?;
        let services = self.senders.get(&uid).ok_or(Refusal::Stranger)?;
        if datagram.len() > LONGEST_DATAGRAM {
            return Err(Refusal::TooLong);
        }
        let lines = datagram.strip_suffix(b"\n").unwrap_or(datagram).split(|byte| *byte == b'\n');
        Ok(lines.map(move |line| rewritten(line, uid, services)))
    }
}

fn rewritten(line: &[u8], uid: u32, services: &[Option<String>]) -> Result<Taken, Refusal> {
    if line.len() > LONGEST_EVENT {
        return Err(Refusal::TooLong);
    }
    let mut event: Event = serde_json::from_slice(line).map_err(|_| Refusal::Garbage)?;
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
    let done = |service: &str, stage: &str| {
        event.service == service && event.stage == stage && event.outcome == Outcome::Ok
    };
    // A system's own question for its address is not one for a file.
    let settled = event.stage != "offer" || event.facts.contains_key("proxy");
    let boots = done("dhcp", &event.stage) && settled && event.facts.contains_key("file");
    // One that was on already has not been started by it.
    let switched =
        ["on", "cycle"].iter().any(|stage| done("power", stage)) && !event.facts.contains_key("already");
    let start = if boots { Some(Start::Booted) } else { switched.then_some(Start::SwitchedOn) };
    let (installs, node) = (done("http", "install"), event.node.as_ref());
    let met = ["dhcp", "http"].iter().any(|service| done(service, Event::MET));
    let mac = event.mac.as_deref().filter(|_| met).and_then(|mac| mac.parse().ok());
    let meets = node.and_then(|node| Some((node.clone(), mac?)));
    let starts = start.and_then(|start| node.map(|node| (start, node.clone())));
    Ok(Taken { line, installs: node.filter(|_| installs).cloned(), meets, starts })
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
        Intake::new(
            ["901=dhcp", "902", "903=http", "903=web", "910=power"].map(|sender| sender.parse().unwrap()),
        )
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
    fn installations_are_found_among_other_events() {
        let event = |service: &str, stage: &str, outcome: &str, node: &str| {
            format!(
                "{{\"unix-ms\":1,\"boot-ms\":1,\"service\":\"{service}\",\"stage\":\"{stage}\",\"outcome\":\"{outcome}\",{node:?}:\"one\"}}"
            )
        };
        let installs = |uid: u32, event: String| -> Option<String> {
            intake().lines(event.as_bytes(), Some(uid)).unwrap().next()?.ok()?.installs
        };
        assert_eq!(installs(903, event("http", "install", "ok", "node")).as_deref(), Some("one"));
        for (uid, other) in [
            (901, event("dhcp", "install", "ok", "node")),
            (901, event("http", "install", "ok", "node")),
            (903, event("web", "install", "ok", "node")),
            (903, event("http", "get", "ok", "node")),
            (903, event("http", "install", "failed", "node")),
            (903, event("http", "install", "ok", "nodes")),
        ] {
            assert_eq!(installs(uid, other.clone()), None, "{other}");
        }
    }

    #[test]
    fn meetings_are_found_among_other_events() {
        let event = |service: &str, stage: &str, outcome: &str, mac: &str| {
            format!(
                "{{\"service\":\"{service}\",\"stage\":\"{stage}\",\"outcome\":\"{outcome}\",\"node\":\"one\",\"mac\":{mac:?}}}"
            )
        };
        let meets = |uid: u32, event: String| -> Option<(String, MacAddr)> {
            intake().lines(event.as_bytes(), Some(uid)).unwrap().next()?.ok()?.meets
        };
        let expect = Some(("one".to_owned(), MacAddr([0x52, 0x54, 0, 0, 0, 1])));
        let mac = "52:54:00:00:00:01";
        assert_eq!(meets(901, event("dhcp", "met", "ok", mac)), expect);
        assert_eq!(meets(903, event("http", "met", "ok", mac)), expect);
        for (uid, other) in [
            (901, event("http", "met", "ok", mac)),
            (903, event("web", "met", "ok", mac)),
            (901, event("dhcp", "ack", "ok", mac)),
            (901, event("dhcp", "met", "failed", mac)),
            (901, event("dhcp", "met", "ok", "52:54")),
        ] {
            assert_eq!(meets(uid, other.clone()), None, "{other}");
        }
    }

    #[test]
    fn boots_are_found_among_other_events() {
        let event = |service: &str, stage: &str, fact: &str| {
            format!(
                "{{\"unix-ms\":1,\"boot-ms\":1,\"service\":\"{service}\",\"stage\":\"{stage}\",\"outcome\":\"ok\",\"node\":\"one\",\"{fact}\":\"x\"}}"
            )
        };
        let boots = |uid: u32, event: String| -> Option<(Start, String)> {
            intake().lines(event.as_bytes(), Some(uid)).unwrap().next()?.ok()?.starts
        };
        let one = |start| Some((start, "one".to_owned()));
        assert_eq!(boots(901, event("dhcp", "ack", "file")), one(Start::Booted));
        for stage in ["on", "cycle"] {
            assert_eq!(boots(910, event("power", stage, "device")), one(Start::SwitchedOn));
        }
        for (uid, other) in [
            (901, event("dhcp", "ack", "address")),
            (901, event("dhcp", "offer", "file")),
            (903, event("dhcp", "ack", "file")),
            (903, event("http", "ack", "file")),
            (910, event("power", "off", "device")),
            (910, event("power", "shut-down", "device")),
            (910, event("power", "on", "already")),
            (903, event("power", "on", "device")),
            (910, event("dhcp", "ack", "file")),
        ] {
            assert_eq!(boots(uid, other.clone()), None, "{other}");
        }
    }

    /// The lines that a datagram gives, refusals as their words.
    fn taken(datagram: &[u8], uid: Option<u32>) -> Result<Vec<Result<String, Refusal>>, Refusal> {
        let intake = intake();
        let lines = intake.lines(datagram, uid)?;
        Ok(lines.map(|line| line.map(|taken| String::from_utf8(taken.line).unwrap())).collect())
    }

    #[test]
    fn events_and_others() {
        let check = |datagram: &str, uid: u32, expect: Result<&str, Refusal>| {
            let lines = taken(datagram.as_bytes(), Some(uid)).unwrap();
            assert_eq!(lines, [expect.map(str::to_owned)], "{datagram} from {uid}");
        };
        let ack = r#"{"service":"dhcp","stage":"ack","outcome":"ok"}"#;
        let line = r#"{"unix-ms":0,"boot-ms":0,"service":"dhcp","stage":"ack","outcome":"ok","uid":901}"#;
        check(ack, 901, Ok(&format!("{line}\n")));
        check(&format!("{ack}\n"), 901, Ok(&format!("{line}\n")));
        check(ack, 902, Ok(&format!("{}\n", line.replace("901", "902"))));
        check(&ack.replace(",", ",\r\r"), 901, Ok(&format!("{line}\n")));
        check(&ack.replace('}', ",\"uid\":0}"), 901, Ok(&format!("{line}\n")));
        check(ack, 903, Err(Refusal::Impostor));
        check(&ack.replace("ack", "a\\nb"), 901, Err(Refusal::Garbage));
        check(&ack.replace("ok", "maybe"), 901, Err(Refusal::Garbage));
        check("", 901, Err(Refusal::Garbage));
        check("[]", 901, Err(Refusal::Garbage));
        check(&"[".repeat(LONGEST_EVENT), 901, Err(Refusal::Garbage));
        check(&" ".repeat(LONGEST_EVENT + 1), 901, Err(Refusal::TooLong));
        assert_eq!(taken(ack.as_bytes(), None), Err(Refusal::NoSender));
        assert_eq!(taken(ack.as_bytes(), Some(0)), Err(Refusal::Stranger));
        assert_eq!(taken(&[b' '; LONGEST_DATAGRAM + 1], Some(901)), Err(Refusal::TooLong));
        let line = Ok(line.to_owned() + "\n");
        let expect = vec![line.clone(), Err(Refusal::Garbage), line];
        assert_eq!(taken(format!("{ack}\nx\n{ack}\n").as_bytes(), Some(901)), Ok(expect));
    }

    proptest! {
        #[test]
        fn any_bytes_give_whole_lines_or_none(
            datagram in proptest::collection::vec(any::<u8>(), 0..300), reason in ".{0,60}", cut in 0usize..200,
        ) {
            let _ = taken(&datagram, Some(902));
            let event = Event::dropped("tftp", "drop", &reason).fact("file", reason.as_str());
            let whole = serde_json::to_vec(&event).unwrap();
            let lines = taken(&whole, Some(902)).unwrap();
            prop_assert!(matches!(&lines[..], [Ok(line)] if line.matches('\n').count() == 1));
            let cut = taken(&whole[..cut.min(whole.len() - 1)], Some(902)).unwrap();
            prop_assert_eq!(cut, [Err(Refusal::Garbage)]);
        }
    }
}
