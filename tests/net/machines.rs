//! Machines of our own making, all on one socket at the clients' end: for what no client can be made to do.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use pilotlight_dhcp::packet::{Draft, Packet};
use pilotlight_lab::MacAddr;
use pilotlight_tests::{daemon::PATIENCE, namespace::CLIENT};

use crate::stage::Stage;

pub(crate) const DISCOVER: u8 = 1;
pub(crate) const OFFER: u8 = 2;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const ACK: u8 = 5;
pub(crate) const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// The address of a stranger by its number.
pub(crate) fn stranger(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([0x52, 0x55, a, b, c, d])
}

/// A message that wants its answer by broadcast.
pub(crate) fn message(mac: MacAddr, kind: u8, options: &[(u8, Vec<u8>)]) -> Draft {
    Draft {
        op: 1.into(),
        xid: u32::from_be_bytes([mac.0[2], mac.0[3], mac.0[4], mac.0[5]]),
        flags: 0x8000.into(),
        ciaddr: NONE,
        yiaddr: NONE,
        siaddr: NONE,
        giaddr: NONE,
        mac,
        file: String::new(),
        options: [&[(53, vec![kind])], options].concat(),
        relay_information: None,
    }
}

/// A REQUEST for what the server of the scenes has offered.
pub(crate) fn select(mac: MacAddr, address: Ipv4Addr) -> Draft {
    message(mac, REQUEST, &[(54, vec![10, 77, 0, 1]), (50, address.octets().to_vec())])
}

/// A REQUEST in RENEWING, with the answer by broadcast as nobody here has the address.
pub(crate) fn renew(mac: MacAddr, address: Ipv4Addr) -> Draft {
    message(mac, REQUEST, &[(50, address.octets().to_vec())])
}

/// The clients' end, on which all machines speak.
pub(crate) struct Wire(UdpSocket);

impl Wire {
    pub(crate) fn open(stage: &Stage) -> Result<Self> {
        stage.cable.fixed_client_address()?;
        stage.cable.ip(&format!("route add 255.255.255.255 dev {CLIENT}"))?;
        let socket = UdpSocket::bind("0.0.0.0:68").context("could not open the client's port")?;
        socket.set_broadcast(true)?;
        Ok(Self(socket))
    }

    pub(crate) fn say(&self, draft: &Draft) -> Result<()> {
        self.shout(&draft.write(1472)?)
    }

    /// Sends bytes that may be no message.
    pub(crate) fn shout(&self, bytes: &[u8]) -> Result<()> {
        self.0.send_to(bytes, "255.255.255.255:67").map(drop).context("could not ask")
    }

    /// The next answer, or none within a time.
    pub(crate) fn hear(&self, within: Duration) -> Result<Option<Packet>> {
        let mut buffer = [0; 2048];
        self.0.set_read_timeout(Some(within.max(Duration::from_millis(1))))?;
        match self.0.recv(&mut buffer) {
            Ok(length) => Ok(Some(Packet::parse(&buffer[..length])?)),
            Err(fault) if fault.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(fault) => Err(fault).context("could not hear"),
        }
    }

    /// The next answer to this machine, or none within a time.
    pub(crate) fn answer(&self, mac: MacAddr, within: Duration) -> Result<Option<Packet>> {
        let end = Instant::now() + within;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if let Some(packet) = self.hear(left)?.filter(|packet| packet.mac == mac) {
                return Ok(Some(packet));
            }
        }
        Ok(None)
    }

    /// Asks until there is an answer of this kind.
    pub(crate) fn insist(&self, draft: &Draft, kind: u8) -> Result<Packet> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.say(draft)?;
            let answer = self.answer(draft.mac, Duration::from_millis(500))?;
            if let Some(packet) = answer.filter(|packet| u8::from(packet.kind) == kind) {
                return Ok(packet);
            }
        }
        bail!("{} never heard a {kind}", draft.mac)
    }

    /// A whole exchange; gives the address.
    pub(crate) fn lease(&self, mac: MacAddr) -> Result<Ipv4Addr> {
        let offer = self.insist(&message(mac, DISCOVER, &[]), OFFER)?;
        Ok(self.insist(&select(mac, offer.yiaddr), ACK)?.yiaddr)
    }
}
