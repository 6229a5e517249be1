//! `cargo xtask bench boot`: the guest's instructions from `/init` to the first OFFER, ours beside a stock Debian's,
//! on the same machine in one run.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::Args;
use pilotlight_card::{ImageRequest, Toolset, Workshop};
use pilotlight_emulator::{
    Qemu, Serial, asker, card,
    count::{Report, Task},
    counted::Counted,
    hub::Hub,
    pi::{BootFiles, MAC},
};

use super::{
    Arguments,
    peer::{self, Peer},
};
use crate::{BOARD, ui};

#[derive(Debug, Args)]
pub(crate) struct Boot {
    /// Measure ours alone
    #[arg(long)]
    without_peer: bool,
    /// How many programs to name
    #[arg(long, default_value_t = 12)]
    programs: usize,
}

/// It answers at once: what the default lab listens for first is a matter of seconds, not of instructions.
const LAB: &str = "[network]\naddress = \"10.77.0.1/24\"\n\n[network.pool]\nfirst = \"10.77.0.100\"\nlast = \"10.77.0.199\"\n";
/// For a busy desk; an idle one takes half a minute.
const PATIENCE: Duration = Duration::from_secs(900);

/// A system to be measured.
struct System<'a> {
    name: &'a str,
    kernel: PathBuf,
    initrd: PathBuf,
    command_line: String,
    disk: PathBuf,
    /// What its DHCP server is called in the kernel.
    server: &'a str,
}

/// One boot.
struct Round {
    report: Report,
    time: Duration,
}

pub(crate) fn run(arguments: &Arguments, boot: &Boot) -> anyhow::Result<()> {
    let workshop = Workshop::open(&ui::workspace()?, &arguments.source.settings())?;
    let qemu = Qemu::unpacked(workshop.toolbox(Toolset::Emulator)?.folder())?;
    let plugin = plugin(&workshop)?;
    let scratch = tempfile::tempdir_in(workshop.target())?;
    let ours = ours(&workshop, scratch.path())?;
    let peer = match boot.without_peer {
        true => None,
        false => Some(Peer::ready(&workshop, &qemu)?),
    };
    let peer = peer.map(|peer| System {
        name: "stock Debian",
        kernel: peer.kernel(),
        initrd: peer.initrd(),
        command_line: peer::COMMAND_LINE.to_owned(),
        disk: peer.disk(),
        server: "dnsmasq",
    });
    // In turn, so that whatever else the desk does falls on both.
    let (mut our_rounds, mut peer_rounds) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds.max(1) {
        our_rounds.push(ours.boot(&qemu, &plugin, scratch.path())?);
        if let Some(peer) = &peer {
            peer_rounds.push(peer.boot(&qemu, &plugin, scratch.path())?);
        }
    }
    let peer_name = "stock Debian of the same packages (armhf) with dnsmasq and nginx, booted before";
    println!("from /init to the first OFFER, millions of instructions, medians of {}", our_rounds.len());
    let ours_shown = ours.show("Pilotlight, a new card's first boot", our_rounds, boot.programs);
    if let Some(peer) = &peer {
        let peer_shown = peer.show(peer_name, peer_rounds, boot.programs);
        println!("\nours is {:.3} of the peer's", ours_shown as f64 / peer_shown as f64);
    }
    Ok(())
}

/// Builds the plugin.
fn plugin(workshop: &Workshop) -> anyhow::Result<PathBuf> {
    let cargo = env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--package", "pilotlight-counter"])
        .current_dir(ui::workspace()?)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo did not build pilotlight-counter");
    let plugin = workshop.target().join("debug/libpilotlight_counter.so");
    ensure!(plugin.is_file(), "cargo built pilotlight-counter, but {} is not there", plugin.display());
    Ok(plugin)
}

fn ours(workshop: &Workshop, scratch: &Path) -> anyhow::Result<System<'static>> {
    let (image, lab) = (scratch.join("ours.img"), scratch.join("lab.toml"));
    fs::write(&lab, LAB).with_context(|| format!("cannot write {}", lab.display()))?;
    let request = ImageRequest { out: Some(image.clone()), lab: Some(lab), ..ImageRequest::board(BOARD) };
    workshop.image(&request)?;
    let (board, _) = workshop.board(BOARD)?;
    let boot = BootFiles::of_card(&image, board.device_tree(), scratch)?;
    Ok(System {
        name: "pilotlight",
        kernel: boot.kernel,
        initrd: boot.initrd,
        // The last console named is /dev/console.
        command_line: format!("{} console=ttyAMA0", boot.command_line),
        disk: image,
        server: "pilotlight-dhcp",
    })
}

impl System<'_> {
    fn boot(&self, qemu: &Qemu, plugin: &Path, scratch: &Path) -> anyhow::Result<Round> {
        let folder = scratch.join(self.name.replace(' ', "-"));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (disk, account) = (folder.join("disk.img"), folder.join("account"));
        card::work_copy(&self.disk, &disk)?;
        // Unix sockets have short names: the workspace's path may be too long for one.
        let sockets = tempfile::tempdir().context("cannot make a folder for the wire's socket")?;
        let hub = Hub::start(&sockets.path().join("hub"), None).context("cannot start the wire")?;
        let guest = Counted {
            name: "guest",
            kernel: &self.kernel,
            initrd: &self.initrd,
            command_line: &self.command_line,
            disk: &disk,
            wire: (hub.path(), MAC),
            counter: Some((plugin, account.clone())),
        };
        let mut machine = guest.start(qemu, &Serial::Captured(folder.clone()))?;
        let time = asker::first_offer(hub.path(), PATIENCE);
        machine.stop().context("cannot stop QEMU")?;
        let time = time.with_context(|| {
            let log = fs::read_to_string(folder.join("guest.log")).unwrap_or_default();
            format!("{} gave no address; its console:\n{log}", self.name)
        })?;
        let text = fs::read_to_string(&account)
            .with_context(|| format!("the plugin left no {}", account.display()))?;
        let report = Report::parse(&text)
            .map_err(|line| anyhow::anyhow!("the plugin's account has a strange line: {line:?}"))?;
        ensure!(report.first(self.server).is_some(), "{} gave an address without {}", self.name, self.server);
        Ok(Round { report, time })
    }

    /// Prints the round in the middle, and gives its sum.
    fn show(&self, title: &str, mut rounds: Vec<Round>, programs: usize) -> u64 {
        rounds.sort_by_key(|round| round.report.busy().total());
        let total = |round: &Round| millions(round.report.busy().total());
        let Round { report, time } = &rounds[rounds.len() / 2];
        let (sum, busy) = (report.busy().total(), report.busy());
        println!("\n{title}");
        println!(
            "  {:<34} {:>8}   from {} to {}; {} of it the kernel; {} on this desk with the load {}",
            "all, idling left out",
            millions(sum),
            total(&rounds[0]),
            total(&rounds[rounds.len() - 1]),
            millions(busy.kernel),
            ui::seconds(*time),
            load(),
        );
        let [systemd, server] = ["systemd", self.server].map(|name| report.first(name).unwrap_or(sum));
        for (name, from, to) in [
            ("  /init, until it starts systemd", 0, systemd),
            ("  systemd, until the server runs", systemd, server),
            ("  until the OFFER", server, sum),
        ] {
            println!("  {name:<34} {:>8}", millions(to - from));
        }
        println!("  {:<34} {:>8} {:>8} {:>8}", "program", "all", "kernel", "user");
        let mut tasks = grouped(&report.tasks);
        tasks.sort_by_key(|task| std::cmp::Reverse(task.spent.total()));
        let (named, others) = tasks.split_at(programs.min(tasks.len()));
        let line = |name: &str, kernel: u64, user: u64| {
            println!(
                "  {name:<34} {:>8} {:>8} {:>8}",
                millions(kernel + user),
                millions(kernel),
                millions(user)
            );
        };
        for task in named {
            line(&format!("  {}", task.name), task.spent.kernel, task.spent.user);
        }
        let sum_of = |part: fn(&Task) -> u64| others.iter().map(part).sum();
        line(
            &format!("  {} others", others.len()),
            sum_of(|task| task.spent.kernel),
            sum_of(|task| task.spent.user),
        );
        sum
    }
}

/// Kernel workers as one, and without idling.
fn grouped(tasks: &[Task]) -> Vec<Task> {
    let mut groups: Vec<Task> = Vec::new();
    for task in tasks.iter().filter(|task| !task.is_idle()) {
        let name = if task.name.starts_with("kworker/") { "kworker" } else { &task.name };
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => {
                group.spent.kernel += task.spent.kernel;
                group.spent.user += task.spent.user;
            }
            None => groups.push(Task { name: name.to_owned(), ..task.clone() }),
        }
    }
    groups
}

fn millions(count: u64) -> String {
    format!("{:.1}", count as f64 / 1e6)
}

/// How many programs wanted a processor of this desk in the last minute.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}
