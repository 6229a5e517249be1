//! What is asked of another name server, and which of the answers that come is taken.

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, ResponseCode},
    rr::Record,
};

use crate::answer::{Question, UDP_LIMIT};

/// Why an answer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a DNS message.
    #[error("the answer is not well formed")]
    Malformed,
    /// To something else than was asked: a late answer, or a forged one (RFC 5452 § 9.1).
    #[error("the answer is to another question")]
    Other,
    /// It does not fit a datagram: TCP has to be used.
    #[error("the answer is cut short")]
    Cut,
    /// It cannot or will not say; another one might.
    #[error("the name server cannot tell")]
    CannotTell,
}

/// The question as it is put to another name server, under the number `id`, which nobody must be able to guess.
pub fn question(asked: &Question, id: u16) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(asked.query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_LIMIT).set_version(0);
    message.set_edns(edns);
    // What was read from the wire can be written.
    message.to_vec().unwrap_or_default()
}

/// The answer to what was asked under `id`, from the bytes that came; only its records about the question itself.
///
/// # Errors
/// Anything else.
pub fn accept(asked: &Question, id: u16, bytes: &[u8]) -> Result<Message, Refusal> {
    let message = Message::from_vec(bytes).map_err(|_| Refusal::Malformed)?;
    let is_answer = message.metadata.message_type == MessageType::Response && message.metadata.id == id;
    let same = |query: &hickory_proto::op::Query| {
        // Names are the same in any case of letters.
        query.name() == asked.query.name()
            && query.query_type() == asked.query.query_type()
            && query.query_class() == asked.query.query_class()
    };
    if !is_answer || !matches!(&message.queries[..], [query] if same(query)) {
        return Err(Refusal::Other);
    }
    if message.metadata.truncation {
        return Err(Refusal::Cut);
    }
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(message),
        _ => Err(Refusal::CannotTell),
    }
}

/// How long an answer may be kept, in seconds: as long as each of its records, or for a denial as long as the zone's SOA
/// says (RFC 2308 § 5); none when it says nothing.
pub(crate) fn lifetime(message: &Message) -> Option<u32> {
    /// No answer is kept for longer (RFC 8767 § 4 suggests a week and less).
    const LONGEST: u32 = 86_400;
    /// No denial is kept for longer (RFC 2308 § 5: one to three hours).
    const LONGEST_DENIAL: u32 = 3600;
    if message.answers.is_empty() || message.metadata.response_code == ResponseCode::NXDomain {
        let soa = message.authorities.iter().find_map(|record| match &record.data {
            hickory_proto::rr::RData::SOA(soa) => Some(soa.minimum.min(record.ttl)),
            _ => None,
        });
        return soa.map(|ttl| ttl.min(LONGEST_DENIAL));
    }
    let ttl = |record: &Record| record.ttl.min(LONGEST);
    message.answers.iter().chain(&message.authorities).map(ttl).min()
}
