//! The servers, each as its makers ship it, with a pool of one network of 16 bits.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use pilotlight_tests::{
    namespace::SERVER,
    process::{end_with_this_thread, must},
    surroundings,
};

use super::crowd::{Crowd, Outcome};
use crate::{
    cores::Cores,
    rig::{Peer, Rig},
};

/// Enough for any server to start.
const PATIENCE: Duration = Duration::from_secs(20);

const LAB: &str = r#"
[network]
address = "10.77.0.1/16"
domain = "lab.home.arpa"
lease = "1h"
probe-first = false

[network.pool]
first = "10.77.1.0"
last = "10.77.255.250"
"#;

/// Kea's own example, reduced to this wire; `@severity@` is how much it says. Its leases are a file in memory, written and
/// never synced.
const KEA: &str = r#"{ "Dhcp4": {
    "interfaces-config": { "interfaces": [ "eth0" ] },
    "lease-database": { "type": "memfile", "lfc-interval": 3600 },
    "valid-lifetime": 3600,
    "option-data": [
        { "name": "domain-name", "data": "lab.home.arpa" },
        { "name": "domain-name-servers", "data": "10.77.0.1" },
        { "name": "ntp-servers", "data": "10.77.0.1" }
    ],
    "subnet4": [ { "id": 1, "subnet": "10.77.0.0/16", "pools": [ { "pool": "10.77.1.0 - 10.77.255.250" } ] } ],
    "loggers": [ { "name": "kea-dhcp4", "severity": "@severity@",
        "output-options": [ { "output": "stdout" } ] } ]
} }"#;

/// A server to measure.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ours,
    Kea { severity: &'static str },
    Dnsmasq,
}

/// Ours comes first.
pub(crate) const SERVERS: &[Server] = &[
    Server { name: "ours", kind: Kind::Ours },
    Server { name: "Kea", kind: Kind::Kea { severity: "INFO" } },
    Server { name: "Kea, warnings only", kind: Kind::Kea { severity: "WARN" } },
    Server { name: "dnsmasq", kind: Kind::Dnsmasq },
];

/// A running server, and what keeps its events where it has such.
pub(crate) struct Running {
    server: Peer,
    _log: Option<Peer>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) fn must_be_alive(&mut self) -> Result<()> {
        self.server.must_be_alive()
    }
}

/// Where the servers stand.
pub(crate) struct Stand<'a> {
    rig: &'a Rig,
    pub(crate) cores: Cores,
    /// On the disk that the programs are on: a folder for temporary files may be one in memory.
    leases: tempfile::TempDir,
}

impl<'a> Stand<'a> {
    pub(crate) fn set(rig: &'a Rig) -> Result<Self> {
        let daemon = surroundings::daemon("pilotlight-dhcpd")?;
        let beside = daemon.parent().context("the daemon is in no folder")?;
        let leases = tempfile::Builder::new().prefix("leases-").tempdir_in(beside);
        let cores = Cores::share_out()?;
        let stand = Self { rig, cores, leases: leases.context("could not make a folder for leases")? };
        let system = stand.file_system()?;
        ensure!(system != "tmpfs", "{} is in memory: nothing there is durable", stand.leases().display());
        for address in ["del 10.77.0.1/24", "add 10.77.0.1/16"] {
            let mut ip = rig.clients.command("ip")?;
            ip.arg("address").args(address.split(' ')).args(["dev", SERVER]);
            rig.cable.on_server_side(&mut ip)?;
            must(&mut ip, PATIENCE)?;
        }
        rig.cable.ip("address add 10.77.0.50/16 dev client0")?;
        rig.cable.ip("route add 255.255.255.255 dev client0")?;
        rig.file("lab.toml", LAB)?;
        Ok(stand)
    }

    /// The folder of the leases.
    pub(crate) fn leases(&self) -> &Path {
        self.leases.path()
    }

    /// The kind of file system that it is on.
    pub(crate) fn file_system(&self) -> Result<String> {
        let path = self.leases().canonicalize()?;
        let mounts = fs::read_to_string("/proc/self/mounts").context("could not read the mounts")?;
        let mounts = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((PathBuf::from(words.next()?), words.next()?))
        });
        let above = mounts.filter(|(point, _)| path.starts_with(point));
        // Of two mounts on one place the later one counts.
        let found = above.max_by_key(|(point, _)| point.components().count());
        Ok(found.context("the folder of leases is on no file system")?.1.to_owned())
    }

    /// Starts a server with an empty lease store, and waits until it makes offers.
    pub(crate) fn start(&self, server: &Server, crowd: &Crowd) -> Result<Running> {
        let folder = self.leases();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        let (program, environment) = match server.kind {
            Kind::Ours => (self.ours()?, vec![]),
            Kind::Kea { severity } => {
                let config = self.rig.file("kea.json", KEA.replace("@severity@", severity))?;
                let mut command = self.rig.peers.command("kea-dhcp4")?;
                command.arg("-c").arg(config);
                let names = ["KEA_DHCP_DATA_DIR", "KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR"];
                let places = names.map(|name| (name, folder.to_owned()));
                (
                    command,
                    [&places[..], &[("KEA_LFC_EXECUTABLE", self.rig.peers.program("kea-lfc")?)]].concat(),
                )
            }
            Kind::Dnsmasq => (self.dnsmasq()?, vec![]),
        };
        let mut program = program;
        program.envs(environment);
        let log = match server.kind {
            Kind::Ours => Some(self.event_log()?),
            _ => None,
        };
        let mut running = Running { server: self.run(program)?, _log: log };
        let offered = crowd.wait_for_a_server(PATIENCE).and_then(|()| running.must_be_alive());
        offered.map(|()| running).with_context(|| format!("{} does not serve: {}", server.name, self.said()))
    }

    /// What the servers said last.
    fn said(&self) -> String {
        let logs = fs::read_dir(self.leases()).into_iter().flatten().flatten().map(|entry| entry.path());
        let logs = logs.filter(|path| path.extension().is_some_and(|kind| kind == "log"));
        let texts = logs.filter_map(|path| fs::read_to_string(path).ok());
        let lines: Vec<String> = texts
            .flat_map(|text| text.lines().rev().take(3).map(str::to_owned).collect::<Vec<_>>())
            .collect();
        lines.join("\n")
    }

    fn ours(&self) -> Result<Command> {
        let mut command = Command::new(surroundings::daemon("pilotlight-dhcpd")?);
        command.env_clear().arg("--lab").arg(self.rig.folder().join("lab.toml"));
        command.arg("--state").arg(self.leases()).arg("--events").arg(self.rig.folder().join("events.sock"));
        Ok(command)
    }

    /// As on the card: what takes the events of all daemons.
    fn event_log(&self) -> Result<Peer> {
        let mut command = Command::new(surroundings::daemon("pilotlight-lab-stated")?);
        command.env_clear();
        command.arg("--events").arg(self.rig.folder().join("events.sock"));
        command.arg("--state").arg(self.leases().join("events"));
        self.run(command)
    }

    fn dnsmasq(&self) -> Result<Command> {
        let mut command = self.rig.peers.command("dnsmasq")?;
        // In debug mode it stays who it is, and in the foreground.
        command.args(["--no-daemon", "--conf-file=/dev/null", "--port=0", "--no-ping"]);
        command.args(["--interface", SERVER, "--dhcp-range=10.77.1.0,10.77.255.250,255.255.0.0,1h"]);
        command.args(["--dhcp-lease-max=65536", "--dhcp-authoritative"]);
        command.arg(format!("--dhcp-leasefile={}", self.leases().join("dnsmasq.leases").display()));
        Ok(command)
    }

    fn run(&self, mut command: Command) -> Result<Peer> {
        let name =
            Path::new(command.get_program()).file_name().map(|name| name.to_string_lossy().into_owned());
        let log = self.leases().join(format!("{}.log", name.unwrap_or_default()));
        let log = fs::File::create(log).context("could not make a log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        end_with_this_thread(&mut command);
        self.rig.cable.on_server_side(&mut command)?;
        self.cores.for_a_server(|| Peer::start(command))
    }

    /// Counts what is in the journal: whoever has an ACK is in it.
    pub(crate) fn must_be_written(&self, server: &Server, outcome: &Outcome) -> Result<()> {
        if server.kind != Kind::Ours {
            return Ok(());
        }
        let journal = fs::read(self.leases().join("leases.journal")).context("could not read the journal")?;
        // All but the first line are leases.
        let lines = journal.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
        if lines < outcome.completed as usize {
            bail!("{} leases were acknowledged, {lines} are in the journal", outcome.completed);
        }
        Ok(())
    }
}
