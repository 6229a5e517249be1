//! Where things lie in the Pi's root: named once, for builder and services alike.

/// The lab that the image brings along: used when the card has none and none was ever in force.
pub const DEFAULT_LAB: &str = "/usr/share/pilotlight/lab.toml";
/// The lab's name on the card's FAT partition.
pub const LAB_ON_CARD: &str = "lab.toml";
/// The kernel's name on the card's FAT partition.
pub const KERNEL_ON_CARD: &str = "vmlinuz";
/// The initrd's name on the card's FAT partition.
pub const INITRD_ON_CARD: &str = "initrd.img";
/// The boot loader's name on the card's FAT partition.
pub const LOADER_ON_CARD: &str = "u-boot.bin";
/// The name on the card's FAT partition of what the boot loader does; U-Boot's own name for it.
pub const LOADER_SCRIPT_ON_CARD: &str = "uboot.env";
/// The lab in force, put there by `init` before any service starts.
pub const LAB: &str = "/run/pilotlight/lab.toml";
/// Where the lab in force came from, and what was wrong with the one on the card; JSON, written by `init`.
pub const LAB_STATUS: &str = "/run/pilotlight/lab.json";
/// The card as `init` found it: slot, disk, state of the data partition; JSON.
pub const CARD_STATUS: &str = "/run/pilotlight/card.json";
/// The datagram socket that takes events for the log; owned by `lab-state`.
pub const EVENTS_SOCKET: &str = "/run/pilotlight/events.sock";
/// The socket over which operators have the Pi look for newer releases; its group are the operators.
pub const MIRROR_SOCKET: &str = "/run/pilotlight/mirror.sock";
/// The folder of the event log, on the data partition when there is one.
pub const EVENTS_DIR: &str = "/var/lib/pilotlight/events";
/// What has become of the nodes since the lab was put in force; written by `lab-state` alone.
pub const LAB_STATE: &str = "/var/lib/pilotlight/state/nodes.toml";
/// The socket over which operators change it; its group are the operators.
pub const LAB_STATE_SOCKET: &str = "/run/pilotlight/state.sock";
/// The last lab that was valid, on the data partition.
pub const LAST_GOOD_LAB: &str = "/var/lib/pilotlight/lab/lab.toml";
/// The DHCP server's leases.
pub const DHCP_STATE: &str = "/var/lib/pilotlight/dhcp";
/// What the DHCP server is doing, in one line.
pub const DHCP_STATUS: &str = "/run/pilotlight/dhcp/status";
/// What the console last said of it.
pub const DHCP_SAID: &str = "/run/pilotlight/console/dhcp";
/// The socket over which the DHCP server is asked for other ones; its group are the operators.
pub const DHCP_SOCKET: &str = "/run/pilotlight/dhcp.sock";
/// Where the time server leaves the time.
pub const NTP_STATE: &str = "/var/lib/pilotlight/ntp";
/// Says that somebody has vouched for the clock since the Pi was started: the seconds since 1970 then, and who.
pub const CLOCK_SET: &str = "/run/pilotlight/ntp/set";
/// The socket over which the clock is set; its group are the operators.
pub const CLOCK_SOCKET: &str = "/run/pilotlight/clock.sock";
/// The certificate authority's keys, which its own user alone may read.
pub const PKI_STATE: &str = "/var/lib/pilotlight/pki";
/// The socket on which certificates are asked for; who asks for what, the kernel says.
pub const PKI_SOCKET: &str = "/run/pilotlight/pki.sock";
/// All of our state; a bind mount of the data partition when there is one, else in memory.
pub const STATE: &str = "/var/lib/pilotlight";
/// Where the data partition is mounted.
pub const DATA: &str = "/data";
/// What TFTP serves.
pub const TFTP_ROOT: &str = "/usr/share/pilotlight/tftp";
/// What HTTP serves beneath `/assets/`.
pub const HTTP_ROOT: &str = "/usr/share/pilotlight/http";
/// Where what was put on the card for its lab's nodes lies, on the data partition; served beside [`HTTP_ROOT`].
pub const ASSETS: &str = "/data/assets";
/// The daemons.
pub const DAEMONS: &str = "/usr/lib/pilotlight";
/// The board that the system was made for: a file of `boards/` without its ending.
pub const BOARD: &str = "/usr/share/pilotlight/board";
/// The home of the one account that operators log in to; there is no login without its `.ssh/authorized_keys`.
pub const LOGIN_HOME: &str = "/run/pilotlight/login";
/// The socket over which a new system is taken; its group are the operators.
pub const UPDATE_SOCKET: &str = "/run/pilotlight/update.sock";
/// Made by `init` when the slot that it started is on trial.
pub const ON_TRIAL: &str = "/run/pilotlight/on-trial";
/// Made when the Pi is to be restarted; a path unit waits for it.
pub const RESTART: &str = "/run/pilotlight/update/restart";
/// What became of the last update; JSON.
pub const LAST_UPDATE: &str = "/var/lib/pilotlight/update/last.json";
/// Who is let in by the devices that switch machines; readable for the one user that speaks to them.
pub const POWER_STATE: &str = "/var/lib/pilotlight/power";
/// The socket over which machines are switched; its group are the operators.
pub const POWER_SOCKET: &str = "/run/pilotlight/power.sock";
