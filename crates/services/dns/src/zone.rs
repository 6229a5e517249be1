//! The names that the Pi is the authority for: the lab's, the way back from its addresses, and those that must never
//! leave a local network.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr as _,
};

use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{A, AAAA, NS, PTR, SOA},
};
use pilotlight_lab::{Lab, Network, SERVER_NAME};

/// How long an answer about the lab may be kept, in seconds: a lab changes when somebody restarts the Pi.
const TTL: u32 = 60;
/// Zones that exist in each local network of their own: a question about them is never asked of others (RFC 6303 § 4,
/// RFC 6761, RFC 6762 § 22.1, RFC 7686, RFC 8375, RFC 9476).
const LOCAL: [&str; 33] = [
    "localhost",
    "local",
    "invalid",
    "test",
    "onion",
    "alt",
    "internal",
    "home.arpa",
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "16.172.in-addr.arpa",
    "17.172.in-addr.arpa",
    "18.172.in-addr.arpa",
    "19.172.in-addr.arpa",
    "20.172.in-addr.arpa",
    "21.172.in-addr.arpa",
    "22.172.in-addr.arpa",
    "23.172.in-addr.arpa",
    "24.172.in-addr.arpa",
    "25.172.in-addr.arpa",
    "26.172.in-addr.arpa",
    "27.172.in-addr.arpa",
    "28.172.in-addr.arpa",
    "29.172.in-addr.arpa",
    "30.172.in-addr.arpa",
    "31.172.in-addr.arpa",
];

/// What the Pi knows of names.
#[derive(Debug, Clone)]
pub struct Zone {
    /// The lab's domain.
    domain: Name,
    /// Where the way back begins: the network's whole octets below `in-addr.arpa`.
    reverse: Name,
    /// The Pi's own name.
    server: Name,
    hosts: BTreeMap<Name, Ipv4Addr>,
    names: BTreeMap<Ipv4Addr, Name>,
    network: Network,
    local: Vec<Name>,
    serial: u32,
}

/// What a zone says of a name and a type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Known {
    /// These records.
    Records(Vec<Record>),
    /// The name is there, and has none of that type; the zone's SOA.
    NoData(Record),
    /// There is no such name; the zone's SOA.
    NoName(Record),
    /// It is not the Pi's to say.
    Elsewhere,
}

impl Zone {
    /// The zone of a lab. `serial` tells one lab from a later one (RFC 1035 § 3.3.13).
    ///
    /// # Errors
    /// A domain with a name too long for the DNS.
    pub fn of(lab: &Lab, serial: u32) -> Result<Self, hickory_proto::ProtoError> {
        let network = &lab.network;
        let domain = absolute(&network.domain)?;
        let server = Name::from_str(SERVER_NAME)?.append_domain(&domain)?;
        let mut hosts = BTreeMap::from([(server.clone(), network.address)]);
        let mut names = BTreeMap::from([(network.address, server.clone())]);
        for node in &lab.nodes {
            let name = Name::from_str(&node.name)?.append_domain(&domain)?.to_lowercase();
            let Some(address) = node.address else { continue };
            names.insert(address, name.clone());
            hosts.insert(name, address);
        }
        let octets = usize::from(network.prefix / 8).clamp(1, 3);
        let reverse = network.address.octets()[..octets]
            .iter()
            .fold("in-addr.arpa".to_owned(), |below, octet| format!("{octet}.{below}"));
        Ok(Self {
            domain,
            reverse: absolute(&reverse)?,
            server,
            hosts,
            names,
            network: network.clone(),
            local: LOCAL.into_iter().map(absolute).collect::<Result<_, _>>()?,
            serial,
        })
    }

    /// What is known of `name`, in any case of letters, and `kind`.
    pub(crate) fn look_up(&self, name: &Name, kind: RecordType) -> Known {
        let name = name.to_lowercase();
        if let Some(address) = address_of(&name) {
            return self.look_back(&name, address, kind);
        }
        if self.domain.zone_of(&name) {
            return self.in_domain(&name, kind);
        }
        if self.reverse.zone_of(&name) {
            // A part of the way back: there is something below it, but nothing at it.
            return self.apex_or(&self.reverse, &name, kind, Known::NoData(self.soa(&self.reverse)));
        }
        match self.local.iter().filter(|zone| zone.zone_of(&name)).max_by_key(|zone| zone.num_labels()) {
            Some(_) if name.is_localhost() => {
                let data = match kind {
                    RecordType::A => RData::A(A(Ipv4Addr::LOCALHOST)),
                    RecordType::AAAA => RData::AAAA(AAAA(Ipv6Addr::LOCALHOST)),
                    _ => return Known::NoData(self.soa(&name)),
                };
                Known::Records(vec![Record::from_rdata(name, TTL, data)])
            }
            Some(zone) => Known::NoName(self.soa(zone)),
            None => Known::Elsewhere,
        }
    }

    fn in_domain(&self, name: &Name, kind: RecordType) -> Known {
        let soa = self.soa(&self.domain);
        match self.hosts.get(name) {
            Some(address) if matches!(kind, RecordType::A | RecordType::ANY) => {
                Known::Records(vec![Record::from_rdata(name.clone(), TTL, RData::A(A(*address)))])
            }
            Some(_) => Known::NoData(soa),
            None => self.apex_or(&self.domain, name, kind, Known::NoName(soa)),
        }
    }

    /// The way back from an address.
    fn look_back(&self, name: &Name, address: Ipv4Addr, kind: RecordType) -> Known {
        if !self.network.contains(address) {
            let zone = self.local.iter().find(|zone| zone.zone_of(name));
            return zone.map_or(Known::Elsewhere, |zone| Known::NoName(self.soa(zone)));
        }
        let soa = self.soa(&self.reverse);
        match self.names.get(&address) {
            Some(host) if matches!(kind, RecordType::PTR | RecordType::ANY) => {
                Known::Records(vec![Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(host.clone())))])
            }
            Some(_) => Known::NoData(soa),
            None => Known::NoName(soa),
        }
    }

    /// What stands at the head of `zone`, when `name` is that; else `other`.
    fn apex_or(&self, zone: &Name, name: &Name, kind: RecordType, other: Known) -> Known {
        if zone != name {
            return other;
        }
        match kind {
            RecordType::SOA | RecordType::ANY => Known::Records(vec![self.soa(zone)]),
            RecordType::NS => Known::Records(vec![Record::from_rdata(
                zone.clone(),
                TTL,
                RData::NS(NS(self.server.clone())),
            )]),
            _ => Known::NoData(self.soa(zone)),
        }
    }

    /// The SOA of `zone`; its last field says how long a denial may be kept (RFC 2308 § 4).
    fn soa(&self, zone: &Name) -> Record {
        const REFRESH: i32 = 3600;
        const RETRY: i32 = 600;
        const EXPIRE: i32 = 86_400;
        let (server, nobody) = (self.server.clone(), self.server.clone());
        let soa = SOA::new(server, nobody, self.serial, REFRESH, RETRY, EXPIRE, TTL);
        Record::from_rdata(zone.clone(), TTL, RData::SOA(soa))
    }
}

/// The address that a name of the way back stands for; none for any other name, and for a part of one.
fn address_of(name: &Name) -> Option<Ipv4Addr> {
    if name.num_labels() != 6 {
        return None;
    }
    match name.parse_arpa_name().ok()?.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn absolute(name: &str) -> Result<Name, hickory_proto::ProtoError> {
    let mut name = Name::from_str(name)?.to_lowercase();
    name.set_fqdn(true);
    Ok(name)
}
