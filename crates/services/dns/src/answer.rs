//! From a question's bytes to an answer's, or to the word that somebody else has to be asked.

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Record, RecordType},
};

use crate::zone::{Known, Zone};

/// The longest answer by UDP: it fits every wire unbroken (DNS flag day 2020; RFC 9715 § 3.2).
pub(crate) const UDP_LIMIT: u16 = 1232;
/// The longest answer by UDP for who says nothing (RFC 1035 § 4.2.1).
const UDP_LEAST: u16 = 512;
/// The length of a message's header (RFC 1035 § 4.1.1).
const HEADER: usize = 12;

/// How a question came, which bounds its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// By UDP: what is too long is cut, and the client asks again by TCP.
    Udp,
    /// By TCP.
    Tcp,
}

/// A question that somebody waits for an answer to.
#[derive(Debug, Clone)]
pub struct Question {
    id: u16,
    recursion_desired: bool,
    pub(crate) query: Query,
    /// The longest answer that the client takes; none when it does not know EDNS (RFC 6891).
    edns: Option<u16>,
    edns_version: u8,
    transport: Transport,
}

/// What becomes of a message.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It is answered so; the word names the kind of answer.
    Reply(Vec<u8>, &'static str),
    /// Somebody else has to be asked.
    Ask(Box<Question>),
    /// Nobody gets an answer: the word says why.
    Ignore(&'static str),
}

/// Decides what becomes of a message. `forwards` says whether there is somebody else to ask.
pub fn decide(zone: &Zone, bytes: &[u8], transport: Transport, forwards: bool) -> Verdict {
    let question = match read(bytes, transport) {
        Ok(question) => question,
        Err(verdict) => return verdict,
    };
    let query = &question.query;
    let plain = |code, word| reply(&question, code, false, forwards, (&[], &[]), word);
    if question.edns_version != 0 {
        return plain(ResponseCode::BADVERS, "an unknown EDNS");
    }
    // Transfers of zones are none of a client's business.
    if query.query_class() != DNSClass::IN
        || matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR)
    {
        return plain(ResponseCode::Refused, "refused");
    }
    let known = zone.look_up(query.name(), query.query_type());
    let own = |code, answers: &[Record], authority: &[Record], word| {
        reply(&question, code, true, forwards, (answers, authority), word)
    };
    match known {
        Known::Records(records) => own(ResponseCode::NoError, &records, &[], "found"),
        Known::NoData(soa) => own(ResponseCode::NoError, &[], &[soa], "no such record"),
        Known::NoName(soa) => own(ResponseCode::NXDomain, &[], &[soa], "no such name"),
        // RFC 8482: the long answers that nobody needs and attacks are made of are not fetched.
        Known::Elsewhere if query.query_type() == RecordType::ANY => plain(ResponseCode::Refused, "refused"),
        Known::Elsewhere if forwards && question.recursion_desired => Verdict::Ask(Box::new(question)),
        Known::Elsewhere => plain(ResponseCode::Refused, "refused"),
    }
}

/// The answer to whoever has no business asking: that, in as many bytes as the question has.
pub fn refuse(bytes: &[u8], transport: Transport) -> Verdict {
    short(bytes, transport, ResponseCode::Refused, false, "refused")
}

/// The answer to whoever asks too much by UDP, where an address is easily forged: ask by TCP.
pub fn cut(bytes: &[u8]) -> Verdict {
    short(bytes, Transport::Udp, ResponseCode::NoError, true, "cut")
}

fn short(bytes: &[u8], transport: Transport, code: ResponseCode, cut: bool, word: &'static str) -> Verdict {
    let question = match read(bytes, transport) {
        Ok(question) => question,
        Err(verdict) => return verdict,
    };
    let mut message = Message::response(question.id, OpCode::Query);
    message.metadata.recursion_desired = question.recursion_desired;
    message.metadata.response_code = code;
    message.metadata.truncation = cut;
    message.add_query(question.query);
    message.to_vec().map_or(Verdict::Ignore(word), |bytes| Verdict::Reply(bytes, word))
}

/// The question in a message, or what becomes of one that has none.
fn read(bytes: &[u8], transport: Transport) -> Result<Question, Verdict> {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Err(Verdict::Ignore("shorter than a header"));
    };
    if header[2] & 0x80 != 0 {
        return Err(Verdict::Ignore("an answer that nobody asked for"));
    }
    let id = u16::from_be_bytes([header[0], header[1]]);
    let message = match Message::from_vec(bytes) {
        Ok(message) => message,
        Err(_) => return Err(bare(id, OpCode::Query, ResponseCode::FormErr, "not well formed")),
    };
    if message.metadata.op_code != OpCode::Query {
        return Err(bare(id, message.metadata.op_code, ResponseCode::NotImp, "no question"));
    }
    let [query] = &message.queries[..] else {
        return Err(bare(id, OpCode::Query, ResponseCode::FormErr, "not one question"));
    };
    Ok(Question {
        id,
        recursion_desired: message.metadata.recursion_desired,
        query: query.clone(),
        edns: message.edns.as_ref().map(Edns::max_payload),
        edns_version: message.edns.as_ref().map_or(0, Edns::version),
        transport,
    })
}

/// The answer when nobody else could tell.
pub fn fail(question: &Question) -> Vec<u8> {
    encode(question, ResponseCode::ServFail, false, true, (&[], &[]))
}

/// Somebody else's answer as this client takes it.
pub fn relay(question: &Question, message: &Message) -> Vec<u8> {
    encode(question, message.metadata.response_code, false, true, (&message.answers, &message.authorities))
}

/// As [`relay`], of an answer out of the cache.
pub fn from_cache(
    question: &Question,
    code: ResponseCode,
    answers: &[Record],
    authority: &[Record],
) -> Vec<u8> {
    encode(question, code, false, true, (answers, authority))
}

fn reply(
    question: &Question,
    code: ResponseCode,
    authoritative: bool,
    forwards: bool,
    sections: (&[Record], &[Record]),
    word: &'static str,
) -> Verdict {
    Verdict::Reply(encode(question, code, authoritative, forwards, sections), word)
}

fn encode(
    question: &Question,
    code: ResponseCode,
    authoritative: bool,
    forwards: bool,
    (answers, authority): (&[Record], &[Record]),
) -> Vec<u8> {
    let mut message = Message::response(question.id, OpCode::Query);
    message.metadata.recursion_desired = question.recursion_desired;
    message.metadata.recursion_available = forwards;
    message.metadata.authoritative = authoritative;
    message.metadata.response_code = code;
    message.add_query(question.query.clone());
    message.add_answers(answers.iter().cloned());
    message.add_authorities(authority.iter().cloned());
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_LIMIT).set_version(0).set_rcode_high(code.high());
        message.set_edns(edns);
    }
    let limit = match question.transport {
        Transport::Udp => question.edns.unwrap_or(UDP_LEAST).clamp(UDP_LEAST, UDP_LIMIT),
        Transport::Tcp => u16::MAX,
    };
    match message.to_vec() {
        Ok(bytes) if bytes.len() <= usize::from(limit) => bytes,
        _ => {
            message.metadata.truncation = true;
            message.answers.clear();
            message.authorities.clear();
            // What was read can be written: the question came from the wire.
            message.to_vec().unwrap_or_default()
        }
    }
}

/// An answer without a question to repeat.
fn bare(id: u16, op_code: OpCode, code: ResponseCode, word: &'static str) -> Verdict {
    let mut message = Message::new(id, MessageType::Response, op_code);
    message.metadata.response_code = code;
    message.to_vec().map_or(Verdict::Ignore(word), |bytes| Verdict::Reply(bytes, word))
}

impl Question {
    /// The name that is asked for, as text.
    pub fn name(&self) -> String {
        self.query.name().to_ascii()
    }

    /// How it came.
    pub fn transport(&self) -> Transport {
        self.transport
    }
}
