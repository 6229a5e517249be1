//! From the events of the whole log to the steps of one machine's last boot.

use std::collections::BTreeMap;

use pilotlight_kit::{Event, Outcome};

use crate::{Machine, Stage};

/// A machine that says nothing for so long and then asks for an address has begun anew, whatever it did before.
const NEW_BOOT_MS: u64 = 10 * 60 * 1000;

/// When something was, by both of the Pi's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct When {
    /// Milliseconds since 1970; wrong until the Pi's clock is set.
    pub unix_ms: u64,
    /// Milliseconds since the Pi's power-on.
    pub boot_ms: u64,
}

impl When {
    /// Milliseconds from `earlier` to this. Where the Pi was started in between, its clock is all there is.
    pub fn since(self, earlier: Self) -> u64 {
        if self.boot_ms >= earlier.boot_ms {
            self.boot_ms - earlier.boot_ms
        } else {
            self.unix_ms.saturating_sub(earlier.unix_ms)
        }
    }
}

/// What a machine is told to fetch with its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Nothing: it is a running system that asks.
    Nothing,
    /// A boot loader.
    Loader(String),
    /// A boot script: it is iPXE that asks.
    Script(String),
    /// Nothing, because there is no loader for an architecture of this number (option 93).
    NoLoader(u64),
    /// It is the boot ROM of a Raspberry Pi, which knows the names of its files itself.
    RaspberryPi,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Its question for an address was left unanswered on purpose.
    Unanswered {
        /// The fixed name of the reason.
        kind: String,
        /// The reason in words.
        reason: String,
    },
    /// It was offered an address; none by a proxy.
    Offered(Option<String>, Told),
    /// It was given its address, or the rest without one.
    Given(Option<String>, Told),
    /// It was refused an address that it asked for, for this reason.
    Refused(String, String),
    /// Something about its address went wrong.
    Trouble(String),
    /// It began to fetch a file of so many bytes, where that is known.
    Begun(String, Option<u64>),
    /// It has fetched a file: bytes and milliseconds.
    Fetched(String, u64, u64),
    /// It has a part of a file.
    Broken(String, String),
    /// It asked for a file that it was not given.
    Missing(String, String),
    /// It said this of one of its own disks.
    Disk(String),
    /// It said that it is up, and this of itself.
    Reported(String),
}

/// One thing that happened, as often as it happened in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The stage that it belongs to.
    pub stage: Stage,
    /// What it was.
    pub what: What,
    /// When it was first.
    pub first: When,
    /// When it was last.
    pub last: When,
    /// How often.
    pub times: u64,
}

impl What {
    /// The file that it is about.
    pub(crate) fn file(&self) -> Option<&str> {
        match self {
            Self::Begun(file, _)
            | Self::Fetched(file, ..)
            | Self::Broken(file, _)
            | Self::Missing(file, _) => Some(file),
            _ => None,
        }
    }

    /// Whether `later` is the same again.
    fn is_again(&self, later: &Self) -> bool {
        match (self, later) {
            (Self::Unanswered { kind, .. }, Self::Unanswered { kind: other, .. }) => kind == other,
            (Self::Offered(..), Self::Offered(..)) | (Self::Given(..), Self::Given(..)) => self == later,
            (Self::Refused(..), Self::Refused(..))
            | (Self::Trouble(_), Self::Trouble(_))
            | (Self::Disk(_), Self::Disk(_)) => self == later,
            (Self::Missing(file, _), Self::Missing(other, _)) => {
                file == other || [file, other].iter().all(|file| is_searched(file))
            }
            _ => self.file().is_some() && self.file() == later.file() && matches!(self, Self::Begun(..)),
        }
    }
}

/// Whether a loader tries such names one after the other until one is there.
pub(crate) fn is_searched(file: &str) -> bool {
    file.contains("pxelinux.cfg/") || file.contains("grub.cfg-")
}

/// The steps of the last boot of `machine`, oldest first; none when the log does not have it.
pub(crate) fn steps<'a>(events: impl IntoIterator<Item = &'a Event>, machine: &Machine) -> Vec<Step> {
    let mac = machine.mac.to_string();
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    let mut steps = Vec::new();
    for event in events {
        let address = event.facts.get("address").and_then(|address| address.as_str());
        let owner = event.mac.as_deref().or_else(|| owners.get(address?).copied());
        if let (Some(address), Some(mac)) = (address, event.mac.as_deref())
            && (event.service != "dhcp" || event.stage == "ack")
        {
            owners.insert(address, mac);
        }
        let ours = match owner {
            Some(owner) => owner == mac,
            None => event.node.is_some() && event.node == machine.name,
        };
        if ours && let Some(step) = step(event, steps.last()) {
            add(&mut steps, step);
        }
    }
    steps
}

fn add(steps: &mut Vec<Step>, step: Step) {
    if begins_anew(steps, &step) {
        steps.clear();
    }
    // The end of a transfer belongs to its beginning, whatever came in between.
    let open =
        |before: &&mut Step| matches!(before.what, What::Begun(..)) && before.what.is_again(&step.what);
    if let Some(begun) = steps.iter_mut().rev().find(open) {
        begun.times += u64::from(matches!(step.what, What::Begun(..)));
        begun.what = step.what;
        begun.last = step.last;
        return;
    }
    match steps.last_mut() {
        Some(before) if before.what.is_again(&step.what) => {
            before.times += step.times;
            before.what = step.what;
            before.last = step.last;
        }
        _ => steps.push(step),
    }
}

/// Whether the machine was started again before `step`.
fn begins_anew(steps: &[Step], step: &Step) -> bool {
    let (Some(before), Stage::Address) = (steps.last(), step.stage) else { return false };
    let reached = steps.iter().map(|step| step.stage).max().unwrap_or(Stage::Address);
    match &step.what {
        // A running system asks again and again, and its story is the boot that it came from.
        What::Given(_, Told::Nothing)
        | What::Offered(_, Told::Nothing)
        | What::Refused(..)
        | What::Trouble(_) => false,
        // iPXE asks as well, after the firmware that fetched it: but not after it has its script.
        What::Given(_, Told::Script(_)) | What::Offered(_, Told::Script(_)) => {
            reached >= Stage::Script || step.first.since(before.last) > NEW_BOOT_MS
        }
        _ => reached >= Stage::Loader || step.first.since(before.last) > NEW_BOOT_MS,
    }
}

/// What an event of this machine means; none for what tells nothing about its boot.
fn step(event: &Event, before: Option<&Step>) -> Option<Step> {
    let text = |name: &str| event.facts.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let number = |name: &str| event.facts.get(name).and_then(|value| value.as_u64());
    let reason = || event.reason.clone().unwrap_or_default();
    let address = text("address");
    let file = || text("file").or_else(|| text("path"));
    let what = match (&*event.service, &*event.stage, event.outcome) {
        ("dhcp", "offer", Outcome::Ok) => What::Offered(address.filter(|_| !is_proxy(event)), told(event)),
        ("dhcp", "ack" | "inform" | "boot", Outcome::Ok) => What::Given(address, told(event)),
        ("dhcp", "nak", _) => {
            What::Refused(address.unwrap_or_default(), text("message").unwrap_or_else(reason))
        }
        ("dhcp", "drop", _) => What::Unanswered { kind: text("kind").unwrap_or_default(), reason: reason() },
        ("dhcp", "decline", Outcome::Ok) => {
            What::Trouble(format!("it declined {}: another machine has it", address.unwrap_or_default()))
        }
        ("dhcp", _, Outcome::Failed) => What::Trouble(reason()),
        ("tftp", "read", Outcome::Ok) => What::Begun(file()?, number("bytes")),
        ("tftp", "sent", _) => {
            What::Fetched(file()?, number("bytes").unwrap_or(0), number("ms").unwrap_or(0))
        }
        ("tftp", "error", _) => {
            let file = file()?;
            let begun = matches!(before, Some(Step { what: What::Begun(begun, _), .. }) if *begun == file);
            if begun || number("blocks").is_some() {
                What::Broken(file, reason())
            } else {
                What::Missing(file, reason())
            }
        }
        // HEAD asks how long a file is.
        ("http", "get", Outcome::Ok) if text("method").is_none() => {
            What::Fetched(file()?, number("bytes").unwrap_or(0), number("ms").unwrap_or(0))
        }
        ("http", "get", Outcome::Failed | Outcome::Dropped) => match number("status") {
            Some(400..) => What::Missing(file()?, reason()),
            _ => What::Broken(file()?, reason()),
        },
        ("http", "disk", outcome) => {
            let disk = format!("its disk {} for {}", text("serial")?, text("purpose")?);
            What::Disk(match outcome {
                Outcome::Ok => format!("{disk} is {}", text("did").unwrap_or_default()),
                _ => format!("{disk} is not used: {}", reason()),
            })
        }
        ("http", "ready", _) => What::Reported(reported(event)),
        _ => return None,
    };
    let stage = match (&*event.service, &*event.stage) {
        ("dhcp", _) => Stage::Address,
        ("http", "disk") => Stage::Configuration,
        ("http", "ready") => Stage::Ready,
        // What could be anything belongs to where the machine is.
        _ => Stage::of_file(what.file()?).or(before.map(|before| before.stage)).unwrap_or(Stage::Loader),
    };
    let when = When { unix_ms: event.unix_ms, boot_ms: event.boot_ms };
    // Of a download by HTTP only the end is told, and how long it took.
    let took = if event.service == "http" { number("ms").unwrap_or(0) } else { 0 };
    let first =
        When { unix_ms: when.unix_ms.saturating_sub(took), boot_ms: when.boot_ms.saturating_sub(took) };
    let times = number("times").or_else(|| number("count")).unwrap_or(1);
    Some(Step { stage, what, first, last: when, times })
}

fn reported(event: &Event) -> String {
    let fact = |name: &str| event.facts.get(name).and_then(|value| value.as_str());
    let parts = [
        fact("state").map(str::to_owned),
        fact("system").map(str::to_owned),
        fact("kernel").map(|kernel| format!("Linux {kernel}")),
        fact("uptime").map(|uptime| format!("up {uptime} s")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn is_proxy(event: &Event) -> bool {
    event.facts.get("proxy").is_some_and(|proxy| proxy == true)
}

fn told(event: &Event) -> Told {
    let file = event.facts.get("file").and_then(|file| file.as_str());
    match (file, event.facts.get("no-loader").and_then(|number| number.as_u64())) {
        (Some(file), _) if Stage::of_file(file) == Some(Stage::Script) => Told::Script(file.to_owned()),
        (Some(file), _) => Told::Loader(file.to_owned()),
        (None, Some(architecture)) => Told::NoLoader(architecture),
        (None, None) if event.facts.contains_key("raspberry-pi") => Told::RaspberryPi,
        (None, None) => Told::Nothing,
    }
}
