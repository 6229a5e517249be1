//! A machine that boots: from power-on through its firmware's DHCP, its loader and script by TFTP and its system by HTTP,
//! with whatever is wrong with it.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use pilotlight_emulator::fault::Random;
use pilotlight_lab::MacAddr;

use crate::{
    address::{Asking, News as AddressNews},
    content::Content,
    dhcp::{self, Answer},
    fetch::{self, Fetch, News as FetchNews},
    firmware::{self, Habits},
    plan::{Plan, Step, Trouble},
    tftp,
};

/// The first port that a firmware fetches from; each fetch has the next one.
const FIRST_PORT: u16 = 2070;
/// What iPXE's script waits before it asks the web server again.
const GET_PAUSE: Duration = Duration::from_secs(5);
/// How often it asks.
const GET_TRIES: u32 = 3;
/// How long a firmware that got nowhere is busy with the rest of its boot order before it is back.
const START_AGAIN: Duration = Duration::from_secs(10);

/// What happens to a machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// The time is what it is: at power-on, and at [`Machine::deadline`].
    Tick,
    /// A datagram came to its DHCP port.
    Dhcp(&'a [u8]),
    /// A datagram came to one of its other ports.
    Datagram {
        /// That port.
        to: u16,
        /// Where it came from.
        from: SocketAddrV4,
        /// What was in it.
        payload: &'a [u8],
    },
    /// The page that it wanted is there.
    Got(Content),
    /// It is not.
    NotGot,
}

/// What a machine does.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// It says this to everybody, from its DHCP port to the servers'.
    Broadcast(Vec<u8>),
    /// It has this address from now on, and the ports of any other are closed.
    Address(Ipv4Addr),
    /// It has no address any more.
    NoAddress,
    /// It sends a datagram.
    Datagram {
        /// Its own port.
        from: u16,
        /// Where to.
        to: SocketAddrV4,
        /// What is in it.
        payload: Vec<u8>,
    },
    /// It gets a page over HTTP. Say what came of it by [`Input::Got`] or [`Input::NotGot`].
    Get {
        /// The web server.
        server: Ipv4Addr,
        /// Path and query.
        target: String,
    },
}

/// How far a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not been switched on.
    Off,
    /// On its way.
    Booting,
    /// It has all that it wanted.
    Running,
    /// It has no power any more.
    Vanished,
    /// It has been started as often as it is.
    GaveUp,
}

/// A start that led nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// When the step began.
    pub since: Duration,
    /// When it gave up.
    pub at: Duration,
    /// What it was doing.
    pub stage: &'static str,
    /// Why it went no further.
    pub why: String,
}

#[derive(Debug)]
enum Doing {
    Nothing,
    Asking(Asking),
    Fetching { fetch: Fetch, port: u16, file: String, habits: Habits, required: bool, sizing: bool },
    Getting { target: String, tries: u32, again: Option<Duration> },
    Pausing(Duration),
}

/// A machine.
#[derive(Debug)]
pub struct Machine {
    mac: MacAddr,
    uuid: [u8; 16],
    plan: Plan,
    random: Random,
    standing: Standing,
    steps: VecDeque<Step>,
    names: VecDeque<String>,
    doing: Doing,
    stage_since: Duration,
    answer: Option<Answer>,
    port: u16,
    /// The last fetch, while it stays to repeat its acknowledgement.
    staying: Option<(Fetch, u16, Duration)>,
    vanishes_after: u64,
    flood: Option<Duration>,
    setbacks: Vec<Setback>,
    received: Vec<(String, Content)>,
    fault: Option<String>,
}

impl Machine {
    /// A machine that is off; `seed` decides what its firmware would roll dice for.
    pub fn new(mac: MacAddr, plan: Plan, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut uuid = [0x44; 16];
        uuid[10..].copy_from_slice(&mac.0);
        Self {
            mac,
            uuid,
            vanishes_after: 1 + random.below(20),
            random,
            plan,
            standing: Standing::Off,
            steps: VecDeque::new(),
            names: VecDeque::new(),
            doing: Doing::Nothing,
            stage_since: Duration::ZERO,
            answer: None,
            port: FIRST_PORT,
            staying: None,
            flood: None,
            setbacks: Vec::new(),
            received: Vec::new(),
            fault: None,
        }
    }

    /// Its hardware address.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Its plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How far it is.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The address that it has, and for how many seconds it was given.
    pub fn address(&self) -> Option<(Ipv4Addr, u32)> {
        self.answer.as_ref().map(|answer| (answer.address, answer.lease_s))
    }

    /// What it is doing.
    pub fn stage(&self) -> &'static str {
        match &self.doing {
            Doing::Nothing => "nothing",
            Doing::Asking(_) => "DHCP",
            Doing::Fetching { .. } => "TFTP",
            Doing::Getting { .. } => "HTTP",
            Doing::Pausing(_) => "starting again",
        }
    }

    /// The starts that led nowhere.
    pub fn setbacks(&self) -> &[Setback] {
        &self.setbacks
    }

    /// All that it received whole, by name, since it was started last.
    pub fn received(&self) -> &[(String, Content)] {
        &self.received
    }

    /// What a server did to it that no server may do.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// When it wants to be told the time.
    pub fn deadline(&self) -> Option<Duration> {
        if matches!(self.standing, Standing::Vanished | Standing::GaveUp) {
            return None;
        }
        let doing = match &self.doing {
            Doing::Nothing => None,
            Doing::Asking(asking) => Some(asking.deadline()),
            Doing::Fetching { fetch, .. } => Some(fetch.deadline()),
            Doing::Getting { again, .. } => *again,
            Doing::Pausing(until) => Some(*until),
        };
        doing.into_iter().chain(self.flood).min()
    }

    /// Tells it what happens.
    pub fn on(&mut self, now: Duration, input: Input<'_>) -> Vec<Output> {
        let mut out = Vec::new();
        match (self.standing, input) {
            (Standing::Vanished | Standing::GaveUp, _) => {}
            (Standing::Off, _) => self.power_on(now, &mut out),
            (_, Input::Tick) => self.tick(now, &mut out),
            (_, Input::Dhcp(payload)) => self.dhcp(now, payload, &mut out),
            (_, Input::Datagram { to, from, payload }) => self.datagram(now, to, from, payload, &mut out),
            (_, Input::Got(content)) => self.got(now, content, &mut out),
            (_, Input::NotGot) => self.not_got(now, &mut out),
        }
        out
    }

    fn power_on(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.standing = Standing::Booting;
        self.received.clear();
        self.answer = None;
        self.steps = self.plan.chain.steps().into();
        self.steps.extend((0..self.plan.system.len()).map(Step::GetSystem));
        if let Trouble::Floods(each) = self.plan.trouble {
            self.flood = Some(now + each);
        }
        self.next_step(now, out);
    }

    fn next_step(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.stage_since = now;
        let Some(step) = self.steps.pop_front() else {
            self.doing = Doing::Nothing;
            self.standing = Standing::Running;
            return;
        };
        match step {
            Step::Ask(firmware) => {
                let xid = self.random.next_u64() as u32;
                let (asking, question) = Asking::start(self.mac, self.uuid, firmware, xid, now);
                self.doing = Doing::Asking(asking);
                out.push(Output::Broadcast(question));
            }
            Step::Loader(habits) => {
                let file = self.answer.as_ref().map(|answer| answer.file.clone()).unwrap_or_default();
                let habits = self.plan.loader.unwrap_or(habits);
                self.fetch(now, file, habits, true, habits.size_first, out);
            }
            Step::Optional(habits, file) => self.fetch(now, file.to_owned(), habits, false, false, out),
            Step::Configuration => {
                self.names = self.configurations().into();
                self.next_name(now, out);
            }
            Step::GetBootFile => {
                let file = self.answer.as_ref().map(|answer| answer.file.clone()).unwrap_or_default();
                match file.strip_prefix("http://").and_then(|rest| rest.split_once('/')) {
                    Some((_, path)) => self.get(format!("/{path}"), out),
                    None => self.setback(now, format!("{file:?} is no URL"), out),
                }
            }
            Step::GetScript => self.get(format!("/ipxe?mac={}", self.mac.hyphenated()), out),
            Step::GetSystem(which) => {
                let target = self.plan.system.get(which).cloned().unwrap_or_default();
                self.get(target, out);
            }
        }
    }

    /// What PXELINUX looks for, most particular first.
    fn configurations(&self) -> Vec<String> {
        let u = |from: usize, to: usize| {
            self.uuid[from..to].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let uuid = format!("{}-{}-{}-{}-{}", u(0, 4), u(4, 6), u(6, 8), u(8, 10), u(10, 16));
        let address = self.address().map_or(0, |(address, _)| address.to_bits());
        let digits = format!("{address:08X}");
        let shorter = (1..=8).rev().map(|length| digits[..length].to_owned());
        let names = [uuid, format!("01-{}", self.mac.hyphenated())].into_iter().chain(shorter);
        names.chain(["default".to_owned()]).map(|name| format!("pxelinux.cfg/{name}")).collect()
    }

    fn next_name(&mut self, now: Duration, out: &mut Vec<Output>) {
        match self.names.pop_front() {
            Some(name) => self.fetch(now, name, firmware::PXELINUX, true, false, out),
            None => self.setback(now, "there is no configuration for PXELINUX".to_owned(), out),
        }
    }

    fn fetch(
        &mut self,
        now: Duration,
        file: String,
        habits: Habits,
        required: bool,
        sizing: bool,
        out: &mut Vec<Output>,
    ) {
        let (fetch, request) = Fetch::start(habits, &file, sizing, now);
        self.port = self.port.checked_add(1).unwrap_or(FIRST_PORT);
        let port = self.port;
        self.doing = Doing::Fetching { fetch, port, file, habits, required, sizing };
        self.say(port, tftp::PORT, request, out);
    }

    fn say(&self, from: u16, to: u16, payload: Vec<u8>, out: &mut Vec<Output>) {
        let server = self.answer.as_ref().map_or(Ipv4Addr::UNSPECIFIED, |answer| answer.next_server);
        out.push(Output::Datagram { from, to: SocketAddrV4::new(server, to), payload });
    }

    fn get(&mut self, target: String, out: &mut Vec<Output>) {
        self.doing = Doing::Getting { target: target.clone(), tries: 1, again: None };
        out.push(self.ask_web(target));
    }

    fn ask_web(&self, target: String) -> Output {
        let server = self.answer.as_ref().map_or(Ipv4Addr::UNSPECIFIED, |answer| answer.next_server);
        Output::Get { server, target }
    }

    fn tick(&mut self, now: Duration, out: &mut Vec<Output>) {
        if let (Some(at), Trouble::Floods(each)) = (self.flood, self.plan.trouble)
            && at <= now
        {
            self.flood = Some(now + each);
            self.spout(out);
        }
        match &mut self.doing {
            Doing::Nothing => {}
            Doing::Asking(asking) => {
                let news = asking.due(now);
                self.address_news(now, news, out);
            }
            Doing::Fetching { fetch, .. } => {
                let news = fetch.due(now);
                self.fetch_news(now, news, out);
            }
            Doing::Getting { target, again, .. } => {
                if again.is_some_and(|at| at <= now) {
                    *again = None;
                    let target = target.clone();
                    out.push(self.ask_web(target));
                }
            }
            Doing::Pausing(until) => {
                if *until <= now {
                    self.power_on(now, out);
                }
            }
        }
    }

    /// What a machine gone wild says.
    fn spout(&mut self, out: &mut Vec<Output>) {
        let xid = self.random.next_u64() as u32;
        let (_, question) = Asking::start(self.mac, self.uuid, &firmware::ROM, xid, Duration::ZERO);
        out.push(Output::Broadcast(question));
        if self.answer.is_some() {
            let from = 4096 + self.random.below(64) as u16;
            let request = tftp::read_request("undionly.kpxe", &[("blksize", 1456)]);
            self.say(from, tftp::PORT, request, out);
            self.say(self.port, tftp::PORT, tftp::acknowledgement(xid as u16), out);
        }
    }

    fn dhcp(&mut self, now: Duration, payload: &[u8], out: &mut Vec<Output>) {
        if let Doing::Asking(asking) = &mut self.doing {
            let news = asking.heard(now, payload);
            self.address_news(now, news, out);
        }
    }

    fn address_news(&mut self, now: Duration, news: AddressNews, out: &mut Vec<Output>) {
        match news {
            AddressNews::None => {}
            AddressNews::Say(payload) => out.push(Output::Broadcast(payload)),
            AddressNews::Bound(answer) => {
                out.push(Output::Address(answer.address));
                self.answer = Some(*answer);
                self.next_step(now, out);
            }
            AddressNews::GaveUp(why) => {
                self.setback(now, why.to_owned(), out);
            }
            AddressNews::Fault(fault) => self.blame(&fault),
        }
    }

    fn datagram(
        &mut self,
        now: Duration,
        to: u16,
        from: SocketAddrV4,
        payload: &[u8],
        out: &mut Vec<Output>,
    ) {
        if let Some((staying, port, until)) = &mut self.staying
            && *port == to
        {
            if now < *until
                && let FetchNews::Say(server, again) = staying.heard(now, from.port(), payload)
            {
                self.say(to, server, again, out);
            }
            return;
        }
        let Doing::Fetching { fetch, port, .. } = &mut self.doing else { return };
        if *port == to {
            let news = fetch.heard(now, from.port(), payload);
            self.fetch_news(now, news, out);
        }
    }

    fn fetch_news(&mut self, now: Duration, news: FetchNews, out: &mut Vec<Output>) {
        let Doing::Fetching { fetch, port, required, .. } = &self.doing else { return };
        let (port, required, blocks) = (*port, *required, fetch.blocks());
        let started = !matches!(news, FetchNews::None);
        match self.plan.trouble {
            Trouble::Vanishes if started && blocks >= self.vanishes_after => {
                self.standing = Standing::Vanished;
                return out.push(Output::NoAddress);
            }
            Trouble::NeverAcknowledges if matches!(&news, FetchNews::Say(to, _) if *to != tftp::PORT) => {
                return;
            }
            Trouble::NeverAcknowledges if matches!(news, FetchNews::Done(..)) => return,
            _ => {}
        }
        match news {
            FetchNews::None => {}
            FetchNews::Say(to, payload) => self.say(port, to, payload, out),
            FetchNews::Done(to, payload, content) => {
                self.say(port, to, payload, out);
                self.fetched(now, content, out);
            }
            FetchNews::Refused(1) if !self.names.is_empty() => self.next_name(now, out),
            FetchNews::Refused(1) if !required => self.next_step(now, out),
            FetchNews::Refused(code) => self.setback(now, format!("error {code}"), out),
            FetchNews::GaveUp => self.setback(now, format!("no more blocks came after {blocks}"), out),
            FetchNews::Fault(fault) => self.blame_fetch(&fault),
        }
    }

    fn fetched(&mut self, now: Duration, content: Content, out: &mut Vec<Output>) {
        let Doing::Fetching { fetch, port, file, habits, required, sizing } =
            std::mem::replace(&mut self.doing, Doing::Nothing)
        else {
            return;
        };
        if sizing {
            return self.fetch(now, file, habits, required, false, out);
        }
        self.names.clear();
        self.received.push((file, content));
        self.staying = fetch.stays(now).map(|until| (fetch, port, until));
        self.next_step(now, out);
    }

    fn got(&mut self, now: Duration, content: Content, out: &mut Vec<Output>) {
        if let Doing::Getting { target, again: None, .. } = &self.doing {
            self.received.push((target.clone(), content));
            self.next_step(now, out);
        }
    }

    fn not_got(&mut self, now: Duration, out: &mut Vec<Output>) {
        match &mut self.doing {
            Doing::Getting { tries, again, .. } if *tries < GET_TRIES => {
                *tries += 1;
                *again = Some(now + GET_PAUSE);
            }
            Doing::Getting { target, .. } => {
                let why = format!("the web server did not give {target}");
                self.setback(now, why, out);
            }
            _ => {}
        }
    }

    fn setback(&mut self, now: Duration, why: String, out: &mut Vec<Output>) {
        out.push(Output::NoAddress);
        self.setbacks.push(Setback { since: self.stage_since, at: now, stage: self.stage(), why });
        if self.setbacks.len() as u32 >= self.plan.starts {
            self.standing = Standing::GaveUp;
            self.doing = Doing::Nothing;
        } else {
            self.doing = Doing::Pausing(now + START_AGAIN);
        }
    }

    fn blame(&mut self, fault: &dhcp::Fault) {
        self.fault.get_or_insert_with(|| format!("DHCP: {fault}"));
    }

    fn blame_fetch(&mut self, fault: &fetch::Fault) {
        self.fault.get_or_insert_with(|| format!("TFTP: {fault}"));
    }
}
