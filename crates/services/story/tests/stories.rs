//! Situations in which a machine may be, as events, and what is told of each.

use std::fmt::Write as _;

use pilotlight_kit::Event;
use pilotlight_lab::Lab;
use pilotlight_story::{Machine, State, Story, When};
use proptest::prelude::*;

const LAB: &str = r#"
    [network]
    address = "10.77.0.1/24"
    domain = "lab.home.arpa"
    [network.pool]
    first = "10.77.0.100"
    last = "10.77.0.199"
    [[nodes]]
    name = "node1"
    mac = "52:54:00:00:00:11"
    address = "10.77.0.11"
    profile = "debian-installer"
    [[nodes]]
    name = "disk"
    mac = "52:54:00:00:00:12"
    address = "10.77.0.12"
    profile = "local-disk"
"#;

fn lab() -> Lab {
    pilotlight_lab::parse(LAB).unwrap()
}

/// A log that is written while the Pi's clock goes.
struct Log {
    events: Vec<Event>,
    now: When,
}

impl Log {
    fn new() -> Self {
        let now = When { unix_ms: 1_795_342_736_000, boot_ms: 41_200 };
        Self { events: Vec::new(), now }
    }

    fn wait(mut self, ms: u64) -> Self {
        self.now.unix_ms += ms;
        self.now.boot_ms += ms;
        self
    }

    fn put(mut self, mut event: Event) -> Self {
        self = self.wait(10);
        event.unix_ms = self.now.unix_ms;
        event.boot_ms = self.now.boot_ms;
        self.events.push(event);
        self
    }

    fn node1(self, event: Event) -> Self {
        self.put(event.mac("52:54:00:00:00:11".parse().unwrap()).node(Some("node1")))
    }

    fn dhcp(self, stage: &str, file: Option<&str>) -> Self {
        let event = Event::ok("dhcp", stage).fact("address", "10.77.0.11");
        let event = match file {
            Some(file) => event.fact("file", file),
            None => event,
        };
        self.node1(event)
    }

    fn given(self, file: Option<&str>) -> Self {
        self.dhcp("offer", file).dhcp("ack", file)
    }

    fn read(self, file: &str, bytes: u64) -> Self {
        let event = Event::ok("tftp", "read").fact("file", file).fact("bytes", bytes);
        self.node1(event.fact("address", "10.77.0.11"))
    }

    fn tftp(self, file: &str, bytes: u64) -> Self {
        let event = Event::ok("tftp", "sent").fact("file", file).fact("bytes", bytes).fact("ms", 310);
        self.read(file, bytes).wait(310).node1(event.fact("address", "10.77.0.11"))
    }

    fn tftp_error(self, file: &str, reason: &str) -> Self {
        self.node1(Event::failed("tftp", "error", reason).fact("file", file).fact("address", "10.77.0.11"))
    }

    fn http(self, path: &str, bytes: u64) -> Self {
        let event = Event::ok("http", "get").fact("path", path).fact("bytes", bytes).fact("status", 200);
        self.wait(1_500).node1(event.fact("ms", 1_500).fact("address", "10.77.0.11"))
    }

    fn http_error(self, path: &str, status: u16, reason: &str) -> Self {
        let event = Event::failed("http", "get", reason).fact("path", path).fact("status", status);
        self.node1(event.fact("bytes", 0).fact("address", "10.77.0.11"))
    }

    /// Firmware that has come as far as its iPXE's own script.
    fn scripted(self) -> Self {
        self.given(Some("undionly.kpxe"))
            .tftp("undionly.kpxe", 70_085)
            .given(Some("http://10.77.0.1/boot.ipxe"))
            .http("/boot.ipxe", 350)
            .http("/ipxe?mac=52-54-00-00-00-11", 1_900)
    }

    fn started(self) -> Self {
        self.scripted()
            .http("/assets/debian/13/amd64/linux", 8_000_000)
            .http("/assets/debian/13/amd64/initrd.gz", 40_000_000)
    }

    fn story(&self, wanted: &str, later_ms: u64) -> Story {
        let lab = lab();
        let machine = Machine::find(wanted, &lab).unwrap();
        let now = When { unix_ms: self.now.unix_ms + later_ms, boot_ms: self.now.boot_ms + later_ms };
        Story::of(machine, &self.events, &lab, now)
    }
}

/// Everything that can be said of node1 two hours after the log ends.
fn situations() -> Vec<(&'static str, Log)> {
    let drop = |kind: &str, reason: &str| Event::dropped("dhcp", "drop", reason).fact("kind", kind);
    let silent = "another DHCP server at 192.168.1.1 answers on eth0: not serving";
    let stranger = "52:54:00:00:00:99".parse().unwrap();
    let kernel = "/assets/debian/13/amd64/linux";
    let pool = Event::ok("dhcp", "ack").fact("address", "10.77.0.100");
    vec![
        ("nothing at all", Log::new()),
        ("another card's address", Log::new().put(pool.mac(stranger))),
        ("the guard is silent", Log::new().put(Event::dropped("dhcp", "silent", silent))),
        (
            "the guard was silent once",
            Log::new().put(Event::dropped("dhcp", "silent", silent)).put(Event::ok("dhcp", "probe")),
        ),
        (
            "silenced by the guard while it asks",
            Log::new()
                .put(Event::dropped("dhcp", "silent", silent))
                .node1(drop("silent", "not answered: another DHCP server at 192.168.1.1 is on this wire"))
                .node1(
                    drop("silent", "not answered: another DHCP server at 192.168.1.1 is on this wire")
                        .fact("times", 6),
                ),
        ),
        ("unknown and no pool", Log::new().node1(drop("unknown-machine", "no pool"))),
        ("the pool is empty", Log::new().node1(drop("pool-exhausted", "exhausted"))),
        (
            "offered again and again",
            (0..4).fold(Log::new(), |log, turn| log.dhcp("offer", Some("ipxe.efi")).wait(4_000 << turn)),
        ),
        (
            "another server's offer",
            Log::new()
                .dhcp("offer", Some("ipxe.efi"))
                .node1(drop("not-for-us", "the machine chose another DHCP server, 10.77.0.254")),
        ),
        (
            "no loader for it",
            Log::new().node1(Event::ok("dhcp", "offer").fact("address", "10.77.0.11").fact("no-loader", 11)),
        ),
        ("no loader fetched", Log::new().given(Some("ipxe.efi"))),
        (
            "an ack that was not written",
            Log::new().dhcp("offer", Some("ipxe.efi")).node1(
                Event::failed("dhcp", "ack", "the lease was not written: no space left on device")
                    .fact("address", "10.77.0.11"),
            ),
        ),
        (
            "refused its old address",
            Log::new().node1(
                Event::ok("dhcp", "nak")
                    .fact("address", "192.168.1.9")
                    .fact("message", "not an address of this network"),
            ),
        ),
        (
            "declined",
            Log::new()
                .given(Some("ipxe.efi"))
                .node1(Event::ok("dhcp", "decline").fact("address", "10.77.0.11")),
        ),
        ("a running system", Log::new().given(None)),
        ("stopped at the keyboard", Log::new().given(Some("ipxe.efi")).given(None)),
        (
            "a raspberry pi",
            Log::new()
                .node1(Event::ok("dhcp", "offer").fact("address", "10.77.0.11").fact("raspberry-pi", true))
                .node1(Event::ok("dhcp", "ack").fact("address", "10.77.0.11").fact("raspberry-pi", true)),
        ),
        (
            "beside another server",
            Log::new().node1(Event::ok("dhcp", "offer").fact("proxy", true).fact("file", "ipxe.efi")),
        ),
        (
            "the loader is not there",
            Log::new().given(Some("ipxe.efi")).tftp_error("ipxe.efi", "no such file"),
        ),
        (
            "the loader halfway",
            Log::new()
                .given(Some("ipxe.efi"))
                .read("ipxe.efi", 1_000_000)
                .tftp_error("ipxe.efi", "the client fell silent; last block 300 of 711"),
        ),
        (
            "asked how long the loader is",
            Log::new().given(Some("ipxe.efi")).read("ipxe.efi", 1_000_000).read("ipxe.efi", 1_000_000),
        ),
        ("secure boot", Log::new().given(Some("ipxe.efi")).tftp("ipxe.efi", 1_000_000)),
        ("a bios loader that hangs", Log::new().given(Some("undionly.kpxe")).tftp("undionly.kpxe", 70_085)),
        (
            "loader but no script",
            Log::new()
                .given(Some("ipxe.efi"))
                .tftp("ipxe.efi", 1_000_000)
                .given(Some("http://10.77.0.1/boot.ipxe")),
        ),
        (
            "the common script alone",
            Log::new()
                .given(Some("ipxe.efi"))
                .tftp("ipxe.efi", 1_000_000)
                .given(Some("http://10.77.0.1/boot.ipxe"))
                .http("/boot.ipxe", 350),
        ),
        (
            "a script that is refused",
            Log::new().given(Some("http://10.77.0.1/boot.ipxe")).http("/boot.ipxe", 350).http_error(
                "/ipxe?mac=52-54",
                400,
                "the mac in the query is no hardware address",
            ),
        ),
        ("no pxelinux configuration", {
            let log = Log::new()
                .given(Some("lpxelinux.0"))
                .tftp("lpxelinux.0", 90_000)
                .tftp("ldlinux.c32", 119_000);
            let names =
                ["01-52-54-00-00-00-11", "0A4D000B", "0A4D000", "0A4D00", "0A4D0", "0A4D", "0A4", "0A", "0"];
            names
                .iter()
                .fold(log, |log, name| log.tftp_error(&format!("pxelinux.cfg/{name}"), "no such file"))
        }),
        (
            "pxelinux and a kernel by TFTP halfway",
            Log::new()
                .given(Some("lpxelinux.0"))
                .tftp("lpxelinux.0", 90_000)
                .tftp_error("pxelinux.cfg/44454c4c-3000-1035-8051-b4c04f4d3532", "no such file")
                .tftp("pxelinux.cfg/01-52-54-00-00-00-11", 700)
                .read("debian/13/amd64/linux", 8_228_224)
                .wait(9_000)
                .tftp_error("debian/13/amd64/linux", "the client fell silent; last block 812 of 5844"),
        ),
        ("script and then nothing", Log::new().scripted()),
        ("no such kernel", Log::new().scripted().http_error(kernel, 404, "no such file")),
        (
            "kernel halfway",
            Log::new().scripted().node1(
                Event::failed("http", "get", "the connection ended after 3100000 of 8000000 bytes")
                    .fact("path", kernel)
                    .fact("status", 200)
                    .fact("bytes", 3_100_000),
            ),
        ),
        ("kernel without its initrd", Log::new().scripted().http(kernel, 8_000_000)),
        ("started and not heard of", Log::new().started()),
        ("a kernel without its configuration", Log::new().started().wait(20_000).given(None)),
        (
            "no configuration for it",
            Log::new().started().wait(20_000).given(None).http_error(
                "/node/52-54-00-00-00-11/preseed.cfg",
                404,
                "this node installs nothing",
            ),
        ),
        (
            "all fetched and never ready",
            Log::new().started().wait(20_000).given(None).http("/node/52-54-00-00-00-11/preseed.cfg", 2_100),
        ),
        (
            "ready",
            Log::new()
                .started()
                .wait(20_000)
                .given(None)
                .http("/node/52-54-00-00-00-11/preseed.cfg", 2_100)
                .wait(900_000)
                .node1(
                    Event::ok("http", "ready")
                        .fact("state", "running")
                        .fact("kernel", "6.12.48+deb13-amd64")
                        .fact("uptime", "41"),
                ),
        ),
        (
            "one disk mounted, one refused",
            Log::new()
                .started()
                .wait(20_000)
                .given(None)
                .http("/node/52-54-00-00-00-11/disks", 4_100)
                .node1(disk(Event::ok("http", "disk").fact("did", "formatted"), "state"))
                .node1(disk(Event::failed("http", "disk", "it is not blank"), "scratch")),
        ),
        ("a second boot", Log::new().started().wait(3_600_000).given(Some("undionly.kpxe"))),
        (
            "renewals tell nothing",
            (0..9).fold(Log::new().started().wait(20_000).given(None), |log, _| {
                log.wait(1_800_000).dhcp("ack", None)
            }),
        ),
    ]
}

fn disk(event: Event, purpose: &str) -> Event {
    event.fact("purpose", purpose).fact("serial", "S4X9NF0M")
}

#[test]
fn stories() {
    let mut text = String::new();
    for (name, log) in situations() {
        let _ = writeln!(text, "== {name}\n{}", log.story("node1", 7_200_000));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_machine_that_was_just_heard_of_is_under_way() {
    for (name, log) in situations() {
        let story = log.story("node1", 1_000);
        let expect = match name {
            "ready" => State::Ready,
            _ if story.steps.is_empty() => State::Unheard,
            _ => State::UnderWay,
        };
        assert_eq!(story.judgement.state, expect, "{name}");
    }
}

#[test]
fn machines_without_a_name_and_those_that_go_by_their_disk() {
    let mac = "52:54:00:00:00:99".parse().unwrap();
    let known = |log: Log, event: Event| log.put(event.mac(mac));
    // TFTP knows it by its address alone.
    let fetched = Event::ok("tftp", "sent").fact("file", "undionly.kpxe").fact("address", "10.77.0.100");
    let asks = |log| {
        known(log, Event::ok("dhcp", "ack").fact("address", "10.77.0.100").fact("file", "undionly.kpxe"))
    };
    let script =
        Event::ok("http", "get").fact("path", "/ipxe?mac=52-54-00-00-00-99").fact("address", "10.77.0.100");
    let log = known(asks(Log::new()).put(fetched.clone()), script);
    let mut text = log.story("52:54:00:00:00:99", 7_200_000).to_string();
    // The address is another machine's by now.
    let other =
        Event::ok("dhcp", "ack").fact("address", "10.77.0.100").mac("52:54:00:00:00:98".parse().unwrap());
    let log = log.put(other).put(fetched);
    text += &log.story("52-54-00-00-00-99", 7_200_000).to_string();
    let disk = "52:54:00:00:00:12".parse().unwrap();
    let script = Event::ok("http", "get").fact("path", "/ipxe?mac=52-54-00-00-00-12").mac(disk);
    text += &Log::new().put(script).story("disk", 7_200_000).to_string();
    text += &Machine::find("nodel", &lab()).unwrap_err().to_string();
    insta::assert_snapshot!(text);
}

proptest! {
    #[test]
    fn any_events_make_a_story(
        picks in proptest::collection::vec((0usize..1000, 0u64..100_000_000), 0..40), cut in 0usize..40,
    ) {
        let events: Vec<Event> = situations().into_iter().flat_map(|(_, log)| log.events).collect();
        let mut log = Log::new();
        for (pick, at) in picks {
            let mut event = events[pick % events.len()].clone();
            event.boot_ms = at;
            event.unix_ms = at;
            if pick % 7 == cut % 7 {
                event.facts.clear();
            }
            log.events.push(event);
        }
        let story = log.story("node1", 0);
        prop_assert!(story.to_string().lines().count() >= 2);
    }
}
