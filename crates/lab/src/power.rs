//! What switches machines on and off.

use crate::words::words;

/// How a node is switched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Power {
    /// By an outlet of a web power switch.
    Outlet {
        /// The switch, in [`Lab::power`](crate::Lab::power).
        device: String,
        /// The outlet's number as it is printed on the switch, from 1.
        outlet: u8,
    },
    /// By a management controller.
    System {
        /// The controller, in [`Lab::power`](crate::Lab::power).
        device: String,
        /// The system's name in Redfish's collection `Systems`.
        system: String,
    },
    /// By a magic packet on the wire: it can be switched on, but not off.
    WakeOnLan,
}

/// Something on the wire that switches machines. Who it lets in is told to the Pi itself, never written down in a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerDevice {
    /// What it speaks.
    pub kind: DeviceKind,
    /// Where it is: `http://` or `https://`, a host and perhaps a port, without a last slash.
    pub url: String,
    /// The SHA-256 of its certificate in 64 small hexadecimal digits, which stands in for a name that an authority has
    /// signed: such devices sign their own.
    pub certificate: Option<String>,
    /// Whether the Pi may use it by itself, for machines that did not come back when it did.
    pub recover: bool,
}

/// What a power device speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// The REST interface of Digital Loggers' web power switches.
    WebSwitch,
    /// DMTF's Redfish (DSP0266).
    Redfish,
}

words!(DeviceKind { WebSwitch = "web-switch", Redfish = "redfish" });
