//! Where things lie in the Pi's root: named once, for builder and services alike.

/// The lab that the image brings along: used when the card has none and none was ever in force.
pub const DEFAULT_LAB: &str = "/usr/share/pilotlight/lab.toml";
/// The lab's name on the card's FAT partition.
pub const LAB_ON_CARD: &str = "lab.toml";
/// The lab in force, put there by `init` before any service starts.
pub const LAB: &str = "/run/pilotlight/lab.toml";
/// Where the lab in force came from, and what was wrong with the one on the card; JSON, written by `init`.
pub const LAB_STATUS: &str = "/run/pilotlight/lab.json";
/// The card as `init` found it: slot, disk, state of the data partition; JSON.
pub const CARD_STATUS: &str = "/run/pilotlight/card.json";
/// The datagram socket that takes events for the log; owned by `lab-state`.
pub const EVENTS_SOCKET: &str = "/run/pilotlight/events.sock";
/// The folder of the event log, on the data partition when there is one.
pub const EVENTS_DIR: &str = "/var/lib/pilotlight/events";
/// The last lab that was valid, on the data partition.
pub const LAST_GOOD_LAB: &str = "/var/lib/pilotlight/lab/lab.toml";
/// The DHCP server's leases.
pub const DHCP_STATE: &str = "/var/lib/pilotlight/dhcp";
/// All of our state; a bind mount of the data partition when there is one, else in memory.
pub const STATE: &str = "/var/lib/pilotlight";
/// Where the data partition is mounted.
pub const DATA: &str = "/data";
/// What TFTP serves.
pub const TFTP_ROOT: &str = "/usr/share/pilotlight/tftp";
/// What HTTP serves beneath `/assets/`.
pub const HTTP_ROOT: &str = "/usr/share/pilotlight/http";
/// The daemons.
pub const DAEMONS: &str = "/usr/lib/pilotlight";
