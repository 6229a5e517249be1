//! The network files that follow from the lab, for systemd-networkd and the C library's resolver.

use std::fmt::Write as _;

use pilotlight_lab::Network;

/// The `.network` file for the Pi's own interface: one fixed address, nothing asked of the wire. The address is
/// there without a carrier, so that the daemons start before the cable is in.
pub fn networkd(network: &Network) -> String {
    let mut text = format!(
        "# Written by pilotlight-init from the lab in force.\n\
         [Match]\nName={}\n\n\
         [Link]\nRequiredForOnline=no\n\n\
         [Network]\nAddress={}/{}\nDHCP=no\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nLLMNR=no\nMulticastDNS=no\n\
         ConfigureWithoutCarrier=yes\nKeepConfiguration=static\n",
        network.interface, network.address, network.prefix
    );
    if let Some(router) = network.router {
        let _ = writeln!(text, "Gateway={router}");
    }
    text
}

/// The `resolv.conf(5)` of the Pi itself.
pub fn resolv_conf(network: &Network) -> String {
    let mut text =
        format!("# Written by pilotlight-init from the lab in force.\nsearch {}\n", network.domain);
    for server in &network.dns {
        let _ = writeln!(text, "nameserver {server}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(more: &str) -> Network {
        let text = format!("[network]\naddress = \"10.77.0.1/24\"\ndomain = \"lab.example\"\n{more}");
        pilotlight_lab::parse(&text).expect("a valid lab").network
    }

    #[test]
    fn an_isolated_wire_has_an_address_and_nothing_else() {
        let text = networkd(&network(""));
        for line in ["Name=eth0", "Address=10.77.0.1/24", "DHCP=no", "ConfigureWithoutCarrier=yes"] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
        assert!(!text.contains("Gateway="), "{text}");
        // It asks itself, as everybody else does.
        assert!(resolv_conf(&network("")).ends_with("\nnameserver 10.77.0.1\n"));
    }

    #[test]
    fn a_router_and_name_servers_are_passed_on() {
        let wire = network(
            "router = \"10.77.0.254\"
dns = [\"10.77.0.254\", \"9.9.9.9\"]
",
        );
        assert!(networkd(&wire).ends_with("Gateway=10.77.0.254\n"));
        assert!(
            resolv_conf(&wire).ends_with("search lab.example\nnameserver 10.77.0.254\nnameserver 9.9.9.9\n")
        );
    }
}
