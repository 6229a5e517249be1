//! Who gets a certificate, and who does not.

use std::net::Ipv4Addr;

use pilotlight_lab::{Arming, MacAddr};
use pilotlight_pki::{Armed, Arms, Ask, Fetch, NotArmed, Purpose, Refusal, Token, Verdict};
use proptest::prelude::*;

fn armed(node: u8, allowed: Arming, by: Arming) -> Armed {
    Armed { node: format!("node{node}"), mac: mac(node), address: address(node), allowed, by, window: 600 }
}

fn mac(node: u8) -> MacAddr {
    MacAddr([0x52, 0x54, 0, 0, 0, node])
}

fn address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, node)
}

fn token(node: u8) -> Token {
    Token::new([node; 32])
}

fn ask(token: &Token, node: u8, key: u8) -> Ask<'_> {
    Ask { token, mac: mac(node), address: address(node), key: [key; 32], purpose: Purpose::Kubelet }
}

fn fetch(node: u8, key: u8) -> Fetch {
    Fetch { mac: mac(node), address: address(node), key: [key; 32] }
}

/// Nodes 1 and 2, armed at 100 until 700; each has fetched its token for the key 7.
fn two() -> Arms {
    let mut arms = Arms::default();
    for node in [1, 2] {
        arms.arm(100, armed(node, Arming::Operator, Arming::Operator)).expect("an operator may");
        arms.hand(100, fetch(node, 7), &token(node)).expect("it is armed");
    }
    arms
}

#[test]
fn a_retry_gets_the_same_and_another_key_raises_the_alarm() {
    let (mut arms, token) = (two(), token(1));
    let own = ask(&token, 1, 7);
    assert_eq!(arms.ask(200, own), Ok(Verdict::Issue("node1".into())));
    arms.burn(200, own, "certificate").expect("it may ask");
    assert_eq!(arms.ask(300, own), Ok(Verdict::Again("node1".into(), "certificate".into())));
    assert_eq!(arms.ask(200, ask(&token, 1, 8)), Err(Refusal::OtherKey), "before it was used");
    assert_eq!(arms.ask(300, ask(&token, 1, 8)), Err(Refusal::OtherKey));
    assert!(Refusal::OtherKey.alarm());
    // Another purpose is no way around it.
    let other = Ask { purpose: Purpose::KubeletServing, ..ask(&token, 1, 8) };
    assert_eq!(arms.ask(300, other), Err(Refusal::OtherKey));
    assert_eq!(arms.burn(300, other, "forged"), Err(Refusal::OtherKey));
    let next = Ask { purpose: Purpose::KubeletServing, ..own };
    assert_eq!(arms.ask(300, next), Ok(Verdict::Issue("node1".into())));
}

#[test]
fn each_refusal_has_its_reason() {
    let arms = two();
    let (one, two, nobodys) = (token(1), token(2), token(9));
    let cases = [
        (ask(&two, 1, 7), 200, Refusal::OtherNode),
        (ask(&one, 3, 7), 200, Refusal::OtherNode),
        (ask(&nobodys, 1, 7), 200, Refusal::Unknown),
        (ask(&nobodys, 3, 7), 200, Refusal::NotArmed),
        (Ask { address: address(2), ..ask(&one, 1, 7) }, 200, Refusal::OtherAddress),
        (ask(&one, 1, 7), 700, Refusal::Expired),
    ];
    for (question, now, reason) in cases {
        assert_eq!(arms.ask(now, question), Err(reason), "{question:?} at {now}");
    }
    assert_eq!("zz".repeat(32).parse::<Token>(), Err(Refusal::NoToken));
    assert_eq!(one.reveal().parse::<Token>(), Ok(one));
    assert!(!format!("{arms:?}{one:?}").contains(&one.reveal()));
}

#[test]
fn tokens_go_to_the_first_key_that_asks() {
    let mut arms = two();
    assert_eq!(arms.hand(200, fetch(3, 7), &token(8)), Err(Refusal::NotArmed));
    let elsewhere = Fetch { address: address(2), ..fetch(1, 7) };
    assert_eq!(arms.hand(200, elsewhere, &token(8)), Err(Refusal::OtherAddress));
    assert_eq!(arms.hand(700, fetch(1, 7), &token(8)), Err(Refusal::Expired));
    // Whoever comes second is not handed anything, and takes nothing from who came first.
    assert_eq!(arms.hand(200, fetch(1, 8), &token(8)), Err(Refusal::OtherKey));
    assert_eq!(arms.ask(200, ask(&token(1), 1, 7)), Ok(Verdict::Issue("node1".into())));
    // An answer was lost, before it was used and after.
    assert_eq!(arms.hand(200, fetch(1, 7), &token(8)).as_deref(), Ok("node1"));
    assert_eq!(arms.ask(200, ask(&token(1), 1, 7)), Err(Refusal::Unknown), "the lost one still counts");
    arms.burn(200, ask(&token(8), 1, 7), "certificate").expect("it may ask");
    assert_eq!(arms.hand(201, fetch(1, 7), &token(9)).as_deref(), Ok("node1"));
    let again = Verdict::Again("node1".into(), "certificate".into());
    assert_eq!(arms.ask(202, ask(&token(9), 1, 7)), Ok(again));
    // It boots anew and makes another key.
    arms.arm(203, armed(1, Arming::Itself, Arming::Itself)).expect("it may");
    assert_eq!(arms.hand(204, fetch(1, 9), &token(6)).as_deref(), Ok("node1"));
}

#[test]
fn a_new_token_ends_the_old_one() {
    let mut arms = two();
    arms.arm(200, armed(1, Arming::Operator, Arming::Operator)).expect("an operator may");
    assert_eq!(arms.ask(201, ask(&token(1), 1, 7)), Err(Refusal::Unknown), "the one before still counts");
    arms.hand(200, fetch(1, 7), &token(5)).expect("it is armed");
    assert_eq!(arms.ask(201, ask(&token(1), 1, 7)), Err(Refusal::Unknown));
    assert_eq!(arms.open(650).collect::<Vec<_>>(), ["node1", "node2"]);
    assert_eq!(arms.open(750).collect::<Vec<_>>(), ["node1"]);
    arms.tidy(10_000);
    assert_eq!(arms.ask(10_000, ask(&token(5), 1, 7)), Err(Refusal::NotArmed));
}

#[test]
fn the_profile_says_what_arms() {
    use Arming::{Itself, Operator, PowerCycle};
    for (allowed, by, may) in [
        (Operator, Operator, true),
        (Operator, PowerCycle, false),
        (Operator, Itself, false),
        (PowerCycle, Operator, true),
        (PowerCycle, PowerCycle, true),
        (PowerCycle, Itself, false),
        (Itself, Operator, true),
        (Itself, PowerCycle, true),
        (Itself, Itself, true),
    ] {
        let outcome = Arms::default().arm(0, armed(1, allowed, by));
        assert_eq!(outcome.is_ok(), may, "{allowed:?} armed by {by:?}");
    }
    for window in [0, 3601, u64::MAX] {
        let wrong = Armed { window, ..armed(1, Operator, Operator) };
        assert_eq!(Arms::default().arm(0, wrong), Err(NotArmed::Window(window)));
    }
}

proptest! {
    /// Whatever is asked in whatever order: one who is answered has the node's token, hardware address and address,
    /// within the window, and the key that came first.
    #[test]
    fn nothing_is_issued_but_to_the_node_itself(
        questions in prop::collection::vec((1..4_u8, 1..4_u8, 1..4_u8, 6..9_u8, 0..3_usize, 0..900_u64), 0..60),
    ) {
        let mut arms = two();
        let mut given = std::collections::BTreeMap::new();
        let mut now = 100;
        for (at, (whose, from, address_of, key, purpose, later)) in questions.into_iter().enumerate() {
            now += later / 20;
            let token = token(whose);
            let purpose = *Purpose::ALL.get(purpose + 5).expect("there are eleven");
            let question = Ask { address: address(address_of), purpose, ..ask(&token, from, key) };
            let expected = whose < 3 && whose == from && from == address_of && now < 700 && key == 7;
            match arms.ask(now, question) {
                Ok(verdict) => {
                    prop_assert!(expected);
                    match verdict {
                        Verdict::Issue(node) => {
                            prop_assert_eq!(node, format!("node{whose}"));
                            prop_assert!(given.insert((whose, purpose), at.to_string()).is_none());
                            arms.burn(now, question, &at.to_string()).expect("it may ask");
                        }
                        Verdict::Again(_, certificate) => {
                            prop_assert_eq!(Some(&certificate), given.get(&(whose, purpose)));
                        }
                    }
                }
                Err(_) => prop_assert!(!expected),
            }
        }
    }

    #[test]
    fn any_text_is_a_token_or_none(text in ".{0,80}") {
        if let Ok(token) = text.parse::<Token>() {
            prop_assert_eq!(token.reveal(), text.to_lowercase());
        }
    }
}
