//! What others answered, for as long as they said it holds.

use std::{collections::BTreeMap, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, Record, RecordType},
};

use crate::{
    answer::{Question, from_cache},
    upstream::lifetime,
};

/// The most answers that are kept; the first to end makes room.
const MOST: usize = 4096;
/// The most records of one answer that are kept: what has more is asked for again.
const MOST_RECORDS: usize = 64;
/// How much all of them may take, in bytes, and what a record takes beside what it says.
const MOST_BYTES: usize = 4 << 20;
const BYTES_OF_A_RECORD: usize = 300;

/// The answers that are kept.
#[derive(Debug, Default)]
pub struct Cache {
    answers: BTreeMap<Key, Kept>,
    /// By their end, the earliest first.
    ends: BTreeMap<(Duration, u64), Key>,
    count: u64,
    bytes: usize,
}

type Key = (Name, RecordType);

#[derive(Debug, Clone)]
struct Kept {
    code: ResponseCode,
    answers: Vec<Record>,
    authority: Vec<Record>,
    since: Duration,
    end: (Duration, u64),
    bytes: usize,
}

impl Cache {
    /// The answer to a question at `now`, a time since any fixed start; each record with what is left of its time.
    pub fn get(&mut self, question: &Question, now: Duration) -> Option<Vec<u8>> {
        let kept = self.answers.get(&key(question)).filter(|kept| kept.end.0 > now)?;
        let age = u32::try_from(now.saturating_sub(kept.since).as_secs()).unwrap_or(u32::MAX);
        let aged = |records: &[Record]| -> Vec<Record> {
            let mut records = records.to_vec();
            records.iter_mut().for_each(|record| record.ttl = record.ttl.saturating_sub(age));
            records
        };
        Some(from_cache(question, kept.code, &aged(&kept.answers), &aged(&kept.authority)))
    }

    /// Keeps the answer `message` to a question, if it may be kept.
    pub fn put(&mut self, question: &Question, message: &Message, now: Duration) {
        let Some(seconds) = lifetime(message).filter(|seconds| *seconds > 0) else { return };
        if message.answers.len() + message.authorities.len() > MOST_RECORDS {
            return;
        }
        let records = message.answers.len() + message.authorities.len();
        // Names are kept written out, each of them: the message is short only because it points back.
        let said = message.to_vec().map_or(MOST_BYTES, |bytes| bytes.len());
        let bytes = said + (records + 1) * BYTES_OF_A_RECORD;
        if bytes > MOST_BYTES / 8 {
            return;
        }
        let key = key(question);
        self.forget(&key);
        while self.answers.len() >= MOST || self.bytes + bytes > MOST_BYTES {
            let Some((_, first)) = self.ends.pop_first() else { break };
            self.bytes -= self.answers.remove(&first).map_or(0, |kept| kept.bytes);
        }
        self.bytes += bytes;
        self.count += 1;
        let end = (now + Duration::from_secs(seconds.into()), self.count);
        self.ends.insert(end, key.clone());
        let kept = Kept {
            code: message.metadata.response_code,
            answers: message.answers.clone(),
            authority: message.authorities.clone(),
            since: now,
            end,
            bytes,
        };
        self.answers.insert(key, kept);
    }

    fn forget(&mut self, key: &Key) {
        if let Some(kept) = self.answers.remove(key) {
            self.ends.remove(&kept.end);
            self.bytes -= kept.bytes;
        }
    }
}

fn key(question: &Question) -> Key {
    (question.query.name().to_lowercase(), question.query.query_type())
}
