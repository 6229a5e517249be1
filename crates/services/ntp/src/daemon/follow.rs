//! Asking time servers, and following the best of those that agree.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use pilotlight_kit::Event;
use pilotlight_ntp::{
    Clock, LENGTH,
    clock::{Correction, Lead, Voucher},
    upstream::{Sample, agreed, question, read},
};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::{
    net::{UdpSocket, lookup_host},
    task::spawn_local,
    time::{sleep, timeout},
};

use crate::{SERVICE, Server, keeper::unix, kernel};

const PORT: u16 = 123;
/// Questions to each server until one is followed (RFC 5905 § 13.2: iburst has as many and more), and the time between them.
const BURST: u32 = 4;
const BETWEEN: Duration = Duration::from_secs(2);
/// How long an answer may take, and finding a server's address.
const ANSWER: Duration = Duration::from_millis(1500);
const ADDRESS: Duration = Duration::from_secs(10);
/// The pauses between rounds while a server is followed, as far as they grow (RFC 5905 § 7.3: poll, 6 to 10).
const POLL: [Duration; 2] = [Duration::from_secs(64), Duration::from_secs(1024)];
/// The same while none is: the way out may come up later than the Pi.
const SEARCH: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(256)];
/// A clock that was off by more is asked about again soon.
const CALM: i64 = 50_000_000;

/// What came of asking one server.
struct Asked {
    name: String,
    outcome: anyhow::Result<(IpAddr, Sample)>,
}

impl Server {
    /// Follows the time servers `names` for good.
    pub(crate) async fn follow(self: Rc<Self>, names: Vec<String>) {
        let mut said = BTreeMap::new();
        let mut pause = Duration::ZERO;
        loop {
            sleep(pause).await;
            let burst = if self.clock.get().follows.is_some() { 1 } else { BURST };
            let asking: Vec<_> = names.iter().map(|name| spawn_local(ask(name.clone(), burst))).collect();
            let mut asked = Vec::new();
            for one in asking {
                asked.extend(one.await.ok());
            }
            self.tell_changes(&asked, &mut said);
            let [first, last] = match self.judge(&asked, pause) {
                Ok(offset) => {
                    self.trouble.replace(None);
                    if offset.abs() > CALM { [POLL[0]; 2] } else { POLL }
                }
                Err(why) => {
                    self.troubled(why);
                    SEARCH
                }
            };
            pause = (pause * 2).clamp(first, last);
        }
    }

    /// Tells of each server whose outcome is another than the last time.
    fn tell_changes(&self, asked: &[Asked], said: &mut BTreeMap<String, Option<String>>) {
        for Asked { name, outcome } in asked {
            let fault = outcome.as_ref().err().map(|fault| format!("{fault:#}"));
            if said.get(name) != Some(&fault) {
                let event = match (&fault, outcome) {
                    (None, Ok((address, _))) => {
                        Event::ok(SERVICE, "answered").fact("address", address.to_string())
                    }
                    (fault, _) => Event::failed(SERVICE, "ask", fault.as_deref().unwrap_or_default()),
                };
                self.events.emit(event.fact("server", name.as_str()));
                said.insert(name.clone(), fault);
            }
        }
    }

    /// Corrects the clock by what the servers said. Gives by how many nanoseconds it was behind, or why it follows nobody.
    fn judge(&self, asked: &[Asked], pause: Duration) -> Result<i64, String> {
        let heard: Vec<_> = asked
            .iter()
            .filter_map(|one| {
                one.outcome.as_ref().ok().map(|(address, sample)| (&one.name, *address, *sample))
            })
            .collect();
        let samples: Vec<_> = heard.iter().map(|(_, _, sample)| *sample).collect();
        let best = agreed(&samples).and_then(|place| heard.get(place));
        let Some((name, address, sample)) = best else {
            return Err(match heard.len() {
                0 => format!("no time server answers ({} asked)", asked.len()),
                count => format!("the {count} time servers that answer do not agree"),
            });
        };
        self.correct(sample, pause).map_err(|why| format!("{name}: {why}"))?;
        self.follows(name, *address, sample)?;
        Ok(sample.offset)
    }

    fn correct(&self, sample: &Sample, pause: Duration) -> Result<(), String> {
        let (now, offset) = (unix(), sample.offset);
        let span = Duration::from_nanos(offset.unsigned_abs());
        let done = match self.clock.get().correction(now, offset) {
            Correction::Lead => kernel::lead(offset, pause, sample.distance),
            Correction::Step => {
                let time = if offset < 0 { now.saturating_sub(span) } else { now + span };
                self.step(time, Voucher::Upstream).and_then(|()| kernel::is_right(sample.distance))
            }
            Correction::Refuse => {
                let way = if offset < 0 { "ahead" } else { "behind" };
                return Err(format!(
                    "it has the clock {} s {way}, which is believed of an operator alone (`pilotctl clock --set`)",
                    span.as_secs()
                ));
            }
        };
        done.map_err(|fault| format!("the clock could not be corrected: {fault}"))
    }

    fn follows(&self, name: &str, address: IpAddr, sample: &Sample) -> Result<(), String> {
        let lead = Lead { reference: reference(address), ..sample.lead };
        let clock = self.clock.get();
        let is_new = clock.follows.is_none() || *self.followed.borrow() != name;
        self.clock.set(Clock { follows: Some(lead), ..clock });
        let path = self.arguments.set.display();
        self.vouched(Voucher::Upstream).map_err(|fault| format!("{path} could not be written: {fault}"))?;
        if is_new {
            name.clone_into(&mut self.followed.borrow_mut());
            let event = Event::ok(SERVICE, "follow").fact("server", name).fact("stratum", lead.stratum);
            self.events.emit(event.fact("behind-us", sample.offset / 1000));
        }
        Ok(())
    }

    /// Notes what is wrong, and tells it when it is something new.
    fn troubled(&self, why: String) {
        let kind = |why: &str| why.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        let known = self.trouble.replace(Some(why.clone()));
        if known.is_none_or(|known| kind(&known) != kind(&why)) {
            self.events.emit(Event::failed(SERVICE, "follow", why));
        }
    }
}

/// What a server is known by (RFC 5905 § 7.3: reference ID): its address, or what an IPv6 address comes to when its parts are
/// laid over each other. Nobody makes anything of it but who looks for a loop.
fn reference(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let octets = address.octets();
            let (parts, _) = octets.as_chunks::<4>();
            parts.iter().fold(0, |sum, part| sum ^ u32::from_be_bytes(*part)).to_be_bytes()
        }
    }
}

async fn ask(name: String, times: u32) -> Asked {
    let outcome = sampled(&name, times).await;
    Asked { name, outcome }
}

/// Asks the server `times`, and takes the answer that was the shortest time on its way; if none came, what the last
/// question came to.
async fn sampled(name: &str, times: u32) -> anyhow::Result<(IpAddr, Sample)> {
    let found = timeout(ADDRESS, lookup_host((name, PORT))).await;
    let found = found.context("nobody knows its address in time")?;
    let address = found.context("its address is not known")?.next().context("it has no address")?;
    let mut best: Option<Sample> = None;
    let mut last = Ok(());
    for number in 0..times {
        if number > 0 {
            sleep(BETWEEN).await;
        }
        match once(address).await {
            Ok(sample) if best.is_none_or(|best| sample.distance < best.distance) => best = Some(sample),
            Ok(_) => {}
            Err(fault) => last = Err(fault),
        }
    }
    match (best, last) {
        (Some(sample), _) => Ok((address.ip(), sample)),
        (None, Err(fault)) => Err(fault),
        (None, Ok(())) => Err(anyhow::anyhow!("it was not asked")),
    }
}

/// One question, from a port of its own.
async fn once(server: SocketAddr) -> anyhow::Result<Sample> {
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.context("no socket")?;
    socket.connect(server).await.context("there is no way to it")?;
    let mut bytes = [0; 8];
    getrandom(&mut bytes, GetRandomFlags::empty()).context("the kernel gave no random bytes")?;
    let number = u64::from_ne_bytes(bytes);
    let (sent, begun) = (unix(), Instant::now());
    socket.send(&question(number)).await.context("the question could not be sent")?;
    let answer = async {
        let mut packet = [0; LENGTH];
        loop {
            let length = socket.recv(&mut packet).await?;
            let took = begun.elapsed();
            let sample = read(packet.get(..length).unwrap_or_default(), number, sent, took);
            // Who answers something else may be anybody.
            if sample != Err(pilotlight_ntp::upstream::Useless::Foreign) {
                return Ok::<_, io::Error>((sample, took));
            }
        }
    };
    let (sample, took) =
        timeout(ANSWER, answer).await.context("it does not answer")?.context("it is not there")?;
    let sample = sample?;
    // The clock was set meanwhile: what it said when the question left no longer counts.
    let stepped = unix().abs_diff(sent + took) > Duration::from_secs(1);
    anyhow::ensure!(!stepped, "the clock was set while it was asked");
    Ok(sample)
}
