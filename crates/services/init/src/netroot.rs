//! What the boot loader asks of a machine whose root is to come over the network, on the kernel's command line:
//!
//! ```text
//! pilotlight.root=http://10.77.0.1/assets/… pilotlight.sha256=DIGEST BOOTIF=01-52-54-00-12-34-56 pilotlight.config=cloud-init
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::request::parameter;

/// What is to be fetched and started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetRoot {
    /// Where the root is.
    pub url: Url,
    /// The SHA-256 that it has.
    pub sha256: [u8; 32],
    /// The hardware address of the interface to use; any with a link where none is named.
    pub mac: Option<[u8; 6]>,
    /// Who configures the system.
    pub provisioner: Provisioner,
}

/// Who configures a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provisioner {
    /// cloud-init.
    CloudInit,
    /// Ignition.
    Ignition,
    /// Nobody: it comes up without a name.
    Nobody,
}

/// A file of a web server that is named by its address: there is no resolver yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// The server.
    pub server: SocketAddrV4,
    /// The file, with its first slash.
    pub path: String,
}

/// Why the command line does not say what to fetch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetRootError {
    /// `pilotlight.root` is no such URL.
    #[error("pilotlight.root={0} is not of the form http://ADDRESS/PATH")]
    Url(String),
    /// `pilotlight.sha256` is missing or no digest.
    #[error(
        "pilotlight.sha256 has to be the 64 hexadecimal digits of the root's SHA-256: an unverified root is never started"
    )]
    Digest,
    /// `BOOTIF` is no hardware address.
    #[error("BOOTIF={0} is not of the form 01-52-54-00-12-34-56")]
    Interface(String),
    /// `pilotlight.config` names nobody who is known.
    #[error("pilotlight.config={0} is neither cloud-init nor ignition")]
    Provisioner(String),
}

impl NetRoot {
    /// Reads the command line; none when it names no root on the network.
    ///
    /// # Errors
    /// [`NetRootError`] when it names one in a way that is not understood.
    pub fn parse(line: &str) -> Result<Option<Self>, NetRootError> {
        let Some(url) = parameter(line, "pilotlight.root=") else { return Ok(None) };
        let digest = parameter(line, "pilotlight.sha256=").and_then(digest).ok_or(NetRootError::Digest)?;
        let interface = parameter(line, "BOOTIF=");
        let mac = interface.map(|text| mac(text).ok_or_else(|| NetRootError::Interface(text.to_owned())));
        let provisioner = match parameter(line, "pilotlight.config=") {
            Some("cloud-init") => Provisioner::CloudInit,
            Some("ignition") => Provisioner::Ignition,
            None => Provisioner::Nobody,
            Some(other) => return Err(NetRootError::Provisioner(other.to_owned())),
        };
        Ok(Some(Self {
            url: Url::parse(url).ok_or_else(|| NetRootError::Url(url.to_owned()))?,
            sha256: digest,
            mac: mac.transpose()?,
            provisioner,
        }))
    }
}

impl Url {
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://")?;
        let (server, path) = rest.split_at(rest.find('/')?);
        let server =
            server.parse().or_else(|_| server.parse::<Ipv4Addr>().map(|host| SocketAddrV4::new(host, 80)));
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
        plain.then_some(Self { server: server.ok()?, path: path.to_owned() })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "http://{}{}", self.server, self.path)
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let bytes = hexadecimal(text.as_bytes())?;
    bytes.try_into().ok()
}

/// `01-` and the hardware address with hyphens, as PXELINUX writes it; 01 is Ethernet.
fn mac(text: &str) -> Option<[u8; 6]> {
    let text = text.strip_prefix("01-")?;
    let bytes: Option<Vec<u8>> = text
        .split(['-', ':'])
        .map(|pair| hexadecimal(pair.as_bytes()).and_then(|bytes| <[u8; 1]>::try_from(bytes).ok()))
        .map(|byte| byte.map(|[byte]| byte))
        .collect();
    bytes?.try_into().ok()
}

fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8));
    rest.is_empty().then(|| bytes.collect()).flatten()
}

/// A digest or an address in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn what_the_menus_write_is_understood() {
        let line = format!(
            "initrd=initrd.gz pilotlight.root=http://10.77.0.1/assets/debian-ram/1/amd64/root.squashfs \
             pilotlight.sha256={DIGEST} BOOTIF=01-52-54-00-00-00-11 pilotlight.config=cloud-init \
             ds=nocloud-net;s=http://10.77.0.1/node/52-54-00-00-00-11/"
        );
        let root = NetRoot::parse(&line).unwrap().unwrap();
        assert_eq!(root.url.to_string(), "http://10.77.0.1:80/assets/debian-ram/1/amd64/root.squashfs");
        assert_eq!(root.mac, Some([0x52, 0x54, 0, 0, 0, 0x11]));
        assert_eq!((hex(&root.sha256), root.provisioner), (DIGEST.to_owned(), Provisioner::CloudInit));
        assert_eq!(NetRoot::parse("pilotlight.disk=1 quiet"), Ok(None));
        let line = format!("pilotlight.root=http://10.0.0.1:8080/x pilotlight.sha256={DIGEST}");
        let root = NetRoot::parse(&line).unwrap().unwrap();
        assert_eq!((root.url.server.port(), root.mac, root.provisioner), (8080, None, Provisioner::Nobody));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let said = |line: &str| NetRoot::parse(line).unwrap_err();
        let good = format!("pilotlight.root=http://10.0.0.1/x pilotlight.sha256={DIGEST}");
        assert_eq!(said("pilotlight.root=http://10.0.0.1/x"), NetRootError::Digest);
        assert_eq!(said(&good.replace("001122", "0011")), NetRootError::Digest);
        for url in
            ["https://10.0.0.1/x", "http://pi/x", "http://10.0.0.1", "10.0.0.1/x", "http://10.0.0.1:0x/x"]
        {
            let line = good.replace("http://10.0.0.1/x", url);
            assert_eq!(said(&line), NetRootError::Url(url.to_owned()));
        }
        assert_eq!(said(&format!("{good} BOOTIF=52-54")), NetRootError::Interface("52-54".to_owned()));
        assert_eq!(said(&format!("{good} pilotlight.config=x")), NetRootError::Provisioner("x".to_owned()));
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line in "((pilotlight\\.(root|sha256|config)|BOOTIF)=|http://|[0-9a-f.:/ -]){0,40}") {
            let _ = NetRoot::parse(&line);
        }
    }
}
