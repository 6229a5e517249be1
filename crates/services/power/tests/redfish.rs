//! Redfish: `sushy/` holds what the emulator of sushy-tools 2.2.0 answered; the rest is written after DSP0266.

mod script;

use std::time::Duration;

use pilotlight_lab::DeviceKind;
use pilotlight_power::{Done, Error, State, Target, Wish, check, status, switch};
use script::{Script, answer, login};

const ID: &str = "27946b59-9e44-4fa7-8e91-f3527a1ef094";
const CYCLE: Wish = Wish::Cycle { off_for: Duration::from_secs(10) };

fn get() -> String {
    format!("GET /redfish/v1/Systems/{ID}")
}

fn reset(kind: &str) -> String {
    format!("POST /redfish/v1/Systems/{ID}/Actions/ComputerSystem.Reset {{\"ResetType\":\"{kind}\"}}")
}

macro_rules! sushy {
    ($name:literal) => {
        include_bytes!(concat!("sushy/", $name, ".http")).to_vec()
    };
}

#[test]
fn the_emulator_switches() {
    let system = Target::System(ID);
    let mut script = Script::new([
        (get(), sushy!("off")),
        (reset("On"), sushy!("taken")),
        (get(), sushy!("off")),
        (get(), sushy!("on")),
    ]);
    assert_eq!(switch(&mut script, &login(), system, Wish::On).unwrap(), Done::Reached(State::On));
    script.done();
    assert_eq!(script.last("Authorization"), Some("Basic YWRtaW46Z2VoZWlt"));
    let mut script =
        Script::new([(get(), sushy!("on")), (reset("ForceOff"), sushy!("taken")), (get(), sushy!("off"))]);
    assert_eq!(switch(&mut script, &login(), system, Wish::Off).unwrap(), Done::Reached(State::Off));
    let mut script = Script::new([(get(), sushy!("on")), (reset("ForceRestart"), sushy!("taken"))]);
    assert_eq!(switch(&mut script, &login(), system, CYCLE).unwrap(), Done::Restarted);
    let mut script = Script::new([(get(), sushy!("on")), (reset("GracefulShutdown"), sushy!("taken"))]);
    assert_eq!(switch(&mut script, &login(), system, Wish::ShutDown).unwrap(), Done::ShuttingDown);
    let mut script =
        Script::new([(get(), sushy!("off")), (reset("On"), sushy!("taken")), (get(), sushy!("on"))]);
    assert_eq!(switch(&mut script, &login(), system, CYCLE).unwrap(), Done::Reached(State::On));
    script.done();
}

#[test]
fn the_emulator_refuses() {
    let said = |script: &mut Script, name| {
        let error = switch(script, &login(), Target::System(name), Wish::On).unwrap_err();
        script.done();
        error.to_string()
    };
    // A wrong password is not tried in a second way where the service says that this way is right.
    let mut script = Script::new([(get(), sushy!("not-let-in"))]);
    assert_eq!(
        said(&mut script, ID),
        format!("{}: the device does not let in the user that the Pi was told of", get())
    );
    let mut script = Script::new([(get(), sushy!("off")), (reset("On"), sushy!("refused"))]);
    let refused = said(&mut script, ID);
    assert!(refused.ends_with("501 NOT IMPLEMENTED (Power state Bogus is not supported)"), "{refused}");
    let mut script = Script::new([
        ("GET /redfish/v1/Systems/1", sushy!("no-system")),
        ("GET /redfish/v1/Systems", sushy!("systems")),
    ]);
    assert_eq!(said(&mut script, "1"), format!("the controller has no system \"1\"; it has {ID}"));
}

/// A system with the given power state and action.
fn system(state: &str, action: &str) -> Vec<u8> {
    let body = format!("{{\"PowerState\":\"{state}\",\"Actions\":{{\"#ComputerSystem.Reset\":{action}}}}}");
    answer("200 OK", "OData-Version: 4.0\r\n", &body)
}

const ONE: &str = "GET /redfish/v1/Systems/1";
const TAKEN: &[u8] =
    b"HTTP/1.1 202 Accepted\r\nLocation: /redfish/v1/TaskService/Tasks/1\r\nContent-Length: 0\r\n\r\n";

#[test]
fn what_is_not_offered_is_not_asked() {
    let one = Target::System("1");
    let few =
        r#"{"target":"/r","ResetType@Redfish.AllowableValues":["ForceOff","ForceOn","PushPowerButton"]}"#;
    let mut script = Script::new([
        (ONE.to_owned(), system("On", few)),
        (r#"POST /r {"ResetType":"ForceOff"}"#.to_owned(), TAKEN.to_vec()),
        (ONE.to_owned(), system("PoweringOff", few)),
        (ONE.to_owned(), system("Off", few)),
        (r#"POST /r {"ResetType":"ForceOn"}"#.to_owned(), TAKEN.to_vec()),
        (ONE.to_owned(), system("On", few)),
    ]);
    // No restart in one: off and on.
    assert_eq!(switch(&mut script, &login(), one, CYCLE).unwrap(), Done::Reached(State::On));
    script.done();
    assert_eq!(script.waited, Duration::from_secs(11));
    let error =
        switch(&mut Script::new([(ONE, system("On", few))]), &login(), one, Wish::ShutDown).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the controller offers none of GracefulShutdown for it, but ForceOff, ForceOn, PushPowerButton"
    );
    // Named at another place.
    let elsewhere = r#"{"target":"/r","@Redfish.ActionInfo":"/info"}"#;
    let info = r#"{"Parameters":[{"Name":"Other"},{"Name":"ResetType","AllowableValues":["PowerCycle"]}]}"#;
    let mut script = Script::new([
        (ONE, system("On", elsewhere)),
        ("GET /info", answer("200 OK", "", info)),
        (r#"POST /r {"ResetType":"PowerCycle"}"#, TAKEN.to_vec()),
    ]);
    assert_eq!(switch(&mut script, &login(), one, CYCLE).unwrap(), Done::Restarted);
    script.done();
    // Not named at all: the names of the specification.
    let mut script = Script::new([
        (ONE, system("Off", "{}")),
        (r#"POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset {"ResetType":"On"}"#, TAKEN.to_vec()),
        (ONE, system("On", "{}")),
    ]);
    assert_eq!(switch(&mut script, &login(), one, Wish::On).unwrap(), Done::Reached(State::On));
}

#[test]
fn nobody_is_led_to_another_host() {
    for target in ["http://evil/r", "//evil/r", "r", "/r\\u000d\\u000aX: y", ""] {
        let action = format!("{{\"target\":\"{target}\"}}");
        let mut script = Script::new([
            (ONE, system("Off", &action)),
            (r#"POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset {"ResetType":"On"}"#, TAKEN.to_vec()),
            (ONE, system("On", &action)),
        ]);
        switch(&mut script, &login(), Target::System("1"), Wish::On).unwrap();
        script.done();
    }
}

#[test]
fn a_service_without_basic_is_logged_in_to_and_out_of() {
    const ROOT: &str = "GET /redfish/v1/";
    const ROOT_SAYS: &str = r#"{"Links":{"Sessions":{"@odata.id":"/redfish/v1/SessionService/Sessions"}}}"#;
    const OPEN: &str = r#"POST /redfish/v1/SessionService/Sessions {"Password":"geheim","UserName":"admin"}"#;
    const CLOSE: &str = "DELETE /redfish/v1/SessionService/Sessions/7";
    let no = || answer("401 Unauthorized", "", "");
    let root = || answer("200 OK", "", ROOT_SAYS);
    let gone = || b"HTTP/1.1 204 No Content\r\n\r\n".to_vec();
    for place in ["", "https://bmc", "https://bmc:443"] {
        let fields =
            format!("X-Auth-Token: t0k\r\nLocation: {place}/redfish/v1/SessionService/Sessions/7\r\n");
        let mut script = Script::new([
            (ONE, no()),
            (ROOT, root()),
            (OPEN, answer("201 Created", &fields, "{}")),
            (ONE, system("On", "{}")),
            (CLOSE, gone()),
        ]);
        assert_eq!(status(&mut script, &login(), Target::System("1")).unwrap(), State::On);
        script.done();
        assert_eq!(script.last("X-Auth-Token"), Some("t0k"));
        assert_eq!(script.last("Authorization"), None);
    }
    let mut script = Script::new([(ONE, no()), (ROOT, root()), (OPEN, no())]);
    let error = status(&mut script, &login(), Target::System("1")).unwrap_err();
    assert!(matches!(error, Error::NotLetIn { .. }) && !format!("{error:?}").contains("geheim"), "{error:?}");
    let mut script = Script::new([(ONE, no()), (ROOT, answer("200 OK", "", "{}"))]);
    let error = status(&mut script, &login(), Target::System("1")).unwrap_err();
    assert!(matches!(error, Error::Scheme { .. }), "{error}");
}

#[test]
fn a_login_is_tried_where_it_changes_nothing() {
    let systems = "GET /redfish/v1/Systems";
    check(&mut Script::new([(systems, sushy!("systems"))]), &login(), DeviceKind::Redfish).unwrap();
    let mut script = Script::new([(systems, sushy!("not-let-in"))]);
    assert!(matches!(check(&mut script, &login(), DeviceKind::Redfish), Err(Error::NotLetIn { .. })));
}
