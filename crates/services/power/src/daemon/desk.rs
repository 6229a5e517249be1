//! Operators' questions and the answers to them. Who may ask is the socket's own mode; on the wire nobody can.

use std::{
    collections::BTreeSet,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{anyhow, bail};
use pilotlight_kit::{Event, Events, lab};
use pilotlight_lab::{DeviceKind, Lab, MacAddr, Node, PowerDevice};
use pilotlight_power::{
    Direct, Done, Error, Login, Means, Question, Target, WireError, Wish, check, status, switch,
};

use crate::{keys::Keys, wake};

const SERVICE: &str = "power";
/// How long one operator may take over a question, and over taking the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of a reason is told in an event, in characters.
const MOST_WORDS: usize = 400;

/// What is needed to answer.
#[derive(Debug)]
pub(crate) struct Desk {
    /// The file of the lab in force, and that of what has become of its nodes since.
    lab: (PathBuf, PathBuf),
    keys: Keys,
    /// What is kept is gone with the Pi's next start.
    forgets: bool,
    events: Events,
    /// The nodes that somebody is switching.
    busy: Mutex<BTreeSet<String>>,
}

impl Desk {
    /// `lab` is the lab in force, and what has become of its nodes since.
    pub(crate) fn new(lab: (PathBuf, PathBuf), keys: Keys, forgets: bool, events: Events) -> Self {
        Self { lab, keys, forgets, events, busy: Mutex::default() }
    }

    /// Answers one question.
    pub(crate) fn serve(&self, mut stream: &UnixStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.take(Question::LONGEST as u64));
        let mut text = String::new();
        reader.read_line(&mut text)?;
        for _ in 1..Question::lines(&text) {
            reader.read_line(&mut text)?;
        }
        let answer = match self.answer(text.trim_end_matches('\n')) {
            Ok(done) => done,
            Err(error) => format!("refused: {error:#}"),
        };
        stream.write_all(format!("{answer}\n").as_bytes())
    }

    fn answer(&self, text: &str) -> anyhow::Result<String> {
        let question = Question::parse(text).map_err(|fault| anyhow!(fault))?;
        let lab = lab::load_now(&self.lab.0, &self.lab.1)?;
        match question {
            Question::Status { node } => self.status(&lab, node),
            Question::Switch { node, wish } => {
                let (node, means) = Means::of(&lab, node)?;
                let _alone = Alone::with(&self.busy, &node.name)?;
                let stage = match wish {
                    Wish::On => "on",
                    Wish::Off => "off",
                    Wish::ShutDown => "shut-down",
                    Wish::Cycle { .. } => "cycle",
                };
                let result = match means {
                    Means::Wake(mac) => wake(&lab, node, mac, wish).map(|said| (said, true)),
                    Means::Device { name, device, target } => {
                        self.switch(&node.name, (name, device), target, wish)
                    }
                };
                let event = told(stage, node, means, result.as_ref().err());
                let already = matches!(result, Ok((_, false)));
                self.events.emit(if already { event.fact("already", true) } else { event });
                result.map(|(said, _)| said)
            }
            Question::Login { device, tried, user, password } => {
                let name = device;
                let device = Means::device(&lab, name)?;
                let login = Login::new(user, password)?;
                if tried {
                    let checked = direct(device).and_then(|mut wire| check(&mut wire, &login, device.kind));
                    checked.map_err(|error| {
                        failure(&format!("nothing is kept: {name} at {}", device.url), &error)
                    })?;
                }
                self.keys.keep(name, device, &login)?;
                self.events.emit(Event::ok(SERVICE, "login").fact("device", name));
                let mut said = match tried {
                    true => format!("{name} lets {user} in, and the Pi remembers it"),
                    false => format!("the Pi remembers it; whether {name} lets {user} in was not tried"),
                };
                if self.forgets {
                    said.push_str("\nonly until its next start: the card's data partition cannot be used (pilotctl ready)");
                }
                if device.kind == DeviceKind::Redfish && device.url.starts_with("http://") {
                    said.push_str("\nthe password crosses the wire readable, because the device's url begins with http://");
                }
                Ok(said)
            }
            Question::Logout { device } => {
                if !self.keys.forget(device)? {
                    bail!("the Pi knows of nobody whom {device} lets in");
                }
                self.events.emit(Event::ok(SERVICE, "logout").fact("device", device));
                Ok(format!("the Pi has forgotten whom {device} lets in"))
            }
        }
    }

    fn status(&self, lab: &Lab, node: &str) -> anyhow::Result<String> {
        let (node, means) = Means::of(lab, node)?;
        let node = &node.name;
        let (name, device, target) = match means {
            Means::Device { name, device, target } => (name, device, target),
            Means::Wake(_) => bail!("nothing tells whether {node} is on: it is woken by magic packets"),
        };
        let login = self.keys.read(name, device)?;
        let state = direct(device).and_then(|mut wire| status(&mut wire, &login, target));
        let state = state.map_err(|error| failure(&asked(node, name, device), &error))?;
        Ok(format!("{node} is {state}"))
    }

    /// Switches it; gives what is said of that, and whether anything was done.
    fn switch(
        &self,
        node: &str,
        (name, device): (&str, &PowerDevice),
        target: Target<'_>,
        wish: Wish,
    ) -> anyhow::Result<(String, bool)> {
        let login = self.keys.read(name, device)?;
        let done = direct(device).and_then(|mut wire| switch(&mut wire, &login, target, wish));
        let done = done.map_err(|error| failure(&asked(node, name, device), &error))?;
        let acted = !matches!(done, Done::Already(_));
        let said = match done {
            Done::Already(state) => format!("{node} is {state} already"),
            Done::Reached(state) => format!("{node} is {state}"),
            Done::ShuttingDown => {
                format!("{node} was told to shut down: `pilotctl power status {node}` tells whether it has")
            }
            Done::Restarted => {
                format!("{node} was restarted: `pilotctl node {node}` tells how its boot goes")
            }
        };
        Ok((said, acted))
    }
}

fn direct(device: &PowerDevice) -> Result<Direct, Error> {
    let url = |source: WireError| Error::NoAnswer { request: device.url.clone(), source };
    Direct::new(device).map_err(url)
}

fn asked(node: &str, name: &str, device: &PowerDevice) -> String {
    format!("{node}, which is switched by {name} at {}", device.url)
}

/// The whole story, and what to do.
fn failure(what: &str, error: &Error) -> anyhow::Error {
    let mut text = format!("{what}: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    match error.hint() {
        Some(hint) => anyhow!("{text}\n{hint}"),
        None => anyhow!(text),
    }
}

fn wake(lab: &Lab, node: &Node, mac: MacAddr, wish: Wish) -> anyhow::Result<String> {
    let name = &node.name;
    if wish != Wish::On {
        bail!("{name} can only be woken: nothing but magic packets switches it, says lab.toml");
    }
    wake::wake(lab, mac)?;
    Ok(format!(
        "{name} was sent {} magic packets: `pilotctl node {name}` tells whether it woke",
        wake::COPIES
    ))
}

fn told(stage: &str, node: &Node, means: Means<'_>, fault: Option<&anyhow::Error>) -> Event {
    let event = match fault {
        None => Event::ok(SERVICE, stage),
        Some(fault) => {
            // A device's words are in it: of these, as much as an event may hold.
            let reason: String =
                fault.to_string().lines().next().unwrap_or_default().chars().take(MOST_WORDS).collect();
            Event::failed(SERVICE, stage, reason)
        }
    };
    let event = event.node(Some(&node.name)).mac(node.mac);
    match means {
        Means::Wake(_) => event,
        Means::Device { name, target: Target::Outlet(number), .. } => {
            event.fact("device", name).fact("outlet", number)
        }
        Means::Device { name, target: Target::System(system), .. } => {
            event.fact("device", name).fact("system", system)
        }
    }
}

/// One at a time switches a node: of two, each would undo what the other waits for.
struct Alone<'a> {
    busy: &'a Mutex<BTreeSet<String>>,
    node: &'a str,
}

impl<'a> Alone<'a> {
    fn with(busy: &'a Mutex<BTreeSet<String>>, node: &'a str) -> anyhow::Result<Self> {
        if !busy.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned()) {
            bail!("somebody is switching {node} just now: try again in a minute");
        }
        Ok(Self { busy, node })
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(self.node);
    }
}
