//! Whatever a device answers, it is understood or refused.

use std::time::Duration;

use pilotlight_lab::DeviceKind;
use pilotlight_power::{Answer, Login, Request, Target, Wire, WireError, Wish, check, status, switch};
use proptest::prelude::*;

/// Answers with one after the other, over and over.
struct Babbler {
    answers: Vec<Answer>,
    at: usize,
}

impl Wire for Babbler {
    fn ask(&mut self, request: &Request) -> Result<Answer, WireError> {
        assert!(
            request.path.starts_with('/') && request.path.bytes().all(|c| c.is_ascii_graphic()),
            "{request}"
        );
        self.at += 1;
        assert!(self.at < 1000, "there is no end to the questions");
        self.answers.get(self.at % self.answers.len().max(1)).cloned().ok_or(WireError::Silence)
    }

    fn wait(&mut self, _: Duration) {}

    fn random(&mut self) -> Result<[u8; 16], WireError> {
        Ok([0; 16])
    }
}

fn answer() -> impl Strategy<Value = Answer> {
    let field = prop_oneof![
        Just(("WWW-Authenticate".to_owned(), "Digest realm=\"x\", nonce=\"y\", stale=true".to_owned())),
        Just(("X-Auth-Token".to_owned(), "t".to_owned())),
        "[ -~]{0,20}".prop_map(|text| ("Location".to_owned(), text)),
        "[ -~]{0,40}".prop_map(|text| ("WWW-Authenticate".to_owned(), text)),
    ];
    let body = prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("{\"PowerState\":\"On\"}".to_owned()),
        Just(
            "{\"PowerState\":\"Off\",\"Actions\":{\"#ComputerSystem.Reset\":{\"target\":\"//x\"}}}"
                .to_owned()
        ),
        Just(
            "{\"Links\":{\"Sessions\":{\"@odata.id\":\"/s\"}},\"Members\":[{\"@odata.id\":\"\"},7]}"
                .to_owned()
        ),
        "(\\{|\\}|\\[|\\]|\"[a-zA-Z@.]{0,12}\"|:|,|[0-9]){0,20}",
        any::<String>(),
    ];
    let status = prop_oneof![Just(200_u16), Just(204), Just(401), Just(404), any::<u16>()];
    (status, prop::collection::vec(field, 0..4), body, "[ -~]{0,10}")
        .prop_map(|(status, fields, body, phrase)| Answer { status, phrase, fields, body: body.into_bytes() })
}

proptest! {
    #[test]
    fn any_device(answers in prop::collection::vec(answer(), 0..6), number: u8) {
        let login = Login::new("admin", "geheim").unwrap();
        let wire = || Babbler { answers: answers.clone(), at: 0 };
        let said = |error: pilotlight_power::Error| {
            let text = format!("{error} {error:?} {}", error.hint().unwrap_or_default());
            assert!(!text.contains("geheim") && !error.to_string().chars().any(char::is_control), "{text:?}");
        };
        for target in [Target::Outlet(number), Target::System("1")] {
            let _ = status(&mut wire(), &login, target).map_err(said);
            for wish in [Wish::On, Wish::Off, Wish::ShutDown, Wish::Cycle { off_for: Duration::ZERO }] {
                let _ = switch(&mut wire(), &login, target, wish).map_err(said);
            }
        }
        for kind in [DeviceKind::WebSwitch, DeviceKind::Redfish] {
            let _ = check(&mut wire(), &login, kind).map_err(said);
        }
    }
}
