//! What each value of a `lab.toml` may be.
//!
//! Names, paths and arguments end up in iPXE scripts, kernel command lines, PXELINUX and GRUB menus and preseed files,
//! most of which have no way to quote. So what is dangerous in any of them is refused here, and nothing later
//! needs to escape.

use std::{net::Ipv4Addr, time::Duration};

use crate::{Image, MacAddr, Mirror, Network, Prefix, SERVER_NAME, Uuid, problem::meant, section::Refused};

type Checked<T> = Result<T, Refused>;

fn refuse<T>(message: impl Into<String>) -> Checked<T> {
    Err(Refused::new(message))
}

/// The first character of `text` that `allowed` does not know.
fn stranger(text: &str, allowed: impl Fn(char) -> bool) -> Option<char> {
    text.chars().find(|c| !allowed(*c))
}

/// One of the words that the lab's language has for something.
pub(crate) fn choice<T: Copy>(text: &str, what: &str, names: &[(&str, T)]) -> Checked<T> {
    let known = names.iter().find(|(name, _)| *name == text);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        Refused::new(format!("{text:?} is no {what}")).hint(meant(text, names))
    })
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

/// A time server: an address, or a name that the Pi's resolver knows.
pub(crate) fn time_server(text: &str) -> Checked<String> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return address(text).map(|address| address.to_string());
    }
    domain(text)
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
    if mac == MacAddr::UNKNOWN {
        return refuse(format!("{mac} stands for no machine"));
    }
    Ok(mac)
}

/// The UUID of a machine.
pub(crate) fn uuid(text: &str) -> Checked<Uuid> {
    let uuid: Uuid = text.parse().map_err(|fault: crate::UuidError| {
        Refused::new(fault.to_string())
            .hint("`dmidecode -s system-uuid` prints it, and so does the machine's firmware")
    })?;
    if uuid.is_nobodys() {
        let fault = Refused::new(format!("{text} tells no machine from another: many boards have it"));
        return Err(fault.hint("name the machine by its `mac`"));
    }
    Ok(uuid)
}

/// The serial number of a machine, as its firmware reports it.
pub(crate) fn machine_serial(text: &str) -> Checked<String> {
    let known = |c: char| c == ' ' || c.is_ascii_graphic();
    if text.is_empty() || text.len() > 64 || text.trim() != text || stranger(text, known).is_some() {
        let fault = Refused::new(format!(
            "{text:?} is no serial number: 1 to 64 letters, digits and signs of ASCII are wanted, with blanks inside alone"
        ));
        return Err(fault.hint("`dmidecode -s system-serial-number` prints it"));
    }
    Ok(text.to_owned())
}

/// A name that the file chooses for a profile, a group and the like: a label of PXELINUX and iPXE, a segment of a path.
pub(crate) fn key_name(text: &str, what: &str) -> Checked<String> {
    let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 40 || text.starts_with('-') || stranger(text, safe).is_some() {
        return refuse(format!(
            "a {what}'s name has 1 to 40 small letters, digits and hyphens, and begins with no hyphen"
        ));
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

/// A path beneath `/assets/`: segments of letters, digits and `_.+-`, none of which begins with a dot.
pub(crate) fn asset(text: &str) -> Checked<String> {
    let fault = |what: String| Refused::new(format!("{text:?} is no path of an asset: {what}"));
    if text.is_empty() || text.len() > 200 {
        return Err(fault("1 to 200 characters are wanted".to_owned()));
    }
    if let Some(c) = stranger(text, |c| c.is_ascii_alphanumeric() || "/_.+-".contains(c)) {
        return Err(fault(format!("{c:?} is not allowed, only letters, digits and /_.+-")));
    }
    if text.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        return Err(fault("a part of it is empty or begins with a dot".to_owned()));
    }
    Ok(text.to_owned())
}

/// A version, as a system's maker writes it; it becomes a segment of a path.
pub(crate) fn version(text: &str) -> Checked<String> {
    if text.is_empty() || text.len() > 60 || text.starts_with('.') {
        return refuse("a version has 1 to 60 characters, and begins with no dot");
    }
    match stranger(text, |c| c.is_ascii_alphanumeric() || "_.+-".contains(c)) {
        Some(c) => refuse(format!("{c:?} is not allowed in a version: only letters, digits and _.+-")),
        None => Ok(text.to_owned()),
    }
}

/// A version of three numbers, as in `1.34.1`; what comes out begins with a `v`.
pub(crate) fn semantic_version(text: &str) -> Checked<String> {
    let bare = text.strip_prefix('v').unwrap_or(text);
    let numbers: Vec<_> = bare.split('.').collect();
    let number = |text: &&str| (1..=5).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    if numbers.len() != 3 || !numbers.iter().all(number) {
        return Err(
            Refused::new(format!("{text:?} is no version")).hint("write three numbers, as in \"1.34.1\"")
        );
    }
    Ok(format!("v{bare}"))
}

/// A block of addresses, as in `10.2.0.0/16`.
pub(crate) fn prefix(text: &str) -> Checked<Prefix> {
    let fault = |what: String| Refused::new(format!("{text:?} is no block of addresses: {what}"));
    let Some((base, length)) = text.split_once('/') else {
        return Err(fault("it does not say how large it is".to_owned()).hint(format!("write \"{text}/16\"")));
    };
    let base = address(base)?;
    let length = match length.parse::<u8>() {
        Ok(length @ 8..=28) if !text.contains("/+") => length,
        _ => return Err(fault("its length is to be 8 to 28".to_owned())),
    };
    let mask = u32::MAX << (32 - u32::from(length));
    let first = Ipv4Addr::from_bits(base.to_bits() & mask);
    if first != base {
        return Err(fault("it begins within itself".to_owned()).hint(format!("write \"{first}/{length}\"")));
    }
    Ok(Prefix { base, length })
}

/// A host: an address, or a name of one or more labels.
pub(crate) fn host(text: &str) -> Checked<String> {
    let numeric = |text: &str| text.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    if numeric(text) { address(text).map(|address| address.to_string()) } else { domain(text) }
}

/// A URL of a file or a device: `http://` or `https://`, no user, no query, no fragment.
pub(crate) fn url(text: &str) -> Checked<String> {
    let fault = |what: &str| Err(Refused::new(format!("{text:?} is no URL: {what}")));
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return fault("it must begin with https:// or http://");
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let (name, port) = authority.split_once(':').unwrap_or((authority, "80"));
    if port.parse::<u16>().is_err() || port.starts_with('+') {
        return fault("its port is no number");
    }
    host(name).map_err(|refused| refused.context(&format!("{text:?} is no URL")))?;
    if text.len() > 500 || stranger(rest, |c| c.is_ascii_alphanumeric() || "/_.:~+%@-".contains(c)).is_some()
    {
        return fault("it is too long, or has characters other than letters, digits and /_.:~+%@-");
    }
    if authority.contains('@') {
        return fault("it names a user: who is let in is nobody else's business");
    }
    Ok(text.to_owned())
}

/// A SHA-256 in hexadecimal digits.
pub(crate) fn sha256(text: &str) -> Checked<String> {
    let right = text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
    if right { Ok(text.to_ascii_lowercase()) } else { refuse("a SHA-256 has 64 hexadecimal digits") }
}

/// A container image by its digest: `HOST/REPOSITORY[:TAG]@sha256:DIGEST`.
pub(crate) fn image(text: &str) -> Checked<Image> {
    let example = "as in \"registry.k8s.io/pause:3.10@sha256:…\"";
    let fault = |what: &str| Refused::new(format!("{text:?} is no image: {what}")).hint(example);
    let Some((name, digest)) = text.split_once("@sha256:") else {
        return Err(fault("it names no digest, and a tag alone may be another image tomorrow"));
    };
    let sha256 = sha256(digest).map_err(|refused| refused.hint(example))?;
    let Some((registry, rest)) = name.split_once('/').filter(|(registry, _)| registry.contains(['.', ':']))
    else {
        return Err(fault("it names no registry"));
    };
    let (bare, port) = registry.split_once(':').unwrap_or((registry, "443"));
    if port.parse::<u16>().is_err() || port.starts_with('+') {
        return Err(fault("the registry's port is no number"));
    }
    host(bare).map_err(|refused| refused.context("the registry").hint(example))?;
    let (repository, tag) = match rest.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (rest, None),
    };
    let word = |text: &str, more: &str| {
        !text.is_empty()
            && !text.starts_with(['.', '-', '_'])
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
    };
    if repository.len() > 200 || !repository.split('/').all(|part| word(part, "._-")) {
        return Err(fault("the repository has small letters, digits and ._-"));
    }
    if tag.is_some_and(|tag| tag.len() > 128 || !word(&tag.to_ascii_lowercase(), "._-")) {
        return Err(fault("a tag has letters, digits and ._-"));
    }
    Ok(Image {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        tag: tag.map(str::to_owned),
        sha256,
    })
}

/// The name of a variable: one that a template can write.
pub(crate) fn variable_name(text: &str) -> Checked<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.len() > 60 || text.starts_with(|c: char| c.is_ascii_digit()) {
        return refuse("a variable's name has 1 to 60 characters, and begins with no digit");
    }
    match stranger(text, word) {
        Some('-') => Err(Refused::new(format!("{text:?} is no variable: a template would subtract"))
            .hint(format!("write {:?}", text.replace('-', "_")))),
        Some(c) => refuse(format!("{c:?} is not allowed in a variable's name: only letters, digits and _")),
        None => Ok(text.to_owned()),
    }
}

/// The text of a variable: anything that can be written down. Where it goes to, it is escaped.
pub(crate) fn variable_text(text: &str) -> Checked<String> {
    match stranger(text, |c| !c.is_control() || matches!(c, '\n' | '\t')) {
        Some(c) => refuse(format!("{c:?} is a control character")),
        None => Ok(text.to_owned()),
    }
}

/// The serial number of a disk, as the disk reports it.
pub(crate) fn disk_serial(text: &str) -> Checked<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if text.is_empty() || text.len() > 64 || stranger(text, known).is_some() {
        return Err(Refused::new(format!(
            "{text:?} is no serial number: 1 to 64 letters, digits and _.- are wanted"
        ))
        .hint("`lsblk --nodeps -o NAME,SERIAL` prints it"));
    }
    Ok(text.to_owned())
}

/// The name of a system in Redfish's collection.
pub(crate) fn system(text: &str) -> Checked<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if text.is_empty() || text.len() > 64 || text.starts_with('.') || stranger(text, known).is_some() {
        return refuse(format!("{text:?} is no system: 1 to 64 letters, digits and _.- are wanted"));
    }
    Ok(text.to_owned())
}
