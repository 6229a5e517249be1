//! What the Pi says of itself on the link: a name, a service of that name, and a text of how it is.

use std::{net::Ipv4Addr, str::FromStr as _};

use hickory_proto::{
    ProtoError,
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, NULL, PTR, SRV, TXT},
    },
};
use pilotlight_lab::SERVER_NAME;

/// For records that name a host, in seconds (RFC 6762 § 10).
const HOST_TTL: u32 = 120;
/// For all others, in seconds.
const OTHER_TTL: u32 = 4500;
/// The longest time that a client of the plain DNS may keep an answer, in seconds (RFC 6762 § 6.7).
pub(super) const LEGACY_TTL: u32 = 10;
/// The top bit of a record's class: forget what you knew of this (RFC 6762 § 10.2). In a question: answer me alone
/// (§ 5.4).
pub(super) const TOP_BIT: u16 = 0x8000;
/// Where it is reached besides: the scripts and configurations.
const PORT: u16 = 80;
const SERVICE: &str = "_pilotlight._tcp.local.";
/// Lists the kinds of service that there are (RFC 6763 § 9).
const ENUMERATION: &str = "_services._dns-sd._udp.local.";
/// How the service is called where people see it.
const LABEL: &str = "Pilotlight";

/// A record, by what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// There is this kind of service.
    Enumeration,
    /// There is one called so.
    Service,
    /// It is at this host and port.
    Place,
    /// How it is.
    Text,
    /// The host has this address.
    Address,
    /// The address is this host's.
    Reverse,
    /// The host has no records but its address.
    NothingElseOfHost,
    /// The service has no records but its place and its text.
    NothingElseOfService,
}

impl Kind {
    /// What is said without having been asked.
    pub(super) const ANNOUNCED: [Self; 6] =
        [Self::Enumeration, Self::Service, Self::Place, Self::Text, Self::Address, Self::Reverse];

    /// Whether nobody else on the link may have such a record.
    pub(super) fn is_unique(self) -> bool {
        !matches!(self, Self::Enumeration | Self::Service)
    }

    /// What whoever asks for this will want to know next (RFC 6763 § 12).
    pub(super) fn follows(self) -> &'static [Self] {
        match self {
            Self::Service => &[Self::Place, Self::Text, Self::Address],
            Self::Place => &[Self::Address],
            _ => &[],
        }
    }
}

/// The names that are the Pi's, as long as nobody else has them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Names {
    pub(super) host: Name,
    pub(super) instance: Name,
    pub(super) service: Name,
    pub(super) enumeration: Name,
    pub(super) reverse: Name,
    address: Ipv4Addr,
}

impl Names {
    /// The names of the first that is called so, or of the `number`th (RFC 6762 § 9).
    pub(super) fn of(number: u32, address: Ipv4Addr) -> Result<Self, ProtoError> {
        let (host, label) = match number {
            0 | 1 => (SERVER_NAME.to_owned(), LABEL.to_owned()),
            _ => (format!("{SERVER_NAME}-{number}"), format!("{LABEL} ({number})")),
        };
        let service = Name::from_str(SERVICE)?;
        let instance = Name::from_labels([label.as_bytes()])?.append_name(&service)?;
        let [a, b, c, d] = address.octets();
        Ok(Self {
            host: Name::from_str(&format!("{host}.local."))?,
            instance,
            service,
            enumeration: Name::from_str(ENUMERATION)?,
            reverse: Name::from_str(&format!("{d}.{c}.{b}.{a}.in-addr.arpa."))?,
            address,
        })
    }

    /// The record of this kind, with `text` for what the service says.
    pub(super) fn record(&self, kind: Kind, text: &[String]) -> Record {
        let (name, ttl, data) = match kind {
            Kind::Enumeration => (&self.enumeration, OTHER_TTL, RData::PTR(PTR(self.service.clone()))),
            Kind::Service => (&self.service, OTHER_TTL, RData::PTR(PTR(self.instance.clone()))),
            Kind::Place => (&self.instance, HOST_TTL, RData::SRV(SRV::new(0, 0, PORT, self.host.clone()))),
            Kind::Text => (&self.instance, OTHER_TTL, RData::TXT(TXT::new(text.to_vec()))),
            Kind::Address => (&self.host, HOST_TTL, RData::A(A(self.address))),
            Kind::Reverse => (&self.reverse, HOST_TTL, RData::PTR(PTR(self.host.clone()))),
            Kind::NothingElseOfHost => (&self.host, HOST_TTL, nothing_but(&self.host, &[RecordType::A])),
            Kind::NothingElseOfService => {
                (&self.instance, HOST_TTL, nothing_but(&self.instance, &[RecordType::TXT, RecordType::SRV]))
            }
        };
        let mut record = Record::from_rdata(name.clone(), ttl, data);
        if kind.is_unique() {
            record.dns_class = DNSClass::from(u16::from(DNSClass::IN) | TOP_BIT);
        }
        record
    }

    /// What is said to a question; nothing when it is not the Pi's to answer.
    pub(super) fn answers(&self, name: &Name, kind: RecordType) -> &'static [Kind] {
        let any = kind == RecordType::ANY;
        // Names are the same in any case of letters.
        match name {
            name if *name == self.enumeration && (any || kind == RecordType::PTR) => &[Kind::Enumeration],
            name if *name == self.service && (any || kind == RecordType::PTR) => &[Kind::Service],
            name if *name == self.reverse && (any || kind == RecordType::PTR) => &[Kind::Reverse],
            name if *name == self.instance => match kind {
                RecordType::ANY => &[Kind::Place, Kind::Text],
                RecordType::SRV => &[Kind::Place],
                RecordType::TXT => &[Kind::Text],
                _ => &[Kind::NothingElseOfService],
            },
            name if *name == self.host && (any || kind == RecordType::A) => &[Kind::Address],
            name if *name == self.host => &[Kind::NothingElseOfHost],
            _ => &[],
        }
    }

    /// What must be nobody else's.
    pub(super) fn claims(&self, text: &[String]) -> Vec<Record> {
        [Kind::Address, Kind::Place, Kind::Text].map(|kind| self.record(kind, text)).into()
    }
}

/// An NSEC record's data as RFC 6762 § 6.1 wants it: these types and no others.
fn nothing_but(name: &Name, kinds: &[RecordType]) -> RData {
    let mut bytes: Vec<u8> = Vec::new();
    for label in name.iter() {
        // A label has 63 bytes at the most.
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label);
    }
    let mut bitmap = [0; 5];
    for kind in kinds {
        let number = usize::from(u16::from(*kind));
        bitmap[number / 8] |= 0x80 >> (number % 8);
    }
    bytes.extend_from_slice(&[0, 0, 5]);
    bytes.extend_from_slice(&bitmap);
    RData::Unknown { code: RecordType::NSEC, rdata: NULL::with(bytes) }
}
