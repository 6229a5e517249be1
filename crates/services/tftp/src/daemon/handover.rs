//! Transfers that outlive this process: systemd keeps their descriptors, and beside them a file with a line of JSON for each,
//! for the process that is started in this one's place.
//!
//! What is converted to netascii ends with its process: where its blocks begin is known to that alone.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Seek as _, Write as _},
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use pilotlight_kit::systemd;
use pilotlight_tftp::{Blocks, Progress, Terms, Transfer};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::{files::Content, sockets::Line, table::Active};

/// The name of the file with the lines.
const LIST: &str = "transfers";
/// The most transfers that are handed on (`FileDescriptorStoreMax=` of the unit: a file and a port for each, and the list).
/// systemd compares each descriptor with all that it has, and does nothing else meanwhile: half a million comparisons for these,
/// sixteen times as many for four times the transfers. Reckoned, not measured.
const MOST: usize = 512;

/// A transfer, but for its descriptors.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The listener that it leaves from, and the address there; none where it has a port of its own.
    shared: Option<(usize, IpAddr)>,
    peer: SocketAddr,
    request: Vec<u8>,
    file: String,
    length: u64,
    /// What is sent, where that is no file.
    text: Option<Vec<u8>>,
    block_size: u16,
    window: u16,
    timeout: Option<Duration>,
    oack: Option<Vec<u8>>,
    progress: Progress,
    pending: (u64, u64),
}

fn port(number: usize) -> String {
    format!("{number}-port")
}

fn file(number: usize) -> String {
    format!("{number}-file")
}

/// Has systemd keep the transfers, and gives those back that it does not.
pub(crate) fn keep(actives: Vec<Active>) -> Vec<Active> {
    let most = MOST.min(systemd::room().saturating_sub(1) / 2);
    let (mut kept, mut others): (Vec<_>, Vec<_>) =
        actives.into_iter().partition(|active| active.blocks.length().is_some());
    others.extend(kept.split_off(most.min(kept.len())));
    if !kept.is_empty() && handed_on(&kept).is_err() {
        others.extend(kept);
    }
    others
}

fn handed_on(actives: &[Active]) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let list = File::from(rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR)?);
    let mut lines = BufWriter::new(&list);
    for (number, active) in actives.iter().enumerate() {
        if let Line::Own(socket) = &active.line {
            systemd::keep(&port(number), socket.as_fd())?;
        }
        if let Content::File(open, _) = active.blocks.content() {
            systemd::keep(&file(number), open.as_fd())?;
        }
        serde_json::to_writer(&mut lines, &Kept::of(active))?;
        lines.write_all(b"\n")?;
    }
    lines.flush()?;
    drop(lines);
    systemd::keep(LIST, list.as_fd())?;
    systemd::kept()
}

impl Kept {
    fn of(active: &Active) -> Self {
        let Terms { block_size, window, timeout, oack } = active.terms.clone();
        Self {
            shared: match active.line {
                Line::Own(_) => None,
                Line::Shared(listener, local) => Some((listener, local)),
            },
            peer: active.peer,
            request: active.request.clone(),
            file: active.file.clone(),
            length: active.length,
            text: match active.blocks.content() {
                Content::File(..) => None,
                Content::Rendered(text) => Some(text.clone()),
            },
            block_size,
            window,
            timeout,
            oack,
            progress: active.transfer.kept(),
            pending: (active.pending.start, active.pending.end),
        }
    }

    /// The transfer with its descriptors, if they are all there.
    fn resume(self, port: Option<OwnedFd>, file: Option<OwnedFd>, now: Duration) -> Option<Active> {
        let line = match self.shared {
            Some((listener, local)) => Line::Shared(listener, local),
            None => Line::Own(port?.into()),
        };
        let content = match self.text {
            Some(text) => Content::Rendered(text),
            None => Content::File(file?.into(), self.length),
        };
        let Self { block_size, window, timeout, oack, length, .. } = self;
        let terms = Terms { block_size, window, timeout, oack };
        let transfer = Transfer::resume(&terms, length, &self.progress, now);
        let Progress { acked, sent, .. } = transfer.kept();
        let (first, end) = self.pending;
        Some(Active {
            line,
            peer: self.peer,
            request: self.request,
            file: self.file,
            length,
            blocks: Blocks::octet(content, length),
            terms,
            transfer,
            pending: first.clamp(acked + 1, sent + 1)..end.clamp(acked + 1, sent + 1),
            together: true,
            started: now,
        })
    }
}

/// The transfers of the process before, out of what it had kept.
pub(crate) fn taken(kept: Vec<(String, OwnedFd)>, now: Duration) -> Vec<Active> {
    let mut kept: HashMap<String, OwnedFd> = kept.into_iter().collect();
    let Some(list) = kept.remove(LIST) else { return Vec::new() };
    let mut list = File::from(list);
    if list.rewind().is_err() {
        return Vec::new();
    }
    let lines = BufReader::new(list).lines().map_while(Result::ok).take(MOST);
    let transfers = lines.enumerate().filter_map(|(number, line)| {
        let one: Kept = serde_json::from_str(&line).ok()?;
        one.resume(kept.remove(&port(number)), kept.remove(&file(number)), now)
    });
    transfers.collect()
}
