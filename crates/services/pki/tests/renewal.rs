//! A node that runs for long renews what it has, by what it has.

use pilotlight_lab::{Lab, Role};
use pilotlight_pki::{
    Answer, Arms, Authority, Caller, Clock, Desk, NotRenewed, Now, Purpose, Record, Request, TimeTrust,
    node_leaf,
};
use rcgen::{CertificateParams, KeyPair};
use ring::rand::SystemRandom;
use serde_json::json;

const GIVEN: u64 = 1_800_000_000;
const DAY: u64 = 86_400;
const MAC: &str = "52:54:00:77:00:02";
const ADDRESS: &str = "10.77.0.12";

fn lab() -> Lab {
    pilotlight_lab::parse(include_str!("../../../lab/examples/origin.toml")).expect("the example is a lab")
}

/// A request by a new key.
fn request() -> String {
    let key = KeyPair::generate().expect("a key");
    CertificateParams::default().serialize_request(&key).expect("a request").pem().expect("PEM")
}

struct Scene {
    lab: Lab,
    desk: Desk,
    request: String,
    /// What the node has, which begins at [`GIVEN`].
    certificate: String,
}

fn authority() -> Authority {
    Authority::make(GIVEN - DAY, &SystemRandom::new()).expect("an authority")
}

fn clock(days: u64) -> Clock {
    Clock { now: GIVEN + days * DAY, trust: TimeTrust::Trusted }
}

fn certificate(authority: &Authority, lab: &Lab, request: &str, node: &str, purpose: Purpose) -> String {
    let leaf = node_leaf(lab, lab.node_by_name(node).expect("a node"), purpose).expect("it has one");
    let request = Request::read(request.as_bytes()).expect("a request");
    authority.issue(&leaf, &request, clock(0), &SystemRandom::new()).expect("a certificate").chain
}

fn scene() -> Scene {
    let (lab, request, authority) = (lab(), request(), authority());
    let certificate = certificate(&authority, &lab, &request, "node2", Purpose::Kubelet);
    Scene { lab, desk: Desk { authority, arms: Arms::default() }, request, certificate }
}

impl Scene {
    /// What comes of it after so many days, with `changes` to the question of the node that has all that it takes.
    fn asks(&mut self, days: u64, changes: &[(&str, &str)]) -> (Answer, Option<Record>) {
        let mut question = json!({
            "ask": "renew", "mac": MAC, "address": ADDRESS, "purpose": "kubelet",
            "certificate": self.certificate, "request": self.request,
        });
        for (field, value) in changes {
            question[*field] = (*value).into();
        }
        let random = SystemRandom::new();
        let now = Now { boot: 7, clock: clock(days), lab: &self.lab, random: &random };
        self.desk.answer(question.to_string().as_bytes(), Caller::Wire, now)
    }

    /// Why nothing was given, and whether that is an alarm.
    fn refused(&mut self, days: u64, changes: &[(&str, &str)]) -> (String, bool) {
        match self.asks(days, changes) {
            (Answer::Refused { reason }, Some(Record::Refused(denial))) => {
                assert_eq!(reason, pilotlight_pki::OUTSIDE, "the wire hears why");
                (denial.reason, denial.alarm)
            }
            (_, record) => panic!("{record:?}"),
        }
    }
}

#[test]
fn a_node_that_was_never_armed_again_renews_what_it_has() {
    let mut scene = scene();
    let (Answer::Issued { chain }, Some(Record::Renewed(node, Purpose::Kubelet))) = scene.asks(300, &[])
    else {
        panic!("not renewed");
    };
    assert_eq!(node, "node2");
    assert_ne!(chain, scene.certificate);
    // Which is renewed in its turn, long after the first is over.
    let before = std::mem::replace(&mut scene.certificate, chain);
    assert!(matches!(scene.asks(600, &[]), (Answer::Issued { .. }, _)));
    assert_eq!(scene.refused(600, &[("certificate", &before)]).0, NotRenewed::Over.to_string());
}

#[test]
fn nobody_else_renews_it_and_it_gives_nothing_else() {
    let mut scene = scene();
    let (other_key, foreign) = (request(), authority());
    let other = |authority: &Authority, request: &str, node: &str, purpose: Purpose| {
        certificate(authority, &lab(), request, node, purpose)
    };
    let own = scene.request.clone();
    let cases = [
        (vec![("request", other_key.clone())], NotRenewed::AnotherKey),
        (vec![("certificate", other(&foreign, &own, "node2", Purpose::Kubelet))], NotRenewed::Foreign),
        (vec![("purpose", "kubelet-serving".to_owned())], NotRenewed::Another),
        (
            vec![("certificate", other(&scene.desk.authority, &own, "node3", Purpose::Kubelet))],
            NotRenewed::Another,
        ),
        (
            vec![("certificate", other(&scene.desk.authority, &own, "node1", Purpose::EtcdPeer))],
            NotRenewed::Foreign,
        ),
        (vec![("certificate", own.clone())], NotRenewed::Malformed),
        (vec![("certificate", String::new())], NotRenewed::Malformed),
    ];
    for (changes, expect) in cases {
        let changes: Vec<(&str, &str)> =
            changes.iter().map(|(field, value)| (*field, value.as_str())).collect();
        assert_eq!(scene.refused(300, &changes), (expect.to_string(), expect.alarm()), "{expect:?}");
    }
    for (days, expect) in [(0, NotRenewed::Early), (182, NotRenewed::Early), (366, NotRenewed::Over)] {
        assert_eq!(scene.refused(days, &[]), (expect.to_string(), false), "after {days} days");
    }
    let (words, alarm) = scene.refused(300, &[("address", "10.77.0.13")]);
    assert!(alarm && words.contains("from its own address alone"), "{words}");
    for (field, value, expect) in [
        ("mac", "52:54:00:77:00:99", "no node has this hardware address"),
        ("purpose", "service-account", "a key is not renewed"),
        ("purpose", "etcd-peer", "for controllers alone"),
        ("request", "x", "the request is no"),
    ] {
        let (words, _) = scene.refused(300, &[(field, value)]);
        assert!(words.contains(expect), "{field}: {words}");
    }
    assert!(matches!(scene.asks(300, &[]), (Answer::Issued { .. }, _)), "the node itself was shut out");
}

#[test]
fn what_the_lab_says_now_counts() {
    let mut scene = scene();
    let lab = lab();
    let node = scene.lab.nodes.iter_mut().find(|node| node.name == "node2").expect("a node");
    node.role = None;
    let (words, _) = scene.refused(300, &[]);
    assert!(words.contains("node2"), "{words}");
    scene.lab = lab.clone();
    scene.lab.nodes.retain(|node| node.name != "node2");
    assert_eq!(scene.refused(300, &[]).0, "no node has this hardware address");

    // A serving certificate says where the node is, too.
    let serving = certificate(&scene.desk.authority, &lab, &scene.request, "node2", Purpose::KubeletServing);
    scene.lab = lab.clone();
    let changes = [("certificate", serving.as_str()), ("purpose", "kubelet-serving")];
    assert!(matches!(scene.asks(300, &changes), (Answer::Issued { .. }, _)));
    let node = scene.lab.nodes.iter_mut().find(|node| node.name == "node2").expect("a node");
    node.address = Some("10.77.0.200".parse().expect("an address"));
    let changes = [changes[0], changes[1], ("address", "10.77.0.200")];
    assert_eq!(scene.refused(300, &changes).0, NotRenewed::Another.to_string());
}

#[test]
fn a_clock_that_nobody_trusts_renews_nothing() {
    let mut scene = scene();
    let question = json!({
        "ask": "renew", "mac": MAC, "address": ADDRESS, "purpose": "kubelet",
        "certificate": scene.certificate, "request": scene.request,
    });
    let random = SystemRandom::new();
    let clock = Clock { trust: TimeTrust::Untrusted, ..clock(300) };
    let now = Now { boot: 7, clock, lab: &scene.lab, random: &random };
    let (answer, _) = scene.desk.answer(question.to_string().as_bytes(), Caller::Wire, now);
    assert!(matches!(answer, Answer::Refused { .. }));
}

/// Each purpose of each node, as it was issued, and as a node of that role asks.
#[test]
fn every_certificate_can_be_renewed() {
    let (lab, authority, request) = (lab(), authority(), request());
    for node in &lab.nodes {
        for purpose in Purpose::ALL {
            let Ok(leaf) = node_leaf(&lab, node, purpose) else {
                assert!(
                    purpose == Purpose::ServiceAccount || node.role != Some(Role::Controller),
                    "{purpose:?}"
                );
                continue;
            };
            let shown = certificate(&authority, &lab, &request, &node.name, purpose);
            let read = Request::read(request.as_bytes()).expect("a request");
            let result = authority.renewable(&shown, &leaf, &read, clock(300));
            assert_eq!(result, Ok(()), "{} {purpose:?}", node.name);
        }
    }
}
