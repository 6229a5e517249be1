//! Web power switches: what they are asked, and what their answers mean. The answers are written after the maker's page, not
//! recorded from a switch.

mod script;

use std::time::Duration;

use pilotlight_lab::DeviceKind;
use pilotlight_power::{Done, Error, State, Target, Wish, check, status, switch};
use script::{Script, answer, login};

const STATE: &str = "GET /restapi/relay/outlets/2/physical_state/";
const OLD_STATE: &str = "GET /restapi/relay/outlets/2/state/";
const ON: &str = "PUT /restapi/relay/outlets/2/state/ value=true";
const OFF: &str = "PUT /restapi/relay/outlets/2/state/ value=false";
const OUTLET: Target<'_> = Target::Outlet(3);
const CYCLE: Wish = Wish::Cycle { off_for: Duration::from_secs(10) };

fn challenge(more: &str) -> Vec<u8> {
    let field = format!("WWW-Authenticate: Digest realm=\"strip\", nonce=\"n\", qop=\"auth\"{more}\r\n");
    answer("401 Unauthorized", &field, "")
}

/// Questions, each with its answer, and before each a challenge.
fn challenged(turns: &[(&str, Vec<u8>)]) -> Script {
    Script::new(
        turns.iter().flat_map(|(question, answer)| [(*question, challenge("")), (*question, answer.clone())]),
    )
}

fn state(on: bool) -> Vec<u8> {
    answer("200 OK", "Content-Type: application/json\r\n", &on.to_string())
}

fn taken() -> Vec<u8> {
    b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
}

#[test]
fn an_outlet_is_asked_and_told() {
    let mut script =
        challenged(&[(STATE, state(false)), (ON, taken()), (STATE, state(false)), (STATE, state(true))]);
    assert_eq!(switch(&mut script, &login(), OUTLET, Wish::On).unwrap(), Done::Reached(State::On));
    script.done();
    assert_eq!(script.waited, Duration::from_secs(1));
    let put = script.asked.iter().rfind(|request| request.method == "PUT").unwrap();
    assert_eq!(put.field("X-CSRF"), Some("x"));
    let named = put.field("Authorization").unwrap();
    assert!(
        named.starts_with("Digest username=\"admin\", realm=\"strip\", nonce=\"n\", uri=\"/restapi/relay"),
        "{named}"
    );
    assert!(!named.contains("geheim"));
    assert_eq!(script.last("Accept"), Some("application/json"));

    let mut script = challenged(&[(STATE, state(true))]);
    assert_eq!(switch(&mut script, &login(), OUTLET, Wish::On).unwrap(), Done::Already(State::On));
    let mut script = challenged(&[(STATE, state(true)), (OFF, taken()), (STATE, state(false))]);
    assert_eq!(switch(&mut script, &login(), OUTLET, Wish::Off).unwrap(), Done::Reached(State::Off));
    script.done();
}

#[test]
fn older_switches_know_one_state() {
    let mut script = challenged(&[(STATE, answer("404 Not Found", "", "")), (OLD_STATE, state(true))]);
    assert_eq!(status(&mut script, &login(), OUTLET).unwrap(), State::On);
    script.done();
}

#[test]
fn a_cycle_gives_the_power_back() {
    let (on, off) = (state(true), state(false));
    let mut script = challenged(&[
        (STATE, on.clone()),
        (OFF, taken()),
        (STATE, off.clone()),
        (ON, taken()),
        (STATE, on.clone()),
    ]);
    assert_eq!(switch(&mut script, &login(), OUTLET, CYCLE).unwrap(), Done::Reached(State::On));
    script.done();
    assert_eq!(script.waited, Duration::from_secs(10));
    // One that is off already is switched on.
    let mut script = challenged(&[(STATE, off.clone()), (ON, taken()), (STATE, on.clone())]);
    assert_eq!(switch(&mut script, &login(), OUTLET, CYCLE).unwrap(), Done::Reached(State::On));
    // A switch that stumbles is told again, and in the end it is said that the machine is off.
    let busy = || answer("503 Busy", "", "");
    let begun = [(STATE, on.clone()), (OFF, taken()), (STATE, off)];
    let mut turns = begun.to_vec();
    turns.extend([(ON, busy()), (ON, busy()), (ON, taken()), (STATE, on)]);
    let mut script = challenged(&turns);
    assert_eq!(switch(&mut script, &login(), OUTLET, CYCLE).unwrap(), Done::Reached(State::On));
    script.done();
    let mut turns = begun.to_vec();
    turns.extend([(ON, busy()), (ON, busy()), (ON, busy())]);
    let error = switch(&mut challenged(&turns), &login(), OUTLET, CYCLE).unwrap_err();
    assert!(matches!(error, Error::LeftOff(_)) && error.to_string().contains("IT IS OFF NOW"), "{error}");
    assert!(error.hint().unwrap().starts_with("pilotctl power on switches it on"));
}

#[test]
fn an_order_that_nothing_comes_of_is_said() {
    let mut turns = vec![(STATE, state(true)), (OFF, taken())];
    turns.extend(vec![(STATE, state(true)); 31]);
    let error = switch(&mut challenged(&turns), &login(), OUTLET, Wish::Off).unwrap_err();
    assert_eq!(error.to_string(), "the device took the order to switch it off, and 30 s later it is on");
}

#[test]
fn refusals_are_told_apart() {
    let said = |turns: Vec<(&str, Vec<u8>)>| {
        let error = status(&mut Script::new(turns), &login(), OUTLET).unwrap_err();
        (error.to_string(), error.hint().unwrap_or_default())
    };
    let (said_wrong, hint) = said(vec![(STATE, challenge("")), (STATE, challenge(""))]);
    assert_eq!(said_wrong, format!("{STATE}: the device does not let in the user that the Pi was told of"));
    assert!(hint.contains("pilotctl power login"));
    // A nonce whose time is over is no refusal; one that is never young enough is.
    let stale = || (STATE, challenge(", stale=true"));
    let mut script = Script::new(vec![(STATE, challenge("")), stale(), (STATE, state(true))]);
    assert_eq!(status(&mut script, &login(), OUTLET).unwrap(), State::On);
    assert!(said(vec![stale(), stale(), stale(), stale()]).0.contains("does not let in"));
    let basic = answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"strip\"\r\n", "");
    assert_eq!(
        said(vec![(STATE, basic)]).0,
        format!("{STATE}: the device lets nobody in by Digest (MD5, SHA-256 or SHA-512-256), but by basic")
    );
    let elsewhere = answer("301 Moved Permanently", "Location: https://10.77.0.9/\r\n", "");
    assert!(said(vec![(STATE, elsewhere)]).0.ends_with("301 Moved Permanently (go to https://10.77.0.9/)"));
    assert!(said(vec![(STATE, answer("200 OK", "", "<html>"))]).0.ends_with("it is neither true nor false"));
    let error =
        switch(&mut challenged(&[(STATE, state(true))]), &login(), OUTLET, Wish::ShutDown).unwrap_err();
    assert_eq!(error.to_string(), "an outlet cannot tell a machine to shut down");
}

#[test]
fn who_may_switch_one_outlet_is_let_in() {
    const FIRST: &str = "GET /restapi/relay/outlets/0/state/";
    for (last, good) in [
        (state(false), true),
        (answer("403 Forbidden", "", ""), true),
        (challenge(""), false),
        (answer("404 Not Found", "", ""), false),
    ] {
        let result = check(&mut challenged(&[(FIRST, last)]), &login(), DeviceKind::WebSwitch);
        assert_eq!(result.is_ok(), good, "{result:?}");
    }
}
