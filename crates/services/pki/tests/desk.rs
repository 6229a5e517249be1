//! Lines as they come over the socket, and their answers.

use pilotlight_lab::{Arming, Lab};
use pilotlight_pki::{
    Answer, Arms, Authority, Caller, Clock, Closed, Desk, Now, OUTSIDE, Purpose, Question, Record, TimeTrust,
};
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use ring::rand::SystemRandom;
use serde_json::json;

fn lab() -> Lab {
    pilotlight_lab::parse(include_str!("../../../lab/examples/origin.toml")).expect("the example is a lab")
}

fn desk() -> Desk {
    let authority = Authority::make(1_700_000_000, &SystemRandom::new()).expect("an authority");
    Desk { authority, arms: Arms::default() }
}

fn say(desk: &mut Desk, caller: Caller, line: &serde_json::Value) -> (Answer, Option<Record>) {
    let (lab, random) = (lab(), SystemRandom::new());
    let clock = Clock { now: 1_800_000_000, trust: TimeTrust::Trusted };
    desk.answer(line.to_string().as_bytes(), caller, Now { boot: 100, clock, lab: &lab, random: &random })
}

fn purpose_of(line: &serde_json::Value) -> &str {
    line["purpose"].as_str().unwrap_or_default()
}

fn request() -> String {
    let key = KeyPair::generate().expect("a key");
    CertificateParams::default().serialize_request(&key).expect("a request").pem().expect("PEM")
}

fn refused(outcome: &(Answer, Option<Record>)) -> Option<(&str, &str, bool)> {
    match outcome {
        (Answer::Refused { reason }, Some(Record::Refused(denial))) => {
            Some((reason, &denial.reason, denial.alarm))
        }
        _ => None,
    }
}

/// Armed and with its token, it asks for the key of the service accounts.
fn asks_for_the_key(node: &str, mac: &str, address: &str) -> (Answer, Option<Record>) {
    let (mut desk, own) = (desk(), request());
    say(&mut desk, Caller::Operator, &json!({"ask": "arm", "node": node, "window": 600}));
    let fetch = json!({ "ask": "token", "mac": mac, "address": address, "request": own });
    let (Answer::Token { token }, _) = say(&mut desk, Caller::Wire, &fetch) else { panic!("no token") };
    let question = json!({
        "ask": "issue", "token": token, "mac": mac, "address": address, "purpose": "service-account",
        "request": own,
    });
    say(&mut desk, Caller::Wire, &question)
}

#[test]
fn the_key_of_the_service_accounts_is_for_controllers_and_never_plain() {
    let outcome = asks_for_the_key("node1", "52:54:00:77:00:01", "10.77.0.11");
    let (Answer::Issued { chain }, Some(Record::Issued(node, Purpose::ServiceAccount))) = &outcome else {
        panic!("{:?}", refused(&outcome));
    };
    assert_eq!(node, "node1");
    assert!(chain.starts_with("-----BEGIN CMS-----\n"), "{chain}");
    let outcome = asks_for_the_key("node2", "52:54:00:77:00:02", "10.77.0.12");
    let (told, record, _) = refused(&outcome).expect("a worker has no such key");
    assert!(told == OUTSIDE && record.contains("for controllers alone"), "{told}: {record}");
}

#[test]
fn an_armed_node_gets_its_certificate_once_and_the_wire_hears_no_reason() {
    let mut desk = desk();
    let (Answer::Armed { window: 600 }, Some(Record::Armed(node, Arming::Operator))) =
        say(&mut desk, Caller::Operator, &json!({"ask": "arm", "node": "node2", "window": 600}))
    else {
        panic!("not armed");
    };
    assert_eq!(node, "node2");
    let own = request();
    let fetch = json!({
        "ask": "token", "mac": "52:54:00:77:00:02", "address": "10.77.0.12", "request": own,
    });
    let (Answer::Token { .. }, Some(Record::Handed(_))) = say(&mut desk, Caller::Wire, &fetch) else {
        panic!("no token");
    };
    // The answer was lost: it gets another one, and the first counts no more.
    let (Answer::Token { token }, _) = say(&mut desk, Caller::Wire, &fetch) else { panic!("no other token") };
    for (field, value, alarm) in [
        ("address", "10.77.0.13", true),
        ("mac", "52:54:00:77:00:03", false),
        ("request", &request(), true),
        ("request", "none", false),
    ] {
        let mut other = fetch.clone();
        other[field] = value.into();
        let outcome = say(&mut desk, Caller::Wire, &other);
        assert_eq!(
            refused(&outcome).map(|(told, _, raised)| (told, raised)),
            Some((OUTSIDE, alarm)),
            "{field}"
        );
    }
    let question = json!({
        "ask": "issue", "token": token, "mac": "52:54:00:77:00:02", "address": "10.77.0.12", "purpose": "kubelet",
        "request": own,
    });
    let (Answer::Issued { chain: first }, Some(Record::Issued(..))) = say(&mut desk, Caller::Wire, &question)
    else {
        panic!("not issued");
    };
    let (Answer::Issued { chain: again }, Some(Record::Again(..))) = say(&mut desk, Caller::Wire, &question)
    else {
        panic!("not answered again");
    };
    assert_eq!(first, again);
    for (field, value, alarm) in [
        ("request", request(), true),
        ("address", "10.77.0.13".to_owned(), true),
        ("mac", "52:54:00:77:00:03".to_owned(), true),
        ("token", "0".repeat(64), false),
        ("token", "x".to_owned(), false),
        ("purpose", "etcd-peer".to_owned(), false),
        ("purpose", "root".to_owned(), false),
    ] {
        let mut other = question.clone();
        other[field] = value.into();
        let outcome = say(&mut desk, Caller::Wire, &other);
        let (told, record, raised) = refused(&outcome).unwrap_or_else(|| panic!("{field} was let through"));
        assert_eq!((told, raised), (OUTSIDE, alarm), "{field}: {record}");
        assert!(!record.contains(&token), "the record tells the token: {record}");
        // Whose name was used, and from where, for whoever looks.
        let Some(Record::Refused(denial)) = &outcome.1 else { panic!("not recorded") };
        let named = if field == "mac" { "node3" } else { "node2" };
        // What cannot be read at all names nobody.
        let named = (purpose_of(&other) != "root").then_some(named);
        assert_eq!(denial.node.as_deref(), named, "{field}");
        assert_eq!(denial.from.is_some(), named.is_some(), "{field}");
    }
    let (Answer::Token { token }, _) = say(&mut desk, Caller::Wire, &fetch) else { panic!("no third token") };
    let mut later = question;
    later["token"] = token.into();
    assert!(matches!(say(&mut desk, Caller::Wire, &later).1, Some(Record::Again(..))));
}

#[test]
fn a_node_without_a_part_in_the_cluster_is_not_armed() {
    let mut desk = desk();
    let text = include_str!("../../../lab/examples/one-node.toml");
    let lab = pilotlight_lab::parse(text).expect("a lab");
    let (clock, random) = (Clock { now: 1_800_000_000, trust: TimeTrust::Trusted }, SystemRandom::new());
    let node = lab.nodes.iter().find(|node| node.address.is_some()).expect("it has a node");
    assert!(!lab.is_enrolled(node));
    let line = json!({"ask": "arm", "node": node.name, "window": 600}).to_string();
    let now = Now { boot: 100, clock, lab: &lab, random: &random };
    let outcome = desk.answer(line.as_bytes(), Caller::Operator, now);
    assert!(refused(&outcome).is_some_and(|(told, ..)| told.contains("no part in a cluster")));
}

#[test]
fn without_an_authority_only_a_backup_helps() {
    let random = SystemRandom::new();
    let authority = Authority::make(1_700_000_000, &random).expect("an authority");
    let passphrase = "correct horse battery";
    let backup = pilotlight_pki::seal(&authority, passphrase, &random).expect("sealed");
    let backup = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, backup);
    let restore = |passphrase: &str| json!({"ask": "restore", "passphrase": passphrase, "backup": backup});
    let (right, wrong) = (restore(passphrase), restore("wrong horse battery"));
    let damaged = Closed { reason: "damaged".to_owned(), restorable: true };
    let forgetful = Closed { restorable: false, ..damaged.clone() };
    let (operator, public) = (Caller::Operator, json!({"ask": "public"}));
    for (closed, caller, line, told) in [
        (&damaged, operator, &right, None),
        (&damaged, operator, &wrong, Some("the passphrase is wrong, or the backup is damaged")),
        (&damaged, operator, &public, Some("damaged")),
        (&damaged, Caller::Wire, &right, Some(OUTSIDE)),
        (&damaged, Caller::Wire, &public, Some(OUTSIDE)),
        (&forgetful, operator, &right, Some("damaged")),
    ] {
        let (answer, record, brought) = closed.answer(line.to_string().as_bytes(), caller);
        assert_eq!(brought.is_some(), told.is_none(), "{line}");
        match told {
            None => assert!(answer == Answer::Restored && record == Some(Record::Keys("restore"))),
            Some(told) => assert!(answer == Answer::Refused { reason: told.to_owned() }, "{line}"),
        }
    }
}

#[test]
fn what_faces_the_wire_asks_for_certificates_alone() {
    let mut desk = desk();
    let backup = json!({"ask": "backup", "passphrase": "correct horse battery"});
    for line in [
        json!({"ask": "arm", "node": "node2", "window": 600}),
        json!({"ask": "kubeconfig"}),
        json!({"ask": "talos-secrets"}),
        json!({"ask": "booted", "node": "node2"}),
        backup.clone(),
        json!({"ask": "restore", "passphrase": "correct horse battery", "backup": ""}),
    ] {
        let outcome = say(&mut desk, Caller::Wire, &line);
        assert_eq!(refused(&outcome), Some((OUTSIDE, "it is not for whoever asks here", true)), "{line}");
    }
    let before = desk.authority.root_pem();
    let (Answer::Public { root, .. }, None) = say(&mut desk, Caller::Wire, &json!({"ask": "public"})) else {
        panic!("the certificates are for all");
    };
    assert_eq!(root, before);
    let (Answer::Backup { backup }, Some(Record::Keys("backup"))) = say(&mut desk, Caller::Operator, &backup)
    else {
        panic!("no backup");
    };
    let mut other = self::desk();
    let restore = json!({"ask": "restore", "passphrase": "correct horse battery", "backup": backup});
    assert!(say(&mut other, Caller::Operator, &restore).0 == Answer::Restored);
    assert_eq!(other.authority.root_pem(), before);
    let config = say(&mut other, Caller::Operator, &json!({"ask": "kubeconfig"}));
    assert!(matches!(config, (Answer::Kubeconfig { text }, _) if text.contains("kubernetes-admin@")));
}

#[test]
fn the_authorities_keys_leave_for_a_cluster_of_talos_alone() {
    let mut desk = desk();
    let cluster = "[kubernetes]\napi = \"10.77.0.11\"\n";
    let talos = "[profiles.t]\nkind = \"talos\"\nchannel = \"v1.11\"\n";
    let mut ask = |lab: &str| {
        let lab =
            pilotlight_lab::parse(&format!("[network]\naddress = \"10.77.0.1/24\"\n{lab}")).expect("a lab");
        let clock = Clock { now: 1_800_000_000, trust: TimeTrust::Untrusted };
        let now = Now { boot: 100, clock, lab: &lab, random: &SystemRandom::new() };
        desk.answer(br#"{"ask":"talos-secrets"}"#, Caller::Operator, now)
    };
    let other = ask(cluster);
    assert!(refused(&other).is_some_and(|(told, ..)| told.contains("of the kind `talos`")));
    let alone = ask(talos);
    assert!(refused(&alone).is_some_and(|(told, ..)| told.contains("forms no cluster")));
    assert!(matches!(
        ask(&format!("{cluster}{talos}")),
        (Answer::TalosSecrets { .. }, Some(Record::Keys("talos-secrets")))
    ));
}

#[test]
fn a_machine_that_boots_is_armed_where_its_profile_says_so() {
    let mut desk = desk();
    let itself = lab();
    let text = include_str!("../../../lab/examples/origin.toml");
    let operators = text.replace("arm = \"itself\"", "arm = \"operator\"");
    assert_ne!(operators, text);
    let operators = pilotlight_lab::parse(&operators).expect("a lab");
    let node = itself.node_by_name("node2").expect("it is there");
    let mut say = |lab: &Lab, caller, line: serde_json::Value| {
        let clock = Clock { now: 1_800_000_000, trust: TimeTrust::Trusted };
        let random = SystemRandom::new();
        desk.answer(line.to_string().as_bytes(), caller, Now { boot: 100, clock, lab, random: &random })
    };
    let booted = json!({"ask": "booted", "node": node.name});
    let fetch = json!({
        "ask": "token", "mac": node.mac.to_string(), "address": node.address, "request": request(),
    });
    // Only the witness is believed, and only what the profile allows is done.
    assert!(refused(&say(&itself, Caller::Wire, booted.clone())).is_some());
    assert!(say(&operators, Caller::Witness, booted.clone()) == (Answer::Noted, None));
    assert!(refused(&say(&itself, Caller::Wire, fetch.clone())).is_some());
    let noted = say(&itself, Caller::Witness, booted);
    assert!(noted == (Answer::Noted, Some(Record::Armed(node.name.clone(), Arming::Itself))));
    assert!(matches!(say(&itself, Caller::Wire, fetch.clone()).0, Answer::Token { .. }));
    assert!(refused(&say(&itself, Caller::Witness, fetch)).is_some());
}

#[test]
fn a_node_that_the_pi_switched_on_is_armed_where_its_profile_says_so() {
    let mut desk = desk();
    let itself = include_str!("../../../lab/examples/origin.toml");
    let [cycled, lab] = ["power-cycle", "operator"].map(|way| {
        let text = itself.replace("arm = \"itself\"", &format!("arm = \"{way}\""));
        assert_ne!(itself, text);
        pilotlight_lab::parse(&text).expect("a lab")
    });
    let mut say = |lab: &Lab, caller, line: serde_json::Value| {
        let clock = Clock { now: 1_800_000_000, trust: TimeTrust::Trusted };
        let random = SystemRandom::new();
        desk.answer(line.to_string().as_bytes(), caller, Now { boot: 100, clock, lab, random: &random })
    };
    let (on, booted) =
        (json!({"ask": "switched-on", "node": "node2"}), json!({"ask": "booted", "node": "node2"}));
    assert!(refused(&say(&cycled, Caller::Wire, on.clone())).is_some());
    assert!(say(&lab, Caller::Witness, on.clone()) == (Answer::Noted, None), "another way to arm it");
    assert!(say(&cycled, Caller::Witness, booted) == (Answer::Noted, None), "any boot arms it");
    let armed = say(&cycled, Caller::Witness, on);
    assert!(armed == (Answer::Noted, Some(Record::Armed("node2".to_owned(), Arming::PowerCycle))));
}

#[test]
fn a_fault_in_a_line_does_not_quote_it() {
    let fault = Question::read(br#"{"ask":"backup","passphrase":"secret words","secret":1}"#);
    assert!(fault.is_err_and(|fault| !fault.contains("secret")));
}

proptest! {
    #[test]
    fn no_line_but_a_right_one_gets_anything(line in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Question::read(&line).is_err());
    }
}
