//! The server's decisions: one message in, what to do out.

mod proxy;
mod recognise;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use dhcproto::v4::{MessageType, Opcode};
use pilotlight_boot::{Architecture, BootFile, Client, boot_file};
use pilotlight_kit::{Event, limit::Limits};
use pilotlight_lab::{Lab, MacAddr, Mode};

use crate::{
    Millis,
    drops::Dropped,
    leases::{Leases, NoAddress},
    packet::{CLIENT_PORT, Draft, Malformed, Packet},
    reply::{self, Firmware, Role, Terms},
    store::Change,
};

/// The shortest lease that a client may ask for, in seconds: the shortest that lab.toml can say, too.
const SHORTEST_LEASE_S: u32 = 120;

/// Less of a lease than this is not worth an answer, in seconds: its machine asks again before it ends.
const SHORTEST_REST_S: u32 = 20;

/// What to do about one message, in this order: write `persist` down, send `reply`, report `events`. When
/// writing fails, `reply` and `events` are void.
#[derive(Debug, Default)]
pub struct Actions {
    /// What must be durable before the reply leaves.
    pub persist: Option<Change>,
    /// What to send.
    pub reply: Option<Outgoing>,
    /// What was decided.
    pub events: Vec<Event>,
    /// The address that the wire is to be asked about, for [`Server::in_use`]: the answer is not waited for.
    pub probe: Option<Ipv4Addr>,
    /// Why nothing was done.
    pub dropped: Option<Dropped>,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The port that it leaves from: the one that the request came in on.
    pub from: Port,
    /// Where to.
    pub to: Destination,
    /// How long to hold it back, in milliseconds.
    pub delay: Millis,
    /// The DHCP message.
    pub payload: Vec<u8>,
}

/// A port of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// [`SERVER_PORT`](crate::packet::SERVER_PORT).
    Dhcp,
    /// [`BOOT_PORT`](crate::packet::BOOT_PORT).
    Boot,
}

/// Where an answer goes, RFC 2131 § 4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To the relay, on the server's port.
    Relay(Ipv4Addr),
    /// To a client that has this address already.
    Unicast(SocketAddrV4),
    /// To everyone.
    Broadcast,
    /// To a machine that does not answer ARP for this address yet: by a frame of our own.
    Hardware {
        /// The machine.
        mac: MacAddr,
        /// The address that it is being given.
        address: Ipv4Addr,
    },
}

/// The server.
#[derive(Debug)]
pub struct Server {
    lab: Lab,
    leases: Leases,
    /// The nodes that machines were recognised as and that have no hardware address yet, and since when.
    meetings: BTreeMap<String, Millis>,
    limits: Limits<MacAddr>,
}

/// What a machine may ask at once, and how often in a second from then on: several times what the hastiest firmware does. One
/// that never stops asking would have its answers stand in the others' way on a slow wire. (Who forges a machine's address takes
/// its frames from it at the next switch, whether or not the Pi answers.)
const BURST: u32 = 32;
const RATE: u32 = 8;
/// Of how many machines that is remembered.
const MACHINES: usize = 4096;

/// Why a request gets no answer: a fixed name for counting, and words.
type Silence = (&'static str, String);

impl Server {
    /// A server without a lease.
    pub fn new(lab: Lab) -> Self {
        let leases = Leases::new(&lab);
        Self { lab, leases, meetings: BTreeMap::new(), limits: Limits::new(BURST, RATE, MACHINES) }
    }

    /// Goes by `lab` from here on: the same one, of which more is known by now.
    pub fn learn(&mut self, lab: Lab) {
        self.meetings.retain(|name, _| lab.node_by_name(name).is_some_and(|node| !node.is_met()));
        self.lab = lab;
    }

    /// The pool, to take up leases from before a restart.
    pub fn leases_mut(&mut self) -> &mut Leases {
        &mut self.leases
    }

    /// The lab that is served.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Decides about one UDP payload that came in on port 67.
    pub fn handle(&mut self, now: Millis, payload: &[u8]) -> Actions {
        let mut met = None;
        let mut actions = self.handled(payload, |server, packet| {
            if !server.limits.take(packet.mac, Duration::from_millis(now)) {
                return Err(("flood", "it asks more often than any firmware does".into()));
            }
            let (event, wait) = server.recognise(now, packet).unzip();
            met = event;
            if wait == Some(true) { Ok(Actions::default()) } else { server.decide(now, packet) }
        });
        actions.events.extend(met);
        actions
    }

    /// Decides about one UDP payload that came in on port 4011, where firmware asks that has its address already.
    pub fn handle_boot(&mut self, payload: &[u8], from: SocketAddrV4) -> Actions {
        self.handled(payload, |server, packet| server.boot_server(packet, from))
    }

    fn handled(
        &mut self,
        payload: &[u8],
        decide: impl FnOnce(&mut Self, &Packet) -> Result<Actions, Silence>,
    ) -> Actions {
        let packet = match Packet::parse(payload) {
            Ok(packet) => packet,
            Err(fault) => return malformed(fault),
        };
        let decided = if packet.op == Opcode::BootRequest {
            decide(self, &packet)
        } else {
            Err(("not-a-request", "a reply, not a request: another DHCP server is on this wire".into()))
        };
        decided.unwrap_or_else(|(kind, reason)| Actions {
            dropped: Some(Dropped {
                kind,
                reason,
                mac: Some(packet.mac),
                node: self.lab.node_by_mac(packet.mac).map(|node| node.name.clone()),
            }),
            ..Actions::default()
        })
    }

    /// The machine `by` was seen to have `address`. When it is being offered to another one, nobody gets it for a
    /// while: the other one's REQUEST is refused, and it asks again.
    pub fn in_use(&mut self, now: Millis, address: Ipv4Addr, by: MacAddr) -> Option<Event> {
        let offered_to = self.leases.in_use(now, address, by)?;
        let reason = format!("{by} has {address}, which the Pi did not give it: nobody gets it for an hour");
        let event = Event::failed("dhcp", "conflict", reason).mac(offered_to);
        Some(event.fact("address", address.to_string()).fact("by", by.to_string()))
    }

    /// What was to be written down is on the card.
    pub fn written(&mut self, change: &Change) {
        self.leases.written(change.mac, change.address, change.at + u64::from(change.lease_s) * 1000);
    }

    /// What was to be written down could not be. Where the card has an older promise of the same address to the same
    /// machine, `reply` is made to promise no more than is left of that, and the answer is that in seconds: it may leave.
    /// Otherwise it may not. That a lease ended is true whether it was written or not.
    pub fn not_written(&mut self, now: Millis, change: &Change, reply: Option<&mut Outgoing>) -> Option<u32> {
        if change.lease_s == 0 {
            return None;
        }
        let until = self.leases.unbind(now, change.mac, change.address)?;
        let left_s = u32::try_from(until.saturating_sub(now) / 1000).ok()?;
        let reply = reply.filter(|_| left_s >= SHORTEST_REST_S)?;
        reply::shorten(&mut reply.payload, left_s);
        Some(left_s)
    }

    fn decide(&mut self, now: Millis, packet: &Packet) -> Result<Actions, Silence> {
        if let Some(link) = packet.link().filter(|link| !self.lab.network.contains(*link)) {
            return Err(("foreign-link", format!("asks for an address of another network, that of {link}")));
        }
        if self.lab.network.mode == Mode::Proxy {
            return self.beside(packet);
        }
        match packet.kind {
            MessageType::Discover => self.discover(now, packet),
            MessageType::Request => self.request(now, packet),
            MessageType::Decline => self.decline(now, packet),
            MessageType::Release => self.release(now, packet),
            MessageType::Inform => self.inform(packet),
            other => {
                Err(("message-type", format!("message type {} is not one for a server", u8::from(other))))
            }
        }
    }

    fn discover(&mut self, now: Millis, packet: &Packet) -> Result<Actions, Silence> {
        let boot = self.boot(packet)?;
        let address = match self.reserved(packet.mac) {
            Some(address) => address,
            None => self.leases.propose(now, packet.mac, packet.address(50)).map_err(|none| match none {
                NoAddress::NoPool => ("unknown-machine", none.to_string()),
                NoAddress::Exhausted => ("pool-exhausted", none.to_string()),
            })?,
        };
        let actions = self.answer(packet, MessageType::Offer, Some(address), boot.as_ref())?;
        let probe = Some(address).filter(|address| self.leases.is_offer(*address) && packet.link().is_none());
        Ok(Actions { probe, ..actions })
    }

    /// RFC 2131 § 4.3.2: which of the four kinds of REQUEST it is shows in options 54 and 50 and in `ciaddr`.
    fn request(&mut self, now: Millis, packet: &Packet) -> Result<Actions, Silence> {
        let has = |address: Ipv4Addr| (address != Ipv4Addr::UNSPECIFIED).then_some(address);
        let (requested, current) = (packet.address(50).and_then(has), has(packet.ciaddr));
        match (packet.address(54), requested, current) {
            (Some(server), _, _) if !self.is_us(packet, server) => {
                self.leases.withdraw(packet.mac);
                Err(("not-for-us", format!("the machine chose another DHCP server, {server}")))
            }
            // SELECTING. A client that renews and names its server is read the same way.
            (Some(_), Some(address), _) | (Some(_), None, Some(address)) => self.grant(now, packet, address),
            // INIT-REBOOT.
            (None, Some(address), None) => self.reboot(now, packet, address),
            // RENEWING and REBINDING.
            (None, _, Some(address)) => self.extend(now, packet, address),
            (_, None, None) => Err(("no-address", "a REQUEST that names no address".into())),
        }
    }

    fn reboot(&mut self, now: Millis, packet: &Packet, address: Ipv4Addr) -> Result<Actions, Silence> {
        if !self.lab.network.contains(address) {
            return self.refuse(packet, address, "not an address of this network");
        }
        match self.reserved(packet.mac).or(self.leases.held_by(packet.mac)) {
            Some(_) => self.grant(now, packet, address),
            None => Err(("no-record", format!("asks for {address} again, and nothing is known about it"))),
        }
    }

    /// A pool address that is free is granted even without a record: a lost store must not cost a running
    /// machine its address. About anything else that is unknown, silence.
    fn extend(&mut self, now: Millis, packet: &Packet, address: Ipv4Addr) -> Result<Actions, Silence> {
        if !self.lab.network.contains(address) {
            return self.refuse(packet, address, "not an address of this network");
        }
        let known = self.reserved(packet.mac).or(self.leases.held_by(packet.mac)).is_some();
        let taken = self.lab.node_by_address(address).is_some() || self.leases.holder(now, address).is_some();
        if known || taken || self.leases.in_pool(address) {
            return self.grant(now, packet, address);
        }
        Err(("no-record", format!("renews {address}, and nothing is known about it")))
    }

    /// ACK when the address is this machine's to have, else NAK.
    fn grant(&mut self, now: Millis, packet: &Packet, address: Ipv4Addr) -> Result<Actions, Silence> {
        let boot = self.boot(packet)?;
        if let Some(reserved) = self.reserved(packet.mac) {
            if address != reserved {
                return self.refuse(packet, address, &format!("{reserved} is reserved for this machine"));
            }
            // lab.toml is the record of a reservation: nothing to write.
            self.leases.forget(packet.mac);
            return self.answer(packet, MessageType::Ack, Some(address), boot.as_ref());
        }
        let own = self.leases.held_by(packet.mac);
        if own.is_some_and(|own| own != address) || !self.leases.available_to(now, packet.mac, address) {
            return self.refuse(packet, address, "not this machine's address");
        }
        let lease_s = self.lease_s(packet);
        let actions = self.answer(packet, MessageType::Ack, Some(address), boot.as_ref())?;
        self.leases.bind(packet.mac, address, now + u64::from(lease_s) * 1000);
        let change = Change { mac: packet.mac, address, lease_s, at: now };
        Ok(Actions { persist: Some(change), ..actions })
    }

    fn decline(&mut self, now: Millis, packet: &Packet) -> Result<Actions, Silence> {
        self.addressed_to_us(packet)?;
        let address =
            packet.address(50).ok_or(("no-address", "a DECLINE that names no address".to_owned()))?;
        let told = |event: Event| self.told(packet, event).fact("address", address.to_string());
        if self.reserved(packet.mac) == Some(address) {
            let reason = format!("another machine uses {address}, which lab.toml reserves for this one");
            return Ok(Actions {
                events: vec![told(Event::failed("dhcp", "decline", reason))],
                ..Actions::default()
            });
        }
        let event = told(Event::ok("dhcp", "decline"));
        if !self.leases.decline(now, packet.mac, address) {
            return Err(("not-its-lease", format!("declines {address}, which it was not given")));
        }
        let persist = Some(Change { mac: packet.mac, address, lease_s: 0, at: now });
        Ok(Actions { persist, events: vec![event], ..Actions::default() })
    }

    fn release(&mut self, now: Millis, packet: &Packet) -> Result<Actions, Silence> {
        self.addressed_to_us(packet)?;
        let address = packet.ciaddr;
        let event = self.told(packet, Event::ok("dhcp", "release")).fact("address", address.to_string());
        if self.reserved(packet.mac) == Some(address) {
            return Ok(Actions { events: vec![event], ..Actions::default() });
        }
        if !self.leases.release(now, packet.mac, address) {
            return Err(("not-its-lease", format!("releases {address}, which it was not given")));
        }
        let persist = Some(Change { mac: packet.mac, address, lease_s: 0, at: now });
        Ok(Actions { persist, events: vec![event], ..Actions::default() })
    }

    /// RFC 2131 § 4.3.5: the client has an address of its own making and wants the rest.
    fn inform(&mut self, packet: &Packet) -> Result<Actions, Silence> {
        if !self.lab.network.contains(packet.ciaddr) {
            return Err((
                "foreign-address",
                format!("INFORM from {}, which is not of this network", packet.ciaddr),
            ));
        }
        let boot = self.boot(packet)?;
        self.answer(packet, MessageType::Ack, None, boot.as_ref())
    }

    fn addressed_to_us(&self, packet: &Packet) -> Result<(), Silence> {
        match packet.address(54) {
            Some(server) if !self.is_us(packet, server) => {
                Err(("not-for-us", format!("meant for another DHCP server, {server}")))
            }
            _ => Ok(()),
        }
    }

    /// Whether `server` is this one, by its address or by the one that the relay has it known by.
    fn is_us(&self, packet: &Packet, server: Ipv4Addr) -> bool {
        server == self.lab.network.address || packet.server_override() == Some(server)
    }

    fn answer(
        &self,
        packet: &Packet,
        kind: MessageType,
        address: Option<Ipv4Addr>,
        boot: Option<&BootFile>,
    ) -> Result<Actions, Silence> {
        let stage = match (kind, address) {
            (MessageType::Offer, _) => "offer",
            (_, Some(_)) => "ack",
            (_, None) => "inform",
        };
        let terms = self.terms(packet, kind, Role::Server, address, boot);
        let draft = reply::answer(packet, &terms);
        let event = self.told(packet, Event::ok("dhcp", stage));
        let event = event.fact("address", address.unwrap_or(packet.ciaddr).to_string());
        let event = loader(packet, &terms, event);
        let way = (Port::Dhcp, self.destination(packet, address), reply::delay(packet, &terms));
        send(packet, &draft, way, event)
    }

    fn terms<'a>(
        &'a self,
        packet: &Packet,
        kind: MessageType,
        role: Role,
        address: Option<Ipv4Addr>,
        boot: Option<&'a BootFile>,
    ) -> Terms<'a> {
        Terms {
            lab: &self.lab,
            kind,
            role,
            address,
            lease_s: address.map(|_| self.lease_s(packet)),
            node: self.lab.node_by_mac(packet.mac),
            boot,
            firmware: Firmware::of(packet),
        }
    }

    fn refuse(&self, packet: &Packet, address: Ipv4Addr, reason: &str) -> Result<Actions, Silence> {
        let draft = reply::refusal(packet, self.lab.network.address, reason);
        let event = self.told(packet, Event::ok("dhcp", "nak")).fact("address", address.to_string());
        let to = match packet.giaddr {
            Ipv4Addr::UNSPECIFIED => Destination::Broadcast,
            relay => Destination::Relay(relay),
        };
        send(packet, &draft, (Port::Dhcp, to, 0), event.fact("message", reason))
    }

    fn destination(&self, packet: &Packet, address: Option<Ipv4Addr>) -> Destination {
        match (packet.giaddr, packet.ciaddr, address) {
            // INFORM is answered straight to the client, RFC 2131 § 4.3.5.
            (_, ciaddr, None) => Destination::Unicast(SocketAddrV4::new(ciaddr, CLIENT_PORT)),
            (relay, _, _) if relay != Ipv4Addr::UNSPECIFIED => Destination::Relay(relay),
            (_, ciaddr, _) if self.lab.network.contains(ciaddr) => {
                Destination::Unicast(SocketAddrV4::new(ciaddr, CLIENT_PORT))
            }
            // A proxy does not know the address that the machine is being given.
            (_, _, Some(address)) if !packet.flags.broadcast() && !address.is_unspecified() => {
                Destination::Hardware { mac: packet.mac, address }
            }
            _ => Destination::Broadcast,
        }
    }

    fn reserved(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.lab.node_by_mac(mac).and_then(|node| node.address)
    }

    /// A client may ask for a shorter lease than the lab's, not for a longer one.
    fn lease_s(&self, packet: &Packet) -> u32 {
        let most = u32::try_from(self.lab.network.lease.as_secs()).unwrap_or(u32::MAX).max(SHORTEST_LEASE_S);
        packet.number32(51).unwrap_or(most).clamp(SHORTEST_LEASE_S, most)
    }

    fn boot(&self, packet: &Packet) -> Result<Option<BootFile>, Silence> {
        let firmware = Firmware::of(packet);
        if matches!(firmware, Firmware::None | Firmware::RaspberryPi) {
            return Ok(None);
        }
        let client = Client {
            mac: packet.mac,
            // Firmware that does not say is a BIOS: the option came with UEFI.
            architecture: Architecture::from_option_93(packet.number16(93).unwrap_or(0)),
            ipxe: firmware == Firmware::Ipxe,
            http_boot: firmware == Firmware::Http,
        };
        match boot_file(&self.lab, &client) {
            None if client.http_boot => Err((
                "http-boot",
                "UEFI HTTP boot is not served: choose PXE over IPv4 in the machine's firmware".into(),
            )),
            boot => Ok(boot),
        }
    }

    fn told(&self, packet: &Packet, event: Event) -> Event {
        let name = self.lab.node_by_mac(packet.mac).map(|node| node.name.as_str());
        event.mac(packet.mac).node(name)
    }
}

/// Says in the event what the firmware is told to fetch.
fn loader(packet: &Packet, terms: &Terms<'_>, event: Event) -> Event {
    match (terms.boot, terms.firmware) {
        (Some(boot), _) => event.fact("file", boot.file.as_str()),
        (None, Firmware::None) => event,
        (None, Firmware::RaspberryPi) => event.fact("raspberry-pi", true),
        (None, _) => event.fact("no-loader", packet.number16(93).unwrap_or(0)),
    }
}

fn send(
    packet: &Packet,
    draft: &Draft,
    (from, to, delay): (Port, Destination, Millis),
    event: Event,
) -> Result<Actions, Silence> {
    let payload = draft
        .write(packet.room())
        .map_err(|error| ("not-encoded", format!("the answer could not be written: {error}")))?;
    Ok(Actions {
        reply: Some(Outgoing { from, to, delay, payload }),
        events: vec![event],
        ..Actions::default()
    })
}

fn malformed(fault: Malformed) -> Actions {
    let dropped = Dropped { kind: fault.kind(), reason: fault.to_string(), mac: None, node: None };
    Actions { dropped: Some(dropped), ..Actions::default() }
}
