//! What each scene of this layer stands on: the cable, the clients, a lab and a folder.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use pilotlight_tests::{daemon::Daemon, namespace::Cable, surroundings, surroundings::Tools};

/// A lab for the server's end of the cable. It does not look for another DHCP server first: that takes seconds
/// and is a scene of its own.
pub(crate) const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
domain = "lab.home.arpa"
lease = "2m"
probe-first = false

[network.pool]
first = "10.77.0.100"
last = "10.77.0.199"

[[nodes]]
name = "node1"
mac = "52:54:00:00:00:11"
address = "10.77.0.11"
profile = "debian-installer"
"#;

pub(crate) struct Stage {
    pub(crate) cable: Cable,
    pub(crate) clients: Tools,
    folder: tempfile::TempDir,
}

impl Stage {
    /// Lays the cable and puts the lab `lab` at its server's end. First thing in a scene.
    pub(crate) fn set(lab: &str) -> Result<Self> {
        let clients = Tools::clients()?;
        let cable = Cable::lay(&clients)?;
        let folder = tempfile::Builder::new().prefix("net-").tempdir().context("could not make a folder")?;
        fs::write(folder.path().join("lab.toml"), lab).context("could not write the lab")?;
        Ok(Self { cable, clients, folder })
    }

    /// The scene's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the scene's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// A folder in the scene's folder.
    pub(crate) fn subfolder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| format!("could not make {}", path.display()))?;
        Ok(path)
    }

    /// The DHCP server.
    pub(crate) fn dhcpd(&self) -> Result<Daemon> {
        let state = self.subfolder("dhcp")?;
        let status = self.path("dhcp-status");
        let arguments = ["--state", &state.to_string_lossy(), "--status", &status.to_string_lossy()];
        self.daemon("pilotlight-dhcpd", "dhcpd", &arguments)
    }

    /// The same, on a card for which each write takes `late` milliseconds longer.
    /// Gives the folder of its leases as well.
    pub(crate) fn dhcpd_on_slow_card(&self, late: u32) -> Result<(Daemon, PathBuf)> {
        let folder = self.subfolder(&format!("dhcp-{late}"))?;
        let (lab, events) = (self.path("lab.toml"), self.path("events.sock"));
        let [lab, events, state] = [&lab, &events, &folder].map(|path| path.to_string_lossy());
        let arguments = ["--lab", &*lab, "--events", &*events, "--state", &*state];
        let slow = surroundings::daemon("libpilotlight_slow_card.so")?;
        let environment = [
            ("LD_PRELOAD", slow.to_string_lossy().into_owned()),
            ("PILOTLIGHT_SLOW_CARD_MS", late.to_string()),
        ];
        let cable = Some(&self.cable);
        let label = format!("dhcpd-{late}");
        let daemon =
            Daemon::start_with(cable, "pilotlight-dhcpd", &label, &arguments, &environment, self.folder())?;
        Ok((daemon, folder))
    }

    /// The TFTP server, and the folder that it serves.
    pub(crate) fn tftpd(&self) -> Result<(Daemon, PathBuf)> {
        let root = self.subfolder("tftp")?;
        let arguments = ["--root", &root.to_string_lossy(), "--listen", "10.77.0.1:69"];
        Ok((self.daemon("pilotlight-tftpd", "tftpd", &arguments)?, root))
    }

    /// The TFTP server, and the folder that it serves, as it is started when one before it had this kept.
    pub(crate) fn tftpd_after(&self, label: &str, kept: &[(String, OwnedFd)]) -> Result<(Daemon, PathBuf)> {
        let (root, lab, events) = (self.subfolder("tftp")?, self.path("lab.toml"), self.path("events.sock"));
        let [served, lab, events] = [&root, &lab, &events].map(|path| path.to_string_lossy());
        let arguments = ["--lab", &*lab, "--events", &events, "--root", &served, "--listen", "10.77.0.1:69"];
        let name = ("pilotlight-tftpd", label);
        Ok((Daemon::start_handed(&self.cable, name, &arguments, kept, self.folder())?, root))
    }

    /// The HTTP server, and the folder that it serves.
    pub(crate) fn httpd(&self) -> Result<(Daemon, PathBuf)> {
        let root = self.subfolder("http")?;
        let arguments = ["--root", &root.to_string_lossy(), "--listen", "10.77.0.1:80"];
        Ok((self.daemon("pilotlight-httpd", "httpd", &arguments)?, root))
    }

    /// The time server, which knows no lab.
    pub(crate) fn time_server(&self, label: &str, arguments: &[&str]) -> Result<Daemon> {
        let events = self.path("events.sock");
        let events = events.to_string_lossy();
        let arguments = [&["--events", &*events][..], arguments].concat();
        Daemon::start(Some(&self.cable), "pilotlight-ntpd", label, &arguments, self.folder())
    }

    /// A daemon with the scene's lab. Nobody listens for its events: that must not matter to it.
    pub(crate) fn daemon(&self, name: &str, label: &str, arguments: &[&str]) -> Result<Daemon> {
        let (lab, events) = (self.path("lab.toml"), self.path("events.sock"));
        let (lab, events) = (lab.to_string_lossy(), events.to_string_lossy());
        let common = ["--lab", &*lab, "--events", &*events];
        Daemon::start(Some(&self.cable), name, label, &[&common[..], arguments].concat(), self.folder())
    }

    /// A second DHCP server, at the clients' end, with the lab in the file `lab`.
    pub(crate) fn other_dhcpd(&self, lab: &str) -> Result<Daemon> {
        let paths = [self.path(lab), self.path("other.sock"), self.subfolder("other-dhcp")?];
        let [lab, events, state] = paths.each_ref().map(|path| path.to_string_lossy());
        let arguments = ["--lab", &*lab, "--events", &*events, "--state", &*state];
        Daemon::start(None, "pilotlight-dhcpd", "other", &arguments, self.folder())
    }

    /// A client's program with a cleared environment.
    pub(crate) fn client(&self, name: &str) -> Result<Command> {
        self.clients.command(name)
    }
}
