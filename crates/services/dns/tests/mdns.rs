//! The Pi on its link: what it says, when, and to whom.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::A},
};
use pilotlight_dns::mdns::Responder;
use proptest::prelude::*;

const HOST: &str = "pilotlight.local.";
const SERVICE: &str = "_pilotlight._tcp.local.";
const INSTANCE: &str = "Pilotlight._pilotlight._tcp.local.";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 168, 1, 50], port))
}

fn responder() -> Responder {
    Responder::new(Ipv4Addr::new(10, 77, 0, 1), vec!["state=serving".into()], ms(0), 0).unwrap()
}

/// One whose names nobody has, and the time.
fn established() -> (Responder, Duration) {
    let mut responder = responder();
    while let Some(at) = responder.deadline() {
        responder.poll(at);
    }
    (responder, ms(5_000))
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn claim(name: &str, address: [u8; 4], ttl: u32) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, RData::A(A(address.into())))
}

fn said(messages: &[Vec<u8>]) -> Vec<Message> {
    messages.iter().map(|bytes| Message::from_vec(bytes).unwrap()).collect()
}

fn hear(responder: &mut Responder, message: &Message, port: u16, now: Duration) -> Option<Message> {
    let answer = responder.heard(&message.to_vec().unwrap(), (peer(port), true), now, 0)?;
    Some(Message::from_vec(&answer).unwrap())
}

fn kinds(records: &[Record]) -> Vec<RecordType> {
    records.iter().map(Record::record_type).collect()
}

#[test]
fn rfc6762_8_1_it_asks_three_times_and_then_announces_twice() {
    let mut responder = responder();
    let mut times = Vec::new();
    while let Some(at) = responder.deadline() {
        for message in said(&responder.poll(at)) {
            times.push((at.as_millis(), message.metadata.message_type));
            match message.metadata.message_type {
                MessageType::Query => {
                    assert_eq!(message.queries.len(), 2);
                    assert!(message.queries.iter().all(|query| u16::from(query.query_class()) == 0x8001));
                    assert_eq!(
                        kinds(&message.authorities),
                        [RecordType::A, RecordType::SRV, RecordType::TXT]
                    );
                }
                MessageType::Response => {
                    assert!(message.metadata.authoritative && message.metadata.id == 0);
                    let unique = |record: &Record| u16::from(record.dns_class) == 0x8001;
                    let classes: Vec<bool> = message.answers.iter().map(unique).collect();
                    assert_eq!(classes, [false, false, true, true, true, true]);
                }
            }
        }
    }
    let (asks, says) = (MessageType::Query, MessageType::Response);
    assert_eq!(times, [(0, asks), (250, asks), (500, asks), (750, says), (1750, says)]);
    assert!(responder.established());
}

#[test]
fn rfc6762_6_7_whoever_speaks_the_plain_dns_is_answered_alone() {
    let (mut responder, now) = established();
    let answer = hear(&mut responder, &query(HOST, RecordType::A), 40_000, now).unwrap();
    assert_eq!((answer.metadata.id, answer.queries.len()), (0x1234, 1));
    let [record] = &answer.answers[..] else { panic!("{answer:?}") };
    assert_eq!(
        (record.ttl, record.dns_class, record.data.to_string()),
        (10, DNSClass::IN, "10.77.0.1".into())
    );
    let answer = hear(&mut responder, &query("PilotLight.Local.", RecordType::ANY), 40_000, now).unwrap();
    assert_eq!(kinds(&answer.answers), [RecordType::A]);
    let answer = hear(&mut responder, &query(SERVICE, RecordType::PTR), 40_000, now).unwrap();
    assert_eq!(answer.answers[0].data.to_string(), INSTANCE);
    assert_eq!(kinds(&answer.additionals), [RecordType::SRV, RecordType::TXT, RecordType::A]);
    assert_eq!(hear(&mut responder, &query("printer.local.", RecordType::A), 40_000, now), None);
    assert_eq!(responder.deadline(), None, "nothing is said to all");
}

#[test]
fn all_hear_the_answer_to_a_question_to_all_and_not_the_same_again_at_once() {
    let (mut responder, now) = established();
    let question = query(HOST, RecordType::A);
    assert_eq!(hear(&mut responder, &question, 5353, now), None);
    assert_eq!(responder.deadline(), Some(now));
    let [answer] = &said(&responder.poll(now))[..] else { panic!() };
    assert_eq!((answer.metadata.id, kinds(&answer.answers)), (0, vec![RecordType::A]));
    hear(&mut responder, &question, 5353, now + ms(900));
    assert_eq!(responder.deadline(), None);
    hear(&mut responder, &question, 5353, now + ms(1000));
    assert_eq!(responder.poll(now + ms(1000)).len(), 1);
    // What others may answer as well is not said by all of them at once.
    hear(&mut responder, &query("_services._dns-sd._udp.local.", RecordType::PTR), 5353, now);
    assert_eq!(responder.deadline(), Some(now + ms(20)));
}

#[test]
fn rfc6762_5_4_an_answer_to_one_alone_where_the_others_have_heard_it_lately() {
    let (mut responder, now) = established();
    let mut question = query(HOST, RecordType::A);
    question.queries[0].set_query_class(DNSClass::from(0x8001));
    assert_eq!(kinds(&hear(&mut responder, &question, 5353, now).unwrap().answers), [RecordType::A]);
    assert_eq!(hear(&mut responder, &question, 5353, now + ms(60_000)), None);
    assert_eq!(responder.poll(now + ms(60_000)).len(), 1);
    // Somebody of another network would not believe an answer to it alone.
    let (mut responder, now) = established();
    let bytes = question.to_vec().unwrap();
    assert_eq!(responder.heard(&bytes, (peer(5353), false), now, 0), None);
    assert_eq!(responder.poll(now).len(), 1);
}

#[test]
fn rfc6762_7_1_what_the_asker_knows_is_not_said() {
    let (mut responder, now) = established();
    for (address, ttl, answered) in
        [([10, 77, 0, 1], 60, false), ([10, 77, 0, 1], 59, true), ([10, 77, 0, 2], 120, true)]
    {
        let mut question = query(HOST, RecordType::A);
        question.add_answer(claim(HOST, address, ttl));
        let mut responder_now = now;
        responder_now += ms(u64::from(ttl) * 10_000);
        hear(&mut responder, &question, 5353, responder_now);
        assert_eq!(!responder.poll(responder_now).is_empty(), answered, "{address:?} {ttl}");
    }
}

#[test]
fn rfc6762_6_1_there_is_nothing_else() {
    let (mut responder, now) = established();
    let answer = hear(&mut responder, &query(HOST, RecordType::AAAA), 40_000, now).unwrap();
    assert_eq!(kinds(&answer.answers), [RecordType::NSEC]);
    let answer = hear(&mut responder, &query(INSTANCE, RecordType::A), 40_000, now).unwrap();
    assert_eq!(kinds(&answer.answers), [RecordType::NSEC]);
    let answer = hear(&mut responder, &query(INSTANCE, RecordType::TXT), 40_000, now).unwrap();
    assert_eq!(answer.answers[0].data.to_string(), "state=serving");
}

#[test]
fn rfc6762_9_a_name_that_somebody_has_is_left_to_it() {
    let mut responder = responder();
    responder.poll(ms(0));
    let mut other = Message::response(0, OpCode::Query);
    other.add_answer(claim(HOST, [192, 168, 1, 7], 120));
    hear(&mut responder, &other, 40_000, ms(10));
    assert_eq!(responder.host(), HOST, "it came from another port");
    hear(&mut responder, &other, 5353, ms(10));
    assert_eq!((responder.host().as_str(), responder.established()), ("pilotlight-2.local.", false));
    while let Some(at) = responder.deadline() {
        responder.poll(at);
    }
    let answer =
        hear(&mut responder, &query("pilotlight-2.local.", RecordType::A), 40_000, ms(9_000)).unwrap();
    assert_eq!(kinds(&answer.answers), [RecordType::A]);
    assert_eq!(hear(&mut responder, &query(HOST, RecordType::A), 40_000, ms(9_000)), None);

    // One that comes later is asked about, and the name kept until it answers.
    let mut other = Message::response(0, OpCode::Query);
    other.add_answer(claim("pilotlight-2.local.", [192, 168, 1, 7], 0));
    hear(&mut responder, &other, 5353, ms(9_000));
    assert!(responder.established(), "a goodbye claims nothing");
    other.answers[0].ttl = 120;
    hear(&mut responder, &other, 5353, ms(9_000));
    assert_eq!((responder.host().as_str(), responder.established()), ("pilotlight-2.local.", false));
}

#[test]
fn rfc6762_8_2_of_two_that_ask_at_once_one_goes_on() {
    for (address, waits) in [([192, 168, 1, 7], true), ([10, 77, 0, 1], false), ([9, 0, 0, 1], false)] {
        let mut responder = responder();
        responder.poll(ms(0));
        let mut probe = query(HOST, RecordType::ANY);
        probe.add_authorities([claim(HOST, address, 120)]);
        assert_eq!(hear(&mut responder, &probe, 5353, ms(10)), None);
        let expect = if waits { 1010 } else { 250 };
        assert_eq!(
            (responder.deadline(), responder.host().as_str()),
            (Some(ms(expect)), HOST),
            "{address:?}"
        );
    }
}

#[test]
fn what_changes_is_announced_and_the_end_is_told() {
    let (mut responder, now) = established();
    responder.say(vec!["state=serving".into()], now);
    assert_eq!(responder.deadline(), None);
    responder.say(vec!["state=silent".into()], now);
    let [message] = &said(&responder.poll(now))[..] else { panic!() };
    assert!(message.answers.iter().any(|record| record.data.to_string() == "state=silent"));
    assert_eq!(responder.deadline(), Some(now + ms(1000)));
    let goodbye = Message::from_vec(&responder.goodbye().unwrap()).unwrap();
    assert!(goodbye.answers.len() == 6 && goodbye.answers.iter().all(|record| record.ttl == 0));
    assert_eq!(self::responder().goodbye(), None, "nothing was said");
}

proptest! {
    #[test]
    fn any_bytes_are_heard(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), port in prop_oneof![Just(5353), Just(40_000)],
        flips in proptest::collection::vec((0usize..200, any::<u8>()), 0..6), early: bool,
    ) {
        let (mut responder, now) = if early { (responder(), ms(0)) } else { established() };
        responder.heard(&bytes, (peer(port), early), now, 1);
        let mut good = query(INSTANCE, RecordType::ANY);
        good.add_answer(claim(HOST, [1, 2, 3, 4], 9));
        let mut good = good.to_vec().unwrap();
        for (at, byte) in flips {
            let at = at % good.len();
            good[at] = byte;
        }
        let answer = responder.heard(&good, (peer(port), early), now, 1);
        prop_assert!(answer.is_none_or(|answer| answer.len() < 700));
        prop_assert!(responder.poll(now + ms(200)).len() < 4);
    }
}
