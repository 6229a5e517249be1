//! What is fed.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::LazyLock,
    time::Duration,
};

use pilotlight_disk::{BlockMap, Mbr, Params, mbr};
use pilotlight_dns::{Cache, Question, Transport, Verdict, Zone, accept, decide, question, relay};
use pilotlight_http::{
    Dialogue, Next, Target as HttpTarget,
    head::LONGEST_HEAD,
    select::{Conditions, Selection, select},
    target::{pairs, texts},
};
use pilotlight_init::{
    dhcp::{Answer, Client},
    ext4::{self, Superblock},
    fetch,
    netroot::NetRoot,
};
use pilotlight_lab::{Lab, LabState, Versions};
use pilotlight_lab_state::{Intake, Wish, intake::Sender};
use pilotlight_tftp::{FromClient, Request, Step, Terms, Transfer};
use pilotlight_update::{Manifest, Message, Reply};

use crate::{dhcp, pki, power};

/// Something that takes whatever comes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Feeds it. The number says what kind of outcome it was.
    pub feed: fn(&[u8]) -> u64,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "dhcp-packet", feed: dhcp::packet },
    Target { name: "dhcp-server", feed: dhcp::server },
    Target { name: "dhcp-guard", feed: dhcp::guard },
    Target { name: "dhcp-arp", feed: dhcp::arp },
    Target { name: "dhcp-journal", feed: dhcp::journal },
    Target { name: "tftp-request", feed: tftp_request },
    Target { name: "tftp-transfer", feed: tftp_transfer },
    Target { name: "dns-question", feed: dns_question },
    Target { name: "dns-answer", feed: dns_answer },
    Target { name: "ntp", feed: ntp },
    Target { name: "ntp-answer", feed: ntp_answer },
    Target { name: "http-request", feed: http_request },
    Target { name: "http-target", feed: http_target },
    Target { name: "http-range", feed: http_range },
    Target { name: "boot-script", feed: boot_script },
    Target { name: "lab", feed: lab },
    Target { name: "update", feed: update },
    Target { name: "card", feed: card },
    Target { name: "pki-request", feed: pki::request },
    Target { name: "pki-token", feed: pki::token },
    Target { name: "pki-question", feed: pki::question },
    Target { name: "pki-certificate", feed: pki::certificate },
    Target { name: "index", feed: index },
    Target { name: "lab-state", feed: lab_state },
    Target { name: "wish", feed: wish },
    Target { name: "handover", feed: handover },
    Target { name: "event", feed: event },
    Target { name: "node-line", feed: node_line },
    Target { name: "node-lease", feed: node_lease },
    Target { name: "node-answer", feed: node_answer },
    Target { name: "power-answer", feed: power::answer },
    Target { name: "power-device", feed: power::device },
    Target { name: "power-question", feed: power::question },
];

/// A lab with a pool and two machines, of which one is reserved an address.
pub(crate) static LAB: LazyLock<Lab> = LazyLock::new(|| {
    // And a machine that is known by what the corpus of `dhcp-server` says of itself.
    let known = "[[nodes]]\nname = \"known\"\nuuid = \"00010203-0405-0607-0809-0a0b0c0d0e0f\"\naddress = \"10.77.0.66\"\n";
    let text = format!("{}\n{known}", include_str!("../../labs/scene.toml"));
    pilotlight_lab::parse(&text).unwrap_or_else(|problems| panic!("the scenes' lab is wrong: {problems}"))
});

/// Who may tell the log something.
static INTAKE: LazyLock<Intake> =
    LazyLock::new(|| Intake::new([Sender { uid: 903, service: Some("http".to_owned()) }]));

/// What the name server knows of that lab.
static ZONE: LazyLock<Zone> = LazyLock::new(|| {
    Zone::of(&LAB, 1).unwrap_or_else(|fault| panic!("the scenes' lab has no zone: {fault}"))
});

/// A question for another name server.
static ASKED: LazyLock<Question> = LazyLock::new(|| {
    let bytes = include_bytes!("../corpus/dns-question/elsewhere");
    match decide(&ZONE, bytes, Transport::Udp, true) {
        Verdict::Ask(question) => *question,
        other => panic!("nobody else is asked: {other:?}"),
    }
});

pub(crate) fn kind(outcome: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    outcome.hash(&mut hasher);
    hasher.finish()
}

/// The text without its numbers and addresses: what kind of thing it says.
pub(crate) fn words(text: &str) -> String {
    text.split(|sign: char| !sign.is_ascii_alphabetic()).filter(|word| word.len() > 2).collect()
}

/// Messages one after the other, each behind its length in two bytes.
pub(crate) fn messages(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let (message, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)).min(behind.len()));
        rest = behind;
        Some(message)
    })
}

/// Every answer can be read, and is about the question.
fn dns_question(input: &[u8]) -> u64 {
    match decide(&ZONE, input, Transport::Udp, true) {
        Verdict::Ignore(reason) => kind(reason),
        Verdict::Reply(answer, word) => {
            assert!(answer.len() <= 1232, "an answer of {} bytes", answer.len());
            assert!(answer.get(..2) == input.get(..2), "an answer to another question");
            // What is an answer is ignored.
            assert!(matches!(decide(&ZONE, &answer, Transport::Udp, true), Verdict::Ignore(_)));
            kind((word, answer.get(3).map(|byte| byte & 15), answer.len() / 64))
        }
        Verdict::Ask(asked) => {
            assert!(!question(&asked, 1).is_empty(), "a question that cannot be asked");
            kind((asked.name().len() / 16, asked.name().contains('\\')))
        }
    }
}

/// What another name server says, kept and passed on.
fn dns_answer(input: &[u8]) -> u64 {
    // The number that the answers of the corpus have.
    const ID: u16 = 0x4d4d;
    match accept(&ASKED, ID, input) {
        Err(refusal) => kind(format!("{refusal:?}")),
        Ok(message) => {
            let mut cache = Cache::default();
            cache.put(&ASKED, &message, Duration::ZERO);
            let kept = cache.get(&ASKED, Duration::from_secs(1)).map(|answer| answer.len() / 64);
            kind((kept, relay(&ASKED, &message).len() / 64, message.answers.len(), message.authorities.len()))
        }
    }
}

fn ntp(input: &[u8]) -> u64 {
    let at = Duration::from_secs(1_800_000_000);
    let set = pilotlight_ntp::clock::Set { at, by: pilotlight_ntp::clock::Voucher::Operator };
    let clock = pilotlight_ntp::Clock { set: (input.len() % 2 == 1).then_some(set), follows: None };
    match pilotlight_ntp::reply(input, clock, at, at) {
        Err(ignored) => kind(ignored.word()),
        Ok(answer) => {
            assert!(answer.len() <= input.len(), "an answer that is longer than its question");
            assert!(pilotlight_ntp::reply(&answer, clock, at, at).is_err(), "an answer that is answered");
            kind((answer[0], answer[1]))
        }
    }
}

/// An answer to a question with whatever number the answer has: what is made of it can be followed.
fn ntp_answer(input: &[u8]) -> u64 {
    use pilotlight_ntp::{Clock, upstream};
    let number = input.get(24..32).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    let at = Duration::from_secs(1_800_000_000);
    match upstream::read(input, number, at, Duration::from_millis(20)) {
        Err(useless) => kind(useless.to_string()),
        Ok(sample) => {
            assert_eq!(upstream::agreed(&[sample]), Some(0), "a server that does not agree with itself");
            kind((Clock::default().correction(at, sample.offset) as u8, sample.lead.stratum))
        }
    }
}

fn tftp_request(input: &[u8]) -> u64 {
    let client = FromClient::parse(input).map(|packet| format!("{packet:?}").len().min(40));
    match Request::parse(input) {
        Err(refusal) => kind((refusal.reason(), client)),
        Ok(request) => {
            let terms = Terms::agree(&request.options, Some(1 << 20), 0);
            assert!((8..=65_464).contains(&terms.block_size) && terms.window > 0, "{terms:?}");
            kind((
                format!("{:?}", request.mode),
                terms.oack.map(|oack| words(&String::from_utf8_lossy(&oack))),
                client,
            ))
        }
    }
}

/// A request, and then the client's packets as they come; a packet of no bytes is time that passes.
fn tftp_transfer(input: &[u8]) -> u64 {
    let mut packets = messages(input);
    let Some(Ok(request)) = packets.next().map(Request::parse) else { return 0 };
    let length = 100_000;
    let terms = Terms::agree(&request.options, Some(length), 0);
    let (mut transfer, mut step) = Transfer::start(&terms, Some(length), Duration::ZERO);
    let mut now = Duration::ZERO;
    let mut story = Vec::new();
    for packet in packets {
        story.push(words(&format!("{step:?}")));
        if matches!(step, Step::Finished | Step::Stopped { .. } | Step::GaveUp) {
            break;
        }
        step = match FromClient::parse(packet) {
            Some(packet) => transfer.on_packet(packet, now),
            None => {
                now = transfer.deadline().max(now);
                transfer.on_timer(now)
            }
        };
        let (acked, total) = transfer.progress();
        assert!(total.is_none_or(|total| acked <= total), "{acked} of {total:?} blocks have arrived");
    }
    kind(story)
}

/// A connection, however it is cut into segments: the first byte says how.
fn http_request(input: &[u8]) -> u64 {
    let Some((cut, bytes)) = input.split_first() else { return 0 };
    let whole = http_story(bytes, LONGEST_HEAD);
    assert_eq!(whole, http_story(bytes, usize::from(*cut) + 1), "the segments make a difference");
    kind(whole)
}

fn http_story(bytes: &[u8], cut: usize) -> Vec<String> {
    let (mut dialogue, mut rest, mut story) = (Dialogue::default(), bytes, Vec::new());
    loop {
        match dialogue.proceed() {
            Next::More => {
                let room = dialogue.room();
                assert!(room > 0, "more is wanted than there is room for");
                let (piece, behind) = rest.split_at(cut.min(room).min(rest.len()));
                if piece.is_empty() {
                    return story;
                }
                dialogue.received(piece);
                rest = behind;
            }
            Next::Answer(request) => {
                assert!(request.target.len() <= LONGEST_HEAD, "a target longer than a head");
                let asks =
                    (request.range.is_some(), request.if_range.is_some(), request.if_none_match.is_some());
                let body = words(&format!("{:?}", request.body));
                story.push(format!(
                    "{} {} {} {asks:?} {body}",
                    request.method.name().len(),
                    request.old,
                    request.keep
                ));
            }
            Next::Refuse(fault) => {
                story.push(fault.reason().to_owned());
                return story;
            }
            Next::End => {
                story.push("end".to_owned());
                return story;
            }
        }
    }
}

fn http_target(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let (path, query) = text.split_once('?').map_or((&*text, None), |(path, query)| (path, Some(query)));
    // What may stand where a line means something has no line of its own.
    let read = pairs(query.unwrap_or_default());
    assert!(
        read.iter().all(|(name, value)| !format!("{name}{value}").chars().any(char::is_control)),
        "{read:?}"
    );
    assert!(read.len() <= texts(query.unwrap_or_default()).len());
    match HttpTarget::parse(path, query) {
        Ok(target) => kind((words(&format!("{target:?}")).len().min(20), target.mac().is_some())),
        Err(fault) => kind(words(&fault.to_string())),
    }
}

/// Three headers, a line each.
fn http_range(input: &[u8]) -> u64 {
    const LENGTH: u64 = 1_000;
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n').map(|line| (!line.is_empty()).then_some(line));
    let mut line = || lines.next().flatten();
    let selection =
        select(Conditions { range: line(), if_range: line(), if_none_match: line() }, "\"tag\"", LENGTH);
    match selection {
        Selection::Whole => 1,
        Selection::Part(part) => {
            assert!(part.start < part.end && part.end <= LENGTH, "{part:?} of {LENGTH}");
            kind((part.start == 0, part.end == LENGTH))
        }
        Selection::NotModified => 3,
        Selection::Unsatisfiable => 4,
    }
}

/// The name of a file for PXELINUX, U-Boot or GRUB.
fn boot_script(input: &[u8]) -> u64 {
    let name = String::from_utf8_lossy(input);
    let pxelinux = pilotlight_boot::pxelinux_config(&LAB, &name);
    assert_eq!(pilotlight_boot::u_boot_config(&LAB, &name).is_some(), pxelinux.is_some(), "the same names");
    let grub = pilotlight_boot::grub_config(&LAB, &name);
    kind((pxelinux.map(|text| text.len()), grub.map(|text| text.len())))
}

/// A lab that is good makes every script; of one that is not, each mistake is shown.
fn lab(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    match pilotlight_lab::parse(&text) {
        Ok(lab) => {
            let scripts = [pilotlight_boot::boot_ipxe(&lab), pilotlight_boot::autoexec_ipxe(&lab)];
            let nodes: usize = lab
                .nodes
                .iter()
                .map(|node| pilotlight_boot::ipxe_script(&lab, Some(node.mac)).len().min(1_000))
                .sum();
            assert!(scripts.iter().all(|script| script.starts_with("#!ipxe")), "no script");
            kind((lab.nodes.len().min(4), nodes, lab.profiles.len().min(4)))
        }
        Err(problems) => {
            assert!(
                problems.count() > 0 && !problems.render("lab.toml", &text, false).is_empty(),
                "no mistake"
            );
            kind(problems.iter().map(|problem| words(&problem.message)).take(3).collect::<Vec<_>>())
        }
    }
}

/// What the update service is sent, and what it answers.
fn update(input: &[u8]) -> u64 {
    let message = pilotlight_update::read::<Message>(&mut &*input);
    let reply = pilotlight_update::read::<Reply>(&mut &*input);
    let manifest = message.as_ref().ok().and_then(|message| match message {
        Message::Offer(manifest) => {
            Some(Manifest::check(manifest).map_err(|fault| words(&fault.to_string())))
        }
        _ => None,
    });
    let shown = |fault: String| words(&fault).chars().take(60).collect::<String>();
    let message = message.map(|message| words(&format!("{message:?}")).len().min(30));
    let reply = reply.map(|reply| words(&format!("{reply:?}")).len().min(30));
    kind((
        message.map_err(|fault| shown(fault.to_string())),
        reply.map_err(|fault| shown(fault.to_string())),
        manifest,
    ))
}

/// What is read off a card before anything on it can be believed.
fn card(input: &[u8]) -> u64 {
    let table = input.get(..mbr::LEN).map(|sector| match Mbr::parse(sector) {
        Ok(table) => {
            let again = Mbr::parse(&table.encode());
            assert_eq!(again.as_ref().ok(), Some(&table), "written again it is another table");
            words(&format!("{:?}{:?}", table.trial, table.active_slot().map_err(|fault| fault.to_string())))
        }
        Err(fault) => words(&fault.to_string()),
    });
    let superblock = input.first_chunk::<{ ext4::LENGTH }>().map(|bytes| match Superblock::parse(bytes) {
        Ok(found) => (found.grown(1 << 40).is_some(), found.torn, found.damaged, String::new()),
        Err(fault) => (false, false, false, words(&fault.to_string())),
    });
    let text = String::from_utf8_lossy(input);
    let parameters = Params::parse(&text).map_err(|fault| words(&fault.to_string()));
    let map =
        BlockMap::parse(&text).map(|map| map.ranges.len().min(4)).map_err(|fault| words(&fault.to_string()));
    kind((table, superblock, parameters.map(|found| found.slot.name()), map))
}

/// What has become of the nodes, as a damaged card may have it.
fn lab_state(input: &[u8]) -> u64 {
    match LabState::parse(&String::from_utf8_lossy(input)) {
        Ok(state) => {
            assert_eq!(LabState::parse(&state.text()).as_ref(), Ok(&state), "it is read as it is written");
            let lab = state.applied(&LAB);
            kind(lab.nodes.iter().map(|node| (node.installed, node.channel.clone())).collect::<Vec<_>>())
        }
        Err(fault) => kind(words(&fault.to_string())),
    }
}

/// What an operator asks of the lab's state.
fn wish(input: &[u8]) -> u64 {
    kind(Wish::parse(&String::from_utf8_lossy(input)).map(|wish| std::mem::discriminant(&wish)))
}

/// What a desk that was taken over hands to the Pi: acts on a lock lead nowhere but beneath the folder.
fn handover(mut input: &[u8]) -> u64 {
    use pilotlight_mirror::{Act, Here, handover};
    match handover::read_question(&mut input) {
        Err(fault) => kind(fault.to_string().split(':').next().map(str::to_owned)),
        Ok(handover::Question::Look) => kind("look"),
        Ok(handover::Question::Take(lock)) => {
            let acts = Here::default().acts(&lock);
            for act in &acts {
                if let Act::Place { path, .. } = act {
                    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.');
                    assert!(path.split('/').all(is_plain), "{path} leads elsewhere");
                }
            }
            assert_eq!(pilotlight_mirror::Lock::parse(&lock.text()).ok().as_ref(), Some(&lock));
            kind((acts.len().min(8), lock.images.len().min(2), lock.files.len().min(2)))
        }
    }
}

/// What a daemon that was taken over tells the log.
fn event(input: &[u8]) -> u64 {
    let Ok(lines) = INTAKE.lines(input, Some(903)) else { return kind(0) };
    let each = lines.map(|taken| {
        taken
            .map(|taken| {
                let one = taken.line.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!((one, taken.line.last()), (1, Some(&b'\n')), "an event is one line");
                taken.installs.is_some()
            })
            .map_err(|refusal| refusal.reason())
    });
    kind(each.collect::<Vec<_>>())
}

/// The index of the systems that the Pi has.
fn index(input: &[u8]) -> u64 {
    match Versions::parse(&String::from_utf8_lossy(input)) {
        Ok(versions) => {
            assert_eq!(
                Versions::parse(&versions.index()).as_ref(),
                Ok(&versions),
                "it is read as it is written"
            );
            kind((versions.channels.len(), versions.files.len()))
        }
        Err(fault) => kind(words(&fault.to_string())),
    }
}

/// The command line of a node.
fn node_line(input: &[u8]) -> u64 {
    match NetRoot::parse(&String::from_utf8_lossy(input)) {
        Ok(root) => kind(root.map(|root| (root.mac.is_some(), format!("{:?}", root.provisioner)))),
        Err(fault) => kind(words(&fault.to_string())),
    }
}

/// What a DHCP server says to a node.
fn node_lease(input: &[u8]) -> u64 {
    let client = Client { mac: [0x52, 0x54, 0, 0x77, 0, 0x21], transaction: u32::from_be_bytes(*b"node") };
    match client.answer(input) {
        None => 0,
        Some(Answer::Nak) => 1,
        Some(Answer::Offer(lease)) => kind((2, lease.prefix)),
        Some(Answer::Ack(lease)) => {
            assert!(lease.prefix <= 32, "{lease:?}");
            kind((3, lease.prefix))
        }
    }
}

/// What a web server says to a node.
fn node_answer(input: &[u8]) -> u64 {
    match fetch::head(input) {
        Ok(None) => 0,
        Ok(Some(head)) => {
            assert!(head.length <= input.len(), "a head longer than what came: {head:?}");
            kind((1, head.from == 0))
        }
        Err(fault) => kind(words(&fault.to_string())),
    }
}
