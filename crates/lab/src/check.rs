//! What each value of a `lab.toml` may be.
//!
//! Names, paths and arguments end up in iPXE scripts, kernel command lines, PXELINUX and GRUB menus and preseed files,
//! most of which have no way to quote. So what is dangerous in any of them is refused here, and nothing later
//! needs to escape.

use std::{net::Ipv4Addr, time::Duration};

use crate::{MacAddr, Mirror, Network, SERVER_NAME, problem::meant, section::Refused};

/// The installers there are to choose from.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

type Checked<T> = Result<T, Refused>;

fn refuse<T>(message: impl Into<String>) -> Checked<T> {
    Err(Refused::new(message))
}

/// The first character of `text` that `allowed` does not know.
fn stranger(text: &str, allowed: impl Fn(char) -> bool) -> Option<char> {
    text.chars().find(|c| !allowed(*c))
}

/// The name of a machine: one label, and not the Pi's.
pub(crate) fn node_name(text: &str) -> Checked<String> {
    if text == SERVER_NAME {
        return refuse(format!("{text:?} is the Pi's own name"));
    }
    label(text)
}

/// One label of a name: RFC 1123 § 2.1 and RFC 1035 § 2.3.4, in lower case so that each name has one spelling.
pub(crate) fn label(text: &str) -> Checked<String> {
    let edge = |c: Option<char>| c.is_none_or(|c| c == '-');
    if text.is_empty() || text.len() > 63 {
        return refuse(format!("a host name has 1 to 63 characters, this one has {}", text.len()));
    }
    if let Some(c) = stranger(text, |c| c.is_ascii_alphanumeric() || c == '-') {
        return refuse(format!(
            "{text:?} is no host name: {c:?} is not allowed, only letters, digits and hyphens"
        ));
    }
    if edge(text.chars().next()) || edge(text.chars().last()) {
        return refuse(format!("{text:?} is no host name: it begins or ends with a hyphen"));
    }
    if text.chars().any(|c| c.is_ascii_uppercase()) {
        let lower = text.to_lowercase();
        return Err(Refused::new(format!("{text:?} has capital letters")).hint(format!("write {lower:?}")));
    }
    Ok(text.to_owned())
}

/// A domain name: labels joined by dots, without the last dot.
pub(crate) fn domain(text: &str) -> Checked<String> {
    if text.len() > 253 - 64 {
        return refuse("the domain is too long: with a host name before it, 253 characters are the most");
    }
    if let Some(without) = text.strip_suffix('.') {
        return Err(
            Refused::new("a domain is written without its last dot").hint(format!("write {without:?}"))
        );
    }
    text.split('.').try_for_each(|part| {
        label(part).map(drop).map_err(|fault| fault.context(&format!("{text:?} is no domain")))
    })?;
    Ok(text.to_owned())
}

/// A network interface of Linux: up to 15 bytes (`IFNAMSIZ`).
pub(crate) fn interface(text: &str) -> Checked<String> {
    if text.is_empty() || text.len() > 15 {
        return refuse(format!("{text:?} is no interface: 1 to 15 characters are wanted"));
    }
    if stranger(text, |c| c.is_ascii_alphanumeric() || "-_.".contains(c)).is_some()
        || text.starts_with(['.', '-'])
    {
        return refuse(format!("{text:?} is no interface"));
    }
    if text == "lo" {
        return refuse("nobody boots over the loopback interface");
    }
    Ok(text.to_owned())
}

/// An IPv4 address in the usual form.
pub(crate) fn address(text: &str) -> Checked<Ipv4Addr> {
    text.parse().map_err(|_| {
        Refused::new(format!("{text:?} is no IPv4 address: four numbers from 0 to 255 are wanted"))
    })
}

/// The Pi's address with the length of its network's prefix, as in `10.77.0.1/24`.
pub(crate) fn interface_address(text: &str) -> Checked<(Ipv4Addr, u8)> {
    let Some((left, right)) = text.split_once('/') else {
        let fault = Refused::new(format!("{text:?} does not say how large the network is"));
        return Err(fault.hint(format!("write \"{text}/24\" for a network of 254 machines")));
    };
    let own = address(left)?;
    let prefix = match right.parse::<u8>() {
        Ok(prefix @ 8..=30) if !right.starts_with('+') => prefix,
        _ => return refuse(format!("/{right} is no length of a network prefix: 8 to 30 are allowed")),
    };
    let first = own.octets()[0];
    if own.is_loopback() || own.is_multicast() || first == 0 || first >= 240 {
        return refuse(format!("{own} is no address that a machine can have"));
    }
    let hosts = u32::MAX >> prefix;
    match own.to_bits() & hosts {
        0 => return refuse(format!("{own} names the network itself, not a machine in it")),
        host if host == hosts => return refuse(format!("{own} is the broadcast address of its network")),
        _ => {}
    }
    Ok((own, prefix))
}

/// A name server that the Pi asks: another one than itself.
pub(crate) fn upstream(network: &Network, address: Ipv4Addr) -> Checked<Ipv4Addr> {
    if address == network.address {
        return refuse(format!("{address} is the Pi itself, which would ask itself for ever"));
    }
    Ok(address)
}

/// An address that a machine on this wire can have.
pub(crate) fn in_network(network: &Network, address: Ipv4Addr) -> Checked<Ipv4Addr> {
    let prefix = network.prefix;
    let base = Ipv4Addr::from_bits(network.address.to_bits() & network.mask().to_bits());
    if !network.contains(address) {
        return refuse(format!("{address} does not lie in the lab's network {base}/{prefix}"));
    }
    if address == base {
        return refuse(format!("{address} names the network itself"));
    }
    if address == network.broadcast() {
        return refuse(format!("{address} is the network's broadcast address"));
    }
    Ok(address)
}

/// An address on this wire that is not the Pi's own.
pub(crate) fn for_another(network: &Network, address: Ipv4Addr) -> Checked<Ipv4Addr> {
    if address == network.address {
        return refuse(format!("{address} is the Pi's own address"));
    }
    in_network(network, address)
}

/// How long a lease lasts: a number and a unit.
pub(crate) fn lease(text: &str) -> Checked<Duration> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => 0,
    };
    let seconds =
        digits.parse::<u64>().ok().filter(|_| !digits.starts_with('+')).and_then(|n| n.checked_mul(unit));
    match seconds {
        Some(seconds @ 120..=604_800) => Ok(Duration::from_secs(seconds)),
        Some(_) if unit > 0 => {
            refuse(format!("{text:?} is out of range: a lease lasts from 2 minutes to 7 days"))
        }
        _ => Err(Refused::new(format!("{text:?} is no duration"))
            .hint("write a number and s, m, h or d, as in \"1h\"")),
    }
}

/// The hardware address of a machine.
pub(crate) fn mac(text: &str) -> Checked<MacAddr> {
    let mac: MacAddr = text.parse().map_err(|fault: crate::MacError| Refused::new(fault.to_string()))?;
    if mac.is_group() {
        return refuse(format!("{mac} is a group address (its first octet is odd): no machine can have it"));
    }
    if mac.0 == [0; 6] {
        return refuse(format!("{mac} stands for no machine"));
    }
    Ok(mac)
}

/// The name of a profile: a label of PXELINUX and iPXE.
pub(crate) fn profile_name(text: &str) -> Checked<String> {
    let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 40 || text.starts_with('-') || stranger(text, safe).is_some() {
        return refuse(
            "a profile's name has 1 to 40 small letters, digits and hyphens, and begins with no hyphen",
        );
    }
    Ok(text.to_owned())
}

/// One line of a menu.
pub(crate) fn title(text: &str) -> Checked<String> {
    if text.trim().is_empty() || text.len() > 60 {
        return refuse("a title has 1 to 60 characters");
    }
    match stranger(text, |c| c.is_ascii_alphanumeric() || " .,:()/+_-".contains(c)) {
        Some(c) => refuse(format!(
            "{c:?} is not allowed in a title: only ASCII letters, digits, spaces and .,:()/+_-"
        )),
        None => Ok(text.to_owned()),
    }
}

/// One argument of a kernel's command line.
pub(crate) fn argument(text: &str) -> Checked<String> {
    // Sixteen of them fit the 2,048 bytes of an x86 kernel's command line beside what the boot scripts add.
    if text.is_empty() || text.len() > 80 {
        return refuse("a kernel argument has 1 to 80 characters");
    }
    match stranger(text, |c| c.is_ascii_alphanumeric() || "_.,:=/+@%-".contains(c)) {
        Some(' ') => {
            Err(Refused::new(format!("{text:?} holds a space"))
                .hint("write each argument as a text of its own"))
        }
        Some(c) => refuse(format!(
            "{c:?} is not allowed in a kernel argument: only ASCII letters, digits and _.,:=/+@%-"
        )),
        None => Ok(text.to_owned()),
    }
}

/// An architecture that there is an installer for.
pub(crate) fn architecture(text: &str) -> Checked<String> {
    if ARCHITECTURES.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(Refused::new(format!("{text:?} is no architecture of the installer"))
        .hint(meant(text, ARCHITECTURES)))
}

/// A Debian release's number.
pub(crate) fn release(number: i128) -> Checked<u32> {
    match u32::try_from(number) {
        Ok(release @ 10..=99) => Ok(release),
        _ => refuse(format!("{number} is no Debian release: its number is wanted, as in 13")),
    }
}

/// A Debian mirror: `http://host[:port]/directory`.
pub(crate) fn mirror(text: &str) -> Checked<Mirror> {
    let fault = |what: &str| Refused::new(format!("{text:?} is no mirror: {what}"));
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(fault("it must begin with http://")
            .hint("the installer checks signatures: http is as safe as https"));
    };
    let (host, directory) = rest.split_once('/').unwrap_or((rest, ""));
    let directory = directory.trim_end_matches('/');
    if directory.is_empty() {
        return Err(fault("it names no directory").hint(format!("write \"http://{host}/debian\"")));
    }
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    if port.parse::<u16>().is_err() || port.starts_with('+') {
        return Err(fault("its port is no number"));
    }
    domain(name).map_err(|refused| refused.context(&format!("{text:?} is no mirror")))?;
    if stranger(directory, |c| c.is_ascii_alphanumeric() || "/_.~+-".contains(c)).is_some() {
        return Err(fault("its directory has characters other than letters, digits and /_.~+-"));
    }
    Ok(Mirror { host: host.to_owned(), directory: format!("/{directory}") })
}

/// A public key, as one line of `authorized_keys` without options.
pub(crate) fn ssh_key(text: &str) -> Checked<String> {
    const KINDS: [&str; 5] = [
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "sk-ssh-ed25519@openssh.com",
        "ecdsa-sha2-nistp521",
    ];
    let hint = "copy the one line of a .pub file, as in \"ssh-ed25519 AAAA… me@desk\"";
    let fault = |what: &str| Err(Refused::new(format!("this is no public SSH key: {what}")).hint(hint));
    if text.len() > 2048 {
        return fault("it is longer than 2048 characters");
    }
    if let Some(c) = stranger(text, |c| c.is_ascii_alphanumeric() || " +/=@._:-".contains(c)) {
        return fault(&format!("{c:?} is not allowed"));
    }
    let mut parts = text.split(' ');
    if !parts.next().is_some_and(|kind| KINDS.contains(&kind)) {
        return fault("it begins with no known kind of key");
    }
    // The key itself is base64 of a structure that begins with three zero bytes.
    let base64 = |part: &str| {
        part.starts_with("AAAA") && part.len() >= 32 && stranger(part, |c| !"@._:-".contains(c)).is_none()
    };
    if !parts.next().is_some_and(base64) {
        return fault("after its kind, base64 is wanted that begins with AAAA");
    }
    Ok(text.to_owned())
}

/// A disk, as a path in `/dev`.
pub(crate) fn disk(text: &str) -> Checked<String> {
    let hint = "as in \"/dev/sda\" or \"/dev/disk/by-id/…\"";
    let Some(name) = text.strip_prefix("/dev/") else {
        return Err(Refused::new(format!("{text:?} is no disk: it must begin with /dev/")).hint(hint));
    };
    if let Some(c) = stranger(name, |c| c.is_ascii_alphanumeric() || "/_.:+@=-".contains(c)) {
        return Err(Refused::new(format!("{text:?} is no disk: {c:?} is not allowed")).hint(hint));
    }
    if text.len() > 200 || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Refused::new(format!("{text:?} is no disk")).hint(hint));
    }
    Ok(text.to_owned())
}
