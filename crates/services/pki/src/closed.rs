//! What is answered where there is no authority and none may be made.

use crate::{
    Answer, Authority, Caller, Denial, OUTSIDE, Question, Record,
    desk::{No, restored},
};

/// A desk without an authority. Operators hear why; nobody else hears anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Why there is none.
    pub reason: String,
    /// Whether an operator may bring one from a backup: not where it would be forgotten.
    pub restorable: bool,
}

impl Closed {
    /// Answers one line. With an authority this desk is done with: it is to be made durable before the answer leaves.
    pub fn answer(&self, line: &[u8], caller: Caller) -> (Answer, Option<Record>, Option<Authority>) {
        let fault = if caller == Caller::Operator && self.restorable {
            match Question::read(line) {
                Ok(Question::Restore { passphrase, backup }) => match restored(&backup, &passphrase) {
                    Ok(authority) => {
                        return (Answer::Restored, Some(Record::Keys("restore")), Some(authority));
                    }
                    Err(No(reason, _)) => reason,
                },
                _ => self.reason.clone(),
            }
        } else {
            self.reason.clone()
        };
        let told = if caller == Caller::Operator { fault.clone() } else { OUTSIDE.to_owned() };
        let denial = Denial { reason: fault, alarm: false, mac: None, node: None, from: None };
        (Answer::Refused { reason: told }, Some(Record::Refused(denial)), None)
    }
}
