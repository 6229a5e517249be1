//! What switches a node, as its lab has it.

use pilotlight_lab::{DeviceKind, Lab, MacAddr, Node, Power, PowerDevice};

use crate::Target;

/// What switches a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means<'a> {
    /// Packets that wake its network card, which has this address.
    Wake(MacAddr),
    /// A device.
    Device {
        /// Its name in the lab.
        name: &'a str,
        /// The device.
        device: &'a PowerDevice,
        /// Which of those that it switches.
        target: Target<'a>,
    },
}

/// Why nothing does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeansFault {
    /// There is no such node.
    #[error("there is no node {0:?} in lab.toml")]
    NoNode(String),
    /// Its entry does not say.
    #[error("nothing switches {0}: in lab.toml it has no `power`")]
    Nothing(String),
    /// The hardware address that it would be woken by is not known.
    #[error(
        "{0} was not met yet, and so the Pi does not know the hardware address to wake: switch it on by hand once"
    )]
    NotMet(String),
    /// There is no such device.
    #[error("there is no power device {0:?} in lab.toml")]
    NoDevice(String),
    /// An outlet of a controller, or a system of a web switch.
    #[error("{device:?} is of the kind {}: write `{}` and not `{}` for {node} in lab.toml", .kind.name(), wanted(*.kind).0, wanted(*.kind).1)]
    Kind {
        /// The node.
        node: String,
        /// The device.
        device: String,
        /// What it is.
        kind: DeviceKind,
    },
}

fn wanted(kind: DeviceKind) -> (&'static str, &'static str) {
    match kind {
        DeviceKind::WebSwitch => ("outlet", "system"),
        DeviceKind::Redfish => ("system", "outlet"),
    }
}

impl<'a> Means<'a> {
    /// What switches the node of the name `node`.
    ///
    /// # Errors
    /// When nothing does.
    pub fn of(lab: &'a Lab, node: &str) -> Result<(&'a Node, Self), MeansFault> {
        let node = lab.node_by_name(node).ok_or_else(|| MeansFault::NoNode(node.to_owned()))?;
        let (name, target, kind) = match node.power.as_ref() {
            None => return Err(MeansFault::Nothing(node.name.clone())),
            Some(Power::WakeOnLan) if !node.is_met() => return Err(MeansFault::NotMet(node.name.clone())),
            Some(Power::WakeOnLan) => return Ok((node, Self::Wake(node.mac))),
            Some(Power::Outlet { device, outlet }) => {
                (device, Target::Outlet(*outlet), DeviceKind::WebSwitch)
            }
            Some(Power::System { device, system }) => (device, Target::System(system), DeviceKind::Redfish),
        };
        let device = Self::device(lab, name)?;
        if device.kind != kind {
            let node = node.name.clone();
            return Err(MeansFault::Kind { node, device: name.clone(), kind: device.kind });
        }
        Ok((node, Self::Device { name, device, target }))
    }

    /// The device of the name `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn device(lab: &'a Lab, name: &str) -> Result<&'a PowerDevice, MeansFault> {
        lab.power.get(name).ok_or_else(|| MeansFault::NoDevice(name.to_owned()))
    }
}

/// What wakes the network card with this hardware address: six bytes of ones and the address sixteen times, anywhere in a
/// frame (AMD, "Magic Packet Technology", publication 20213).
pub fn magic_packet(mac: MacAddr) -> Vec<u8> {
    [vec![0xff; 6], mac.0.repeat(16)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_own() {
        let node = |name: &str, number: u8, power: &str| {
            format!(
                "[[nodes]]\nname = {name:?}\nmac = \"52:54:00:00:00:{number:02}\"\naddress = \"10.77.0.{number}\"\n{power}\n"
            )
        };
        let text = [
            "[network]\naddress = \"10.77.0.1/24\"\n",
            &node("none", 11, ""),
            &node("wakes", 12, "power = { wake-on-lan = true }"),
            &node("outlet", 13, "power = { device = \"strip\", outlet = 3 }"),
            &node("system", 14, "power = { device = \"bmc\", system = \"1\" }"),
            &node("wrong", 15, "power = { device = \"bmc\", outlet = 1 }"),
            &node("other", 16, "power = { device = \"strip\", system = \"1\" }"),
            "[power.strip]\nkind = \"web-switch\"\nurl = \"http://10.77.0.9\"\n",
            "[power.bmc]\nkind = \"redfish\"\nurl = \"https://10.77.0.8\"\n",
        ];
        let lab = pilotlight_lab::parse(&text.concat()).unwrap();
        let means = |node| Means::of(&lab, node).map(|(_, means)| means);
        assert_eq!(means("wakes"), Ok(Means::Wake(MacAddr([0x52, 0x54, 0, 0, 0, 0x12]))));
        for (node, expect) in
            [("outlet", ("strip", Target::Outlet(3))), ("system", ("bmc", Target::System("1")))]
        {
            let Ok(Means::Device { name, target, .. }) = means(node) else {
                panic!("nothing switches {node}")
            };
            assert_eq!((name, target), expect);
        }
        for (node, expect) in [
            ("nobody", "there is no node \"nobody\" in lab.toml"),
            ("none", "nothing switches none: in lab.toml it has no `power`"),
            (
                "wrong",
                "\"bmc\" is of the kind redfish: write `system` and not `outlet` for wrong in lab.toml",
            ),
            (
                "other",
                "\"strip\" is of the kind web-switch: write `outlet` and not `system` for other in lab.toml",
            ),
        ] {
            assert_eq!(means(node).unwrap_err().to_string(), expect);
        }
        assert_eq!(magic_packet(MacAddr([1; 6])).len(), 102);
    }
}
