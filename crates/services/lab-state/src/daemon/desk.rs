//! The state of the lab: its file, and the socket over which operators change it. Who may speak on that is the socket's own
//! mode; on the wire nobody can.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use pilotlight_kit::{Event, Events, assets, keep, lab};
use pilotlight_lab::{Chosen, Lab, LabState, MacAddr};
use pilotlight_lab_state::Wish;

use crate::SERVICE;

/// How long one operator may keep the others waiting.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before the next try when no connection can be had.
const PAUSE: Duration = Duration::from_millis(200);

/// What is needed to change the state.
#[derive(Debug)]
pub(crate) struct Desk {
    /// The lab in force.
    pub(crate) lab: PathBuf,
    /// Folders whose index says what the Pi has.
    pub(crate) indexes: Vec<PathBuf>,
    /// The file of the state.
    pub(crate) state: PathBuf,
    /// Where events go; held by whoever reads the file and writes it anew.
    pub(crate) events: Mutex<Events>,
}

impl Desk {
    /// Answers operators in a thread of its own, one after the other: the log waits for none of them.
    pub(crate) fn open(self: Arc<Self>, listener: UnixListener) -> io::Result<()> {
        listener.set_nonblocking(false)?;
        thread::Builder::new().name("desk".to_owned()).spawn(move || {
            loop {
                match listener.accept() {
                    // Who goes away is no fault.
                    Ok((stream, _)) => drop(self.serve(&stream)),
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        })?;
        Ok(())
    }

    /// Notes whether what is written here is gone with the Pi's next start.
    pub(crate) fn begin(&self, volatile: bool) {
        if volatile || self.state.exists() {
            self.noted("begin", None, |state, _| state.set_volatile(volatile));
        }
    }

    /// Notes that the node of this name was given what it needs to be installed.
    pub(crate) fn installed(&self, node: &str) {
        self.noted("installed", Some(node), |state, lab| state.install(lab, node));
    }

    /// Notes that the machine `mac` was recognised as the node of this name.
    pub(crate) fn met(&self, node: &str, mac: MacAddr) {
        self.noted("met", Some(node), |state, lab| state.meet(lab, node, mac));
    }

    /// Changes the state for somebody who does not wait for an answer, and tells what became of it where it matters.
    fn noted(&self, stage: &str, node: Option<&str>, change: impl Fn(&mut LabState, &Lab)) {
        let changed = self.change(|state, lab| {
            change(state, lab);
            Ok(())
        });
        match (changed, node) {
            (Ok(((), true)), Some(_)) => self.tell(Event::ok(SERVICE, stage).node(node)),
            (Ok(_), _) => {}
            (Err(error), _) => self.tell(Event::failed(SERVICE, stage, format!("{error:#}")).node(node)),
        }
    }

    fn serve(&self, mut stream: &UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(stream.take(Wish::LONGEST as u64 + 1)).read_line(&mut line)?;
        let answer = match self.grant(line.trim_end()) {
            Ok(done) => done,
            Err(error) => format!("refused: {error:#}"),
        };
        stream.write_all(format!("{answer}\n").as_bytes())
    }

    fn grant(&self, line: &str) -> anyhow::Result<String> {
        match Wish::parse(line).map_err(|reason| anyhow!(reason))? {
            Wish::Channel { node, channel } => {
                let (chosen, changed) = self.change(|state, lab| Ok(state.choose(lab, node, channel)?))?;
                if changed {
                    let by = if chosen.of_the_lab { "lab.toml" } else { "an operator" };
                    let event = Event::ok(SERVICE, "channel").node(Some(node));
                    self.tell(event.fact("channel", chosen.channel.as_str()).fact("by", by));
                }
                Ok(said(node, &chosen))
            }
            Wish::Install { node } => {
                let again = |state: &mut LabState, lab: &Lab| Ok(state.install_again(lab, node)?.to_owned());
                let (disk, changed) = self.change(again)?;
                if changed {
                    self.tell(Event::ok(SERVICE, "armed").node(Some(node)).fact("disk", disk.as_str()));
                }
                Ok(format!("{node} is installed at its next start from the network, and its {disk} ERASED"))
            }
            Wish::Forget { node } => {
                let (mac, changed) = self.change(|state, lab| Ok(state.forget(lab, node)?))?;
                if changed {
                    self.tell(Event::ok(SERVICE, "forgotten").node(Some(node)));
                }
                Ok(match mac {
                    Some(mac) => {
                        format!("{mac} is not {node} any more: the next machine that lab.toml means is")
                    }
                    None => format!("no machine was met as {node} yet"),
                })
            }
        }
    }

    /// Changes the state by what is in force, writes it down, and says whether it is another one now.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut LabState, &Lab) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, bool)> {
        let writing = self.lock();
        let mut lab = lab::load(&self.lab)?;
        let (versions, faults) = assets::versions(&self.indexes);
        lab.versions = versions;
        let known = match fs::read_to_string(&self.state) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LabState::default().text()),
            known => known.map_err(|error| error.to_string()),
        };
        let parsed = known.as_deref().map_err(Clone::clone);
        let parsed = parsed.and_then(|text| LabState::parse(text).map_err(|error| error.to_string()));
        let mut state = parsed.unwrap_or_else(|fault| {
            let path = self.state.display();
            let what = format!("{path}: {fault}: whatever is installed by itself counts as installed");
            writing.emit(Event::failed(SERVICE, "state", what));
            LabState::assumed(&lab)
        });
        state.tidy(&lab);
        // What the Pi has and cannot be read may be what was asked for.
        let done = change(&mut state, &lab).map_err(|error| match faults.first() {
            Some(fault) => error.context(fault.clone()),
            None => error,
        })?;
        let text = state.text();
        let changed = known.as_ref() != Ok(&text);
        if changed {
            self.keep(&text).with_context(|| format!("cannot write {}", self.state.display()))?;
        }
        Ok((done, changed))
    }

    fn tell(&self, event: Event) {
        self.lock().emit(event);
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the text in the place of the one before, as a whole or not at all, whenever the plug is pulled.
    fn keep(&self, text: &str) -> io::Result<()> {
        let folder = self.state.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::create_dir_all(folder)?;
        // Whoever renders boot scripts reads it; it holds no secret.
        keep::replace(&self.state, text.as_bytes(), 0o644)
    }
}

fn said(node: &str, chosen: &Chosen) -> String {
    let Chosen { channel, version, of_the_lab } = chosen;
    let version = version.as_ref().map_or_else(|| "not on the Pi".to_owned(), |version| version.clone());
    let by = if *of_the_lab { ", as lab.toml has it" } else { "" };
    format!("{node} follows {channel} ({version}) from its next start on{by}")
}
