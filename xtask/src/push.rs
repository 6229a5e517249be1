//! `cargo xtask push`: a new system to a running Pi.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufReader, BufWriter, Read, Write},
    process::{Child, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use pilotlight_card::{SlotImage, SlotRequest, Toolset, Workshop};
use pilotlight_disk::Slot;
use pilotlight_image::{Content, Sparse};
use pilotlight_update::{
    Area, Hash, Manifest, Message, Piece, Reply, Status, VERSION, cut, read, send, send_piece,
};

use crate::{
    Source,
    login::{LOCKED_OUT, Login, shown},
    ui,
};

/// How long a Pi has from the restart until it says that the new system is kept, or that it went back: five minutes
/// of trial, and two starts.
const PATIENCE: Duration = Duration::from_secs(480);
const STEP: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The Pi's address
    pi: String,
    /// The board [default: the one that the Pi says it is]
    #[arg(long)]
    board: Option<String>,
    #[command(flatten)]
    login: Login,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for what becomes of it
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    pub(crate) source: Source,
}

/// A connection to the update service of a Pi.
struct Line {
    child: Child,
    to: BufWriter<std::process::ChildStdin>,
    from: BufReader<std::process::ChildStdout>,
    status: Status,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.login.check()?;
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let ssh = workshop.toolbox(Toolset::Desk)?.program("ssh")?;
    let mut line = Line::open(&ssh, arguments)?;
    let status = line.status.clone();
    let running = Slot::from_name(&status.slot).context("the Pi names no slot")?;
    println!(
        "the Pi     {}, slot {running} runs{}",
        status.board,
        if status.trial { ", on trial" } else { "" }
    );
    if let Some(last) = &status.last {
        println!("last       {last}");
    }
    ensure!(!status.trial, "the Pi tries a new system already: wait until it is kept, or has gone back");

    let board = arguments.board.clone().unwrap_or_else(|| status.board.clone());
    let lab = match &status.lab {
        Some(lab) => lab.clone(),
        None => {
            println!(
                "lab        the card's own cannot be read; the one that every image brings takes its place"
            );
            fs::read_to_string(workshop.default_lab()).context("cannot read the default lab")?
        }
    };
    let signature = u32::from_str_radix(&status.signature, 16).context("the Pi names no disk signature")?;
    let slot = running.other();
    let request = SlotRequest { board: board.clone(), lab: lab.clone(), signature, slot };
    let system = System::of(&workshop.slot(&request)?)?;
    let manifest = Manifest {
        signature: status.signature.clone(),
        slot: slot.name().to_owned(),
        board,
        lab: Hash::of(lab.as_bytes()),
        pieces: system.pieces.keys().copied().collect(),
    };
    send(&mut line.to, &Message::Offer(manifest.clone()))?;
    let need = match line.reply()? {
        Reply::Need(need) => need,
        other => bail!("the Pi answered the offer with {other:?}"),
    };
    let pieces: Vec<&Piece> =
        need.iter().filter_map(|number| manifest.pieces.get(usize::try_from(*number).ok()?)).collect();
    let bytes: u64 = pieces.iter().map(|piece| u64::from(piece.len)).sum();
    println!("differs    {} of {}", ui::bytes(bytes), ui::bytes(manifest.bytes()));
    if arguments.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    system.send(&pieces, bytes, &mut line)?;
    match line.reply()? {
        Reply::Armed => println!("written    slot {slot}, read back; the Pi restarts into it, on trial"),
        other => bail!("the Pi answered the system with {other:?}"),
    }
    drop(line);
    if arguments.no_wait { Ok(ExitCode::SUCCESS) } else { wait(&ssh, arguments, slot) }
}

/// Asks until the Pi has made up its mind.
fn wait(ssh: &std::path::Path, arguments: &Arguments, slot: Slot) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    // It is still the old system that answers, until it is down.
    thread::sleep(STEP);
    while start.elapsed() < PATIENCE {
        if let Ok(line) = Line::open(ssh, arguments) {
            let Status { slot: running, trial, last, .. } = &line.status;
            if running == slot.name() && !trial {
                println!("kept       slot {slot}, after {}", ui::seconds(start.elapsed()));
                return Ok(ExitCode::SUCCESS);
            }
            let word = last.as_deref().unwrap_or("slot was left again, and nothing is recorded");
            if running != slot.name() && word.contains("left again") {
                bail!("the Pi went back to slot {running}: {word}");
            }
        }
        thread::sleep(STEP);
    }
    bail!(
        "the Pi has not said what became of slot {slot} within {} minutes: where its kernel hangs before the watchdog is \
         on, it comes back to the other slot when its plug is pulled once",
        PATIENCE.as_secs() / 60
    )
}

impl Line {
    fn open(ssh: &std::path::Path, arguments: &Arguments) -> anyhow::Result<Self> {
        let mut command = arguments.login.command(ssh, &arguments.pi, &["pilotctl", "update"]);
        let text = format!("cannot reach the Pi by `{}`", shown(&command));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().with_context(|| text.clone())?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("no line to ssh")
        };
        let (mut to, mut from) = (BufWriter::new(to), BufReader::new(from));
        let greeted = send(&mut to, &Message::Hello(VERSION)).and_then(|()| read::<Reply>(&mut from));
        let status = match greeted {
            Ok(Reply::Status(status)) => status,
            Ok(other) => bail!("the Pi greeted with {other:?}"),
            Err(fault) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(anyhow::Error::new(fault).context(format!("{text}: {LOCKED_OUT}")));
            }
        };
        ensure!(
            status.version == VERSION,
            "the Pi speaks version {} of the update, this builder {VERSION}: write the card with `cargo xtask flash`",
            status.version
        );
        Ok(Self { child, to, from, status })
    }

    /// The next word of the Pi; a refusal is an error.
    fn reply(&mut self) -> anyhow::Result<Reply> {
        match read(&mut self.from).context("the Pi went away in the middle")? {
            Reply::Refused(why) => bail!("the Pi refuses: {why}"),
            reply => Ok(reply),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A system in pieces.
struct System {
    /// Each with where it lies in `content`.
    pieces: BTreeMap<Piece, (usize, usize)>,
    content: Vec<Vec<u8>>,
}

impl System {
    fn of(image: &SlotImage) -> anyhow::Result<Self> {
        let mut system = Self { pieces: BTreeMap::new(), content: Vec::new() };
        system.add_all(Area::Boot, &image.boot)?;
        let root = &image.root.path;
        let root = fs::read(root).with_context(|| format!("cannot read {}", root.display()))?;
        system.add(Area::Root, 0, root)?;
        Ok(system)
    }

    fn add_all(&mut self, area: Area, sparse: &Sparse) -> anyhow::Result<()> {
        for extent in sparse.extents() {
            match &extent.content {
                Content::Bytes(bytes) => self.add(area, extent.offset, bytes.to_vec())?,
                Content::Zeros(len) => self.add(area, extent.offset, vec![0; usize::try_from(*len)?])?,
                Content::File(blob) => {
                    let mut bytes = Vec::new();
                    fs::File::open(&blob.path)?.read_to_end(&mut bytes)?;
                    self.add(area, extent.offset, bytes)?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, area: Area, offset: u64, bytes: Vec<u8>) -> anyhow::Result<()> {
        for range in cut(&bytes) {
            let len = u32::try_from(range.len())?;
            let piece =
                Piece { area, at: offset + range.start as u64, len, sha256: Hash::of(&bytes[range.clone()]) };
            self.pieces.insert(piece, (self.content.len(), range.start));
        }
        self.content.push(bytes);
        Ok(())
    }

    fn send(&self, pieces: &[&Piece], bytes: u64, line: &mut Line) -> anyhow::Result<()> {
        let bar = ui::sending(bytes);
        for piece in pieces {
            let (content, start) = self.pieces.get(piece).context("the Pi asked for what was not offered")?;
            let bytes = self
                .content
                .get(*content)
                .and_then(|content| content.get(*start..*start + piece.len as usize));
            send_piece(&mut line.to, bytes.context("a piece is not there")?).context("the Pi went away")?;
            bar.inc(u64::from(piece.len));
        }
        line.to.flush().context("the Pi went away")?;
        bar.finish_and_clear();
        Ok(())
    }
}
