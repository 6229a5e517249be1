//! Two network namespaces with a cable between them, as an ordinary user.
//!
//! The process becomes root of a user namespace of its own, where it may lay cables, take low ports and mount;
//! outside it stays who it was. There is a namespace for the Pi's services and one for their clients: in one
//! alone, the kernel would short-circuit every packet.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change, mount_remount},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

use crate::{
    bad_wire::{Weather, join, tap},
    process,
    surroundings::Tools,
};

/// The services' end of the cable, named as on the Pi.
pub const SERVER: &str = "eth0";
/// The clients' end of the cable.
pub const CLIENT: &str = "client0";
/// The clients' end has this hardware address, unless a scene changes it.
pub const CLIENT_MAC: &str = "52:54:00:00:00:01";

/// How TCP keeps from overloading a network, on both sides: as the card's kernel does. Where an ordinary user may not have that,
/// as Reno does, which is always allowed; on ways as short and as slow as ours CUBIC does the same (RFC 9438 § 4.3).
const CONGESTION_CONTROLS: [&str; 2] = ["cubic", "reno"];

/// The cable, with this process on the clients' side.
#[derive(Debug)]
pub struct Cable {
    server: OwnedFd,
    client: OwnedFd,
    ip: std::path::PathBuf,
}

impl Cable {
    /// Enters the namespaces and lays the cable. Call it once, first thing, before any thread exists.
    pub fn lay(clients: &Tools) -> Result<Self> {
        Self::lay_as(clients, None)
    }

    /// The same, and the cable loses, doubles and delays frames as `weather` says.
    pub fn lay_badly(clients: &Tools, weather: Weather) -> Result<Self> {
        Self::lay_as(clients, Some(weather))
    }

    fn lay_as(clients: &Tools, weather: Option<Weather>) -> Result<Self> {
        enter(UnshareFlags::NEWNET | UnshareFlags::NEWNS)?;
        private_files().context("could not set up private folders")?;
        let ip = clients.program("ip")?;
        let client = own_network()?;
        congestion_control()?;
        // SAFETY: the process has one thread and shares no descriptor table with another.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("could not make a network namespace")?;
        let server = own_network()?;
        congestion_control()?;
        let cable = Self { server, client, ip };
        let server_end =
            weather.map(|weather| Ok::<_, anyhow::Error>((tap(SERVER)?, weather))).transpose()?;
        if server_end.is_none() {
            // `ip` takes a namespace by its path as well as by name or process.
            let other = format!("/proc/{}/fd/{}", std::process::id(), cable.client.as_raw_fd());
            cable.ip(&format!(
                "link add {SERVER} type veth peer name {CLIENT} address {CLIENT_MAC} netns {other}"
            ))?;
        }
        cable.ip("link set lo up")?;
        cable.ip(&format!("link set {SERVER} up"))?;
        cable.ip(&format!("address add 10.77.0.1/24 dev {SERVER}"))?;
        cable.to_clients()?;
        if let Some((server_end, weather)) = server_end {
            join(server_end, tap(CLIENT)?, weather);
            cable.ip(&format!("link set {CLIENT} address {CLIENT_MAC}"))?;
        }
        cable.ip("link set lo up")?;
        cable.ip(&format!("link set {CLIENT} up"))?;
        Ok(cable)
    }

    /// Runs `ip` on the clients' side; `arguments` are separated by blanks.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut command = Command::new(&self.ip);
        command.args(arguments.split_ascii_whitespace());
        Ok(process::must(&mut command, Duration::from_secs(30))?.text)
    }

    /// Runs `ip` on the services' side; `arguments` are separated by blanks.
    pub fn server_ip(&self, arguments: &str) -> Result<String> {
        let mut command = Command::new(&self.ip);
        command.args(arguments.split_ascii_whitespace());
        self.on_server_side(&mut command)?;
        Ok(process::must(&mut command, Duration::from_secs(30))?.text)
    }

    /// Gives the clients' end the address 10.77.0.50, for scenes that are not about addresses.
    pub fn fixed_client_address(&self) -> Result<()> {
        self.ip(&format!("address add 10.77.0.50/24 dev {CLIENT}")).map(drop)
    }

    fn to_clients(&self) -> Result<()> {
        move_into_link_name_space(self.client.as_fd(), Some(LinkNameSpaceType::Network))
            .context("could not go back to the clients' namespace")
    }

    /// Does something on the services' side, such as opening a socket, which stays there.
    pub fn at_server<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        move_into_link_name_space(self.server.as_fd(), Some(LinkNameSpaceType::Network))
            .context("could not go to the services' namespace")?;
        let done = act();
        self.to_clients()?;
        done
    }

    /// Has `command` run on the services' side.
    pub fn on_server_side(&self, command: &mut Command) -> Result<()> {
        let server = self.server.try_clone().context("could not pass a namespace on")?;
        let enter = move || {
            move_into_link_name_space(server.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(())
        };
        // SAFETY: between fork and exec one system call is made and nothing else.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }
}

/// Chooses TCP's congestion control for this network namespace.
fn congestion_control() -> Result<()> {
    let file = "/proc/sys/net/ipv4/tcp_congestion_control";
    let taken = CONGESTION_CONTROLS.iter().any(|name| fs::write(file, name).is_ok());
    ensure!(taken, "could not choose TCP's congestion control: none of {CONGESTION_CONTROLS:?} can be had");
    Ok(())
}

fn own_network() -> Result<OwnedFd> {
    let file = File::open("/proc/self/ns/net").context("could not open this network namespace")?;
    // The descriptor is named in /proc for `ip`, which runs in another process: close-on-exec does no harm.
    Ok(file.into())
}

/// A network of this process's own, in which it may take low ports, with nothing in it but itself at `addresses`. Call
/// it once, first thing, before any thread exists.
pub fn alone(clients: &Tools, addresses: &[&str]) -> Result<()> {
    enter(UnshareFlags::NEWNET | UnshareFlags::NEWNS)?;
    let ip = clients.program("ip")?;
    let up = ["link", "set", "lo", "up"].map(str::to_owned).to_vec();
    let adds = addresses
        .iter()
        .map(|address| ["address", "add", address, "dev", "lo"].map(|word| (*word).to_owned()).to_vec());
    for arguments in std::iter::once(up).chain(adds) {
        process::must(Command::new(&ip).args(arguments), Duration::from_secs(30))?;
    }
    Ok(())
}

/// Makes mounts of this process's own possible: nobody else sees them, and they end with it. Call it once, first
/// thing, before any thread exists.
pub fn own_mounts() -> Result<()> {
    enter(UnshareFlags::NEWNS)
}

/// Makes `/sys` of this process's mounts read-only, as in a container.
pub fn read_only_system() -> Result<()> {
    mount_bind_recursive("/sys", "/sys").context("could not put /sys over itself")?;
    mount_remount("/sys", MountFlags::BIND | MountFlags::RDONLY, "").context("could not make /sys read-only")
}

/// Puts a disk of so many KiB over `folder`, in memory: one that can be filled.
pub fn small_disk(folder: &Path, kib: u32) -> Result<()> {
    let options = std::ffi::CString::new(format!("size={kib}k")).context("a size is a number")?;
    mount("tmpfs", folder, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
        .with_context(|| format!("could not mount a tmpfs on {}", folder.display()))
}

fn enter(kinds: UnshareFlags) -> Result<()> {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // SAFETY: the process has one thread and shares no descriptor table with another.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER | kinds) }.context(
        "could not make a user namespace: this machine forbids it to ordinary users \
         (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, \
         user.max_user_namespaces)",
    )?;
    for (file, content) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), content)
            .with_context(|| format!("could not write {file}"))?;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("could not make the mounts private")
}

/// Gives the clients folders to write to, which as an ordinary user they have not, and an account database with
/// root alone: other users do not exist in this namespace, and dhcpcd would try to become one.
fn private_files() -> Result<()> {
    tmpfs("/run")?;
    cover("/var/lib")?;
    for folder in ["/run/lock", "/var/lib/dhcp", "/var/lib/dhcpcd"] {
        fs::create_dir_all(folder).with_context(|| format!("could not make {folder}"))?;
    }
    for (name, content) in [("passwd", "root:x:0:0::/:/bin/sh\n"), ("group", "root:x:0:\n")] {
        let ours = Path::new("/run").join(name);
        fs::write(&ours, content).with_context(|| format!("could not write {}", ours.display()))?;
        let theirs = Path::new("/etc").join(name);
        mount_bind_recursive(&ours, &theirs)
            .with_context(|| format!("could not replace {}", theirs.display()))?;
    }
    Ok(())
}

fn tmpfs(on: &str) -> Result<()> {
    mount("tmpfs", on, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)
        .with_context(|| format!("could not mount a tmpfs on {on}"))
}

/// Makes `folder` writable by putting a tmpfs over it, with all that was in it in its place.
fn cover(folder: &str) -> Result<()> {
    let old = File::open(folder).with_context(|| format!("could not open {folder}"))?;
    let below = format!("/proc/self/fd/{}", old.as_raw_fd());
    tmpfs(folder)?;
    for entry in fs::read_dir(&below).with_context(|| format!("could not list {folder}"))? {
        let entry = entry.with_context(|| format!("could not list {folder}"))?;
        let (from, to) =
            (Path::new(&below).join(entry.file_name()), Path::new(folder).join(entry.file_name()));
        let kept = entry.file_type().and_then(|kind| keep(kind, &from, &to));
        kept.with_context(|| format!("could not keep {}", to.display()))?;
    }
    Ok(())
}

fn keep(kind: fs::FileType, from: &Path, to: &Path) -> io::Result<()> {
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
    } else {
        File::create(to)?;
    }
    Ok(mount_bind_recursive(from, to)?)
}
