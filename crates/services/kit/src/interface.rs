//! Network interfaces, as far as a daemon has to know them.

use nix::{
    ifaddrs::getifaddrs,
    net::if_::{InterfaceFlags, if_nametoindex},
};

/// The number of the interface `name`, while it is there, is up and has a cable. It is another one after the interface was
/// away.
pub fn running(name: &str) -> Option<u32> {
    let has_cable =
        |flags: InterfaceFlags| flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
    let up = getifaddrs().ok()?.any(|one| one.interface_name == name && has_cable(one.flags));
    up.then(|| if_nametoindex(name).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_running() {
        assert_eq!(running("none-such"), None);
        assert_eq!(running("lo").is_some(), if_nametoindex("lo").is_ok());
    }
}
