//! Where things are on the Pi's web server, and how they are named there.

use pilotlight_lab::{Lab, MacAddr};

/// The script that every iPXE begins with.
pub(crate) fn boot_script(lab: &Lab) -> String {
    format!("http://{}/boot.ipxe", lab.network.address)
}

/// Where a machine asks for the script that is meant for it, up to its hardware address.
pub(crate) fn machine_script(lab: &Lab) -> String {
    format!("http://{}/ipxe?mac=", lab.network.address)
}

/// A file beneath `/assets/`.
pub(crate) fn asset(lab: &Lab, path: &str) -> String {
    format!("http://{}/assets/{path}", lab.network.address)
}

/// A file of the TFTP server's.
pub(crate) fn over_tftp(lab: &Lab, path: &str) -> String {
    format!("tftp://{}/{path}", lab.network.address)
}

/// A node's answers to the installer.
pub(crate) fn preseed(lab: &Lab, mac: MacAddr) -> String {
    format!("http://{}{}", lab.network.address, preseed_path(mac))
}

/// Something of a node's own; the last part may be empty.
pub(crate) fn node(lab: &Lab, mac: MacAddr, part: &str) -> String {
    format!("http://{}/node/{}/{part}", lab.network.address, mac.hyphenated())
}

/// The path of a node's preseed file on the Pi's web server.
pub fn preseed_path(mac: MacAddr) -> String {
    format!("/node/{}/preseed.cfg", mac.hyphenated())
}

/// The path of an installer's file (`linux` or `initrd.gz`) beneath `/assets/`.
pub fn asset_path(release: u32, architecture: &str, file: &str) -> String {
    format!("debian-installer/{release}/{architecture}/{file}")
}
