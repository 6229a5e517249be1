//! What is answered to whom, from bytes to bytes.

use std::{net::Ipv4Addr, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::A},
};
use pilotlight_dns::{
    Cache, Question, Refusal, Transport, Verdict, Zone, accept, cut, decide, fail, question, refuse, relay,
};
use proptest::prelude::*;

const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
domain = "lab.home.arpa"

[[nodes]]
name = "node1"
mac = "52:54:00:00:00:11"
address = "10.77.0.11"
"#;

fn zone() -> Zone {
    Zone::of(&pilotlight_lab::parse(LAB).unwrap(), 7).unwrap()
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload).set_version(0);
    message.set_edns(edns);
    message
}

fn reply(message: &Message) -> Message {
    match decide(&zone(), &message.to_vec().unwrap(), Transport::Udp, false) {
        Verdict::Reply(bytes, _) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{message:?}: {other:?}"),
    }
}

fn asks(message: &Message) -> Question {
    match decide(&zone(), &message.to_vec().unwrap(), Transport::Udp, true) {
        Verdict::Ask(question) => *question,
        other => panic!("{message:?}: {other:?}"),
    }
}

/// A name server's answer to what was asked of it.
fn answer(asked: &[u8], ttl: u32, addresses: &[[u8; 4]]) -> Message {
    let asked = Message::from_vec(asked).unwrap();
    let mut message = Message::response(asked.metadata.id, OpCode::Query);
    message.add_queries(asked.queries.iter().cloned());
    for address in addresses {
        let data = RData::A(A(Ipv4Addr::from(*address)));
        message.add_answer(Record::from_rdata(asked.queries[0].name().clone(), ttl, data));
    }
    message
}

#[test]
fn the_lab_s_names_are_answered_with_authority() {
    use RecordType::{A, AAAA, ANY, MX, NS, PTR, SOA};
    use ResponseCode::{NXDomain, NoError};
    let check = |name: &str, kind, code, expect: &[&str]| {
        let message = reply(&query(name, kind));
        let found: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
        assert_eq!(
            (message.metadata.response_code, found),
            (code, expect.iter().map(|text| (*text).to_owned()).collect()),
            "{name} {kind}"
        );
        let meta = message.metadata;
        assert!(meta.authoritative && !meta.recursion_available && meta.recursion_desired, "{name}");
        assert_eq!((meta.id, message.queries.len()), (0x1234, 1));
        // A denial says how long it may be kept (RFC 2308 § 3).
        let soa = message.authorities.iter().any(|record| record.record_type() == SOA);
        assert_eq!(soa, expect.is_empty(), "{name} {kind}");
    };
    check("node1.lab.home.arpa.", A, NoError, &["10.77.0.11"]);
    check("NODE1.Lab.home.arpa.", A, NoError, &["10.77.0.11"]);
    check("pilotlight.lab.home.arpa.", A, NoError, &["10.77.0.1"]);
    check("node1.lab.home.arpa.", ANY, NoError, &["10.77.0.11"]);
    check("node1.lab.home.arpa.", AAAA, NoError, &[]);
    check("node2.lab.home.arpa.", A, NXDomain, &[]);
    check("x.node1.lab.home.arpa.", A, NXDomain, &[]);
    check("lab.home.arpa.", NS, NoError, &["pilotlight.lab.home.arpa."]);
    check("lab.home.arpa.", MX, NoError, &[]);
    assert_eq!(reply(&query("lab.home.arpa.", SOA)).answers.len(), 1);
    check("11.0.77.10.in-addr.arpa.", PTR, NoError, &["node1.lab.home.arpa."]);
    check("1.0.77.10.in-addr.arpa.", PTR, NoError, &["pilotlight.lab.home.arpa."]);
    check("12.0.77.10.in-addr.arpa.", PTR, NXDomain, &[]);
    check("0.77.10.in-addr.arpa.", PTR, NoError, &[]);
    check("localhost.", A, NoError, &["127.0.0.1"]);
}

#[test]
fn local_names_go_nowhere_and_others_are_refused_or_asked_for() {
    for name in
        ["1.1.168.192.in-addr.arpa.", "1.1.77.10.in-addr.arpa.", "printer.local.", "x.home.arpa.", "a.test."]
    {
        for forwards in [false, true] {
            let bytes = query(name, RecordType::PTR).to_vec().unwrap();
            let Verdict::Reply(bytes, _) = decide(&zone(), &bytes, Transport::Udp, forwards) else {
                panic!("{name}")
            };
            let message = Message::from_vec(&bytes).unwrap();
            assert_eq!(message.metadata.response_code, ResponseCode::NXDomain, "{name}");
        }
    }
    let elsewhere = query("deb.debian.org.", RecordType::A);
    assert_eq!(reply(&elsewhere).metadata.response_code, ResponseCode::Refused);
    assert_eq!(asks(&elsewhere).name(), "deb.debian.org.");
    // Who does not want recursion is not given it.
    let mut iterative = elsewhere.clone();
    iterative.metadata.recursion_desired = false;
    let verdict = decide(&zone(), &iterative.to_vec().unwrap(), Transport::Udp, true);
    assert!(matches!(verdict, Verdict::Reply(..)), "{verdict:?}");
}

#[test]
fn what_is_no_question_is_told_so_or_ignored() {
    let code = |message: &Message| reply(message).metadata.response_code;
    let good = query("node1.lab.home.arpa.", RecordType::A);
    let mut two = good.clone();
    two.add_query(good.queries[0].clone());
    assert_eq!(code(&two), ResponseCode::FormErr);
    let mut update = good.clone();
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update), ResponseCode::NotImp);
    let mut chaos = good.clone();
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), ResponseCode::Refused);
    assert_eq!(code(&query("lab.home.arpa.", RecordType::AXFR)), ResponseCode::Refused);
    let mut later = with_edns(good.clone(), 1232);
    later.edns.as_mut().unwrap().set_version(1);
    assert_eq!(reply(&later).edns.unwrap().rcode_high(), 1, "BADVERS");

    let mut bytes = good.to_vec().unwrap();
    let Verdict::Reply(told, _) = decide(&zone(), &bytes[..bytes.len() - 3], Transport::Udp, false) else {
        panic!()
    };
    let told = Message::from_vec(&told).unwrap();
    assert_eq!((told.metadata.id, told.metadata.response_code), (0x1234, ResponseCode::FormErr));
    bytes[2] |= 0x80;
    for bytes in [&bytes[..], &bytes[..11], &[]] {
        assert!(matches!(decide(&zone(), bytes, Transport::Udp, true), Verdict::Ignore(_)));
    }
}

#[test]
fn what_is_too_long_is_cut_for_udp_alone() {
    let many: Vec<[u8; 4]> = (0..60).map(|last| [192, 0, 2, last]).collect();
    let length = |payload: Option<u16>, transport| {
        let plain = query("many.example.", RecordType::A);
        let message = payload.map_or(plain.clone(), |payload| with_edns(plain, payload));
        let Verdict::Ask(asked) = decide(&zone(), &message.to_vec().unwrap(), transport, true) else {
            panic!()
        };
        let bytes = relay(&asked, &answer(&question(&asked, 9), 60, &many));
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!(message.metadata.truncation, message.answers.is_empty());
        assert_eq!(message.edns.is_some(), payload.is_some());
        (bytes.len(), message.metadata.truncation)
    };
    assert!(length(None, Transport::Udp).1);
    assert!(length(Some(0), Transport::Udp).1);
    let (whole, cut) = length(Some(4096), Transport::Udp);
    assert!(!cut && whole <= 1232);
    assert!(!length(None, Transport::Tcp).1);
}

#[test]
fn only_the_answer_to_the_question_is_taken() {
    let asked = asks(&query("deb.debian.org.", RecordType::A));
    let sent = question(&asked, 77);
    let good = answer(&sent, 60, &[[192, 0, 2, 1]]);
    let check = |change: &dyn Fn(&mut Message), expect| {
        let mut message = good.clone();
        change(&mut message);
        assert_eq!(accept(&asked, 77, &message.to_vec().unwrap()).map(|_| ()), expect);
    };
    check(&|_| (), Ok(()));
    check(&|message| message.metadata.response_code = ResponseCode::NXDomain, Ok(()));
    check(&|message| message.metadata.id = 78, Err(Refusal::Other));
    check(&|message| message.metadata.message_type = MessageType::Query, Err(Refusal::Other));
    check(&|message| message.queries[0].name = Name::from_ascii("x.org.").unwrap(), Err(Refusal::Other));
    check(&|message| message.queries.clear(), Err(Refusal::Other));
    check(&|message| message.metadata.truncation = true, Err(Refusal::Cut));
    check(&|message| message.metadata.response_code = ResponseCode::ServFail, Err(Refusal::CannotTell));
    check(&|message| message.metadata.response_code = ResponseCode::Refused, Err(Refusal::CannotTell));
    assert_eq!(accept(&asked, 77, b"short").unwrap_err(), Refusal::Malformed);
    let failed = Message::from_vec(&fail(&asked)).unwrap();
    assert_eq!((failed.metadata.id, failed.metadata.response_code), (0x1234, ResponseCode::ServFail));
}

#[test]
fn an_answer_is_kept_as_long_as_it_holds() {
    let at = Duration::from_secs;
    let (asked, other) =
        (asks(&query("a.example.", RecordType::A)), asks(&query("A.EXAMPLE.", RecordType::A)));
    let mut cache = Cache::default();
    assert!(cache.get(&asked, at(0)).is_none());
    cache.put(&asked, &answer(&question(&asked, 1), 60, &[[192, 0, 2, 1]]), at(10));
    let kept = Message::from_vec(&cache.get(&other, at(30)).unwrap()).unwrap();
    assert_eq!((kept.answers[0].ttl, kept.queries[0].name().to_ascii()), (40, "A.EXAMPLE.".to_owned()));
    assert!(!kept.metadata.authoritative && kept.metadata.recursion_available);
    assert!(cache.get(&asked, at(70)).is_none());
    // Without a time it is not kept, nor a denial without an SOA.
    for message in [answer(&question(&asked, 1), 0, &[[192, 0, 2, 1]]), answer(&question(&asked, 1), 60, &[])]
    {
        cache.put(&asked, &message, at(100));
        assert!(cache.get(&asked, at(100)).is_none());
    }
    // It does not grow for ever: what ends first goes.
    for number in 0..5000_u32 {
        let asked = asks(&query(&format!("n{number}.example."), RecordType::A));
        cache.put(&asked, &answer(&question(&asked, 1), 60 + number, &[[192, 0, 2, 1]]), at(100));
    }
    let has = |cache: &mut Cache, number: u32| {
        cache.get(&asks(&query(&format!("n{number}.example."), RecordType::A)), at(101)).is_some()
    };
    assert!(!has(&mut cache, 903) && has(&mut cache, 904) && has(&mut cache, 4999));
}

#[test]
fn nobody_s_question_is_answered_with_more_than_it_is_worth() {
    for name in [
        "node1.lab.home.arpa.",
        "lab.home.arpa.",
        "deb.debian.org.",
        "a.very.long.name.that.nobody.has.example.",
    ] {
        for kind in [RecordType::A, RecordType::ANY, RecordType::TXT, RecordType::SOA] {
            for message in [query(name, kind), with_edns(query(name, kind), 4096)] {
                let asked = message.to_vec().unwrap();
                for (verdict, code, is_cut) in [
                    (refuse(&asked, Transport::Udp), ResponseCode::Refused, false),
                    (cut(&asked), ResponseCode::NoError, true),
                ] {
                    let Verdict::Reply(bytes, _) = verdict else { panic!("{verdict:?}") };
                    let answer = Message::from_vec(&bytes).unwrap();
                    assert!(bytes.len() <= asked.len());
                    assert_eq!((answer.metadata.response_code, answer.metadata.truncation), (code, is_cut));
                    assert_eq!(answer.queries, message.queries);
                }
            }
        }
    }
    // Somebody else's ANY is not even asked for.
    let answer = match decide(
        &zone(),
        &query("deb.debian.org", RecordType::ANY).to_vec().unwrap(),
        Transport::Udp,
        true,
    ) {
        Verdict::Reply(bytes, _) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    // Names that point at themselves, or ahead, or on and on.
    for pointers in
        [&[0xc0, 12][..], &[0xc0, 14, 0xc0, 12], &[0xc0, 200], &[1, b'a', 0xc0, 12], &[0xff, 0xff]]
    {
        let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let bytes = [&header[..], pointers, &[0, 1, 0, 1]].concat();
        let Verdict::Reply(answer, _) = decide(&zone(), &bytes, Transport::Udp, true) else {
            panic!("{pointers:?}")
        };
        assert_eq!((answer.len(), answer[3] & 15), (12, 1), "{pointers:?} is not well formed");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered_or_ignored(bytes in proptest::collection::vec(any::<u8>(), 0..600), tcp: bool) {
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        match decide(&zone(), &bytes, transport, true) {
            Verdict::Reply(answer, _) => {
                prop_assert_eq!(&answer[..2], &bytes[..2]);
                prop_assert!(answer[2] & 0x80 != 0);
                prop_assert!(answer.len() <= 1232 || tcp);
            }
            Verdict::Ask(asked) => {
                let _ = accept(&asked, 1, &bytes);
            }
            Verdict::Ignore(_) => {}
        }
    }
}
