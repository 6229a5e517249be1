//! What nodes send to the certificate authority.

use std::sync::LazyLock;

use pilotlight_pki::{Authority, Caller, Clock, Question, Request, TimeTrust, Token, admin_leaf};
use ring::rand::SystemRandom;

use crate::targets::{kind, words};

/// A request that is good, which goes with whatever certificate is shown.
const REQUEST: &[u8] = include_bytes!("../corpus/pki-request/p256");

static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::make(1_700_000_000, &SystemRandom::new()).expect("an authority"));

pub(crate) fn request(input: &[u8]) -> u64 {
    match Request::read(input) {
        Ok(request) => {
            assert!(!request.key.is_empty() && request.key.len() < input.len(), "a key out of nowhere");
            kind((request.key.len(), request.common_name.is_some()))
        }
        Err(fault) => kind(fault),
    }
}

pub(crate) fn token(input: &[u8]) -> u64 {
    match String::from_utf8_lossy(input).parse::<Token>() {
        Ok(token) => {
            assert_eq!(token.reveal().parse(), Ok(token), "a token that reads back otherwise");
            kind(true)
        }
        Err(refusal) => kind(refusal),
    }
}

pub(crate) fn question(input: &[u8]) -> u64 {
    match Question::read(input) {
        Ok(question) => {
            assert!(question.open_to(Caller::Operator), "an operator who may not ask");
            kind((question.open_to(Caller::Wire), std::mem::discriminant(&question)))
        }
        Err(fault) => kind(words(&fault)),
    }
}

/// A certificate that is to be renewed: nobody can have one of an authority that was made just now.
pub(crate) fn certificate(input: &[u8]) -> u64 {
    let request = Request::read(REQUEST).expect("it is a request");
    let clock = Clock { now: 1_750_000_000, trust: TimeTrust::Trusted };
    let result = AUTHORITY.renewable(&String::from_utf8_lossy(input), &admin_leaf(), &request, clock);
    kind(result.expect_err("a certificate out of nowhere"))
}
