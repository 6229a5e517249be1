//! The REST interface of Digital Loggers' web power switches, as their page "REST API" describes it. Outlets count from 0 there
//! and from 1 on the case. What changes something wants the field `X-CSRF`, which no form of a foreign page can send.

use std::time::Duration;

use crate::{
    Answer, Error, Login, Request, State, Wire, device::Device, digest, digest::Digest, error::printable,
};

/// How often a request is made anew because its nonce was too old.
const STALE: u32 = 2;

/// An outlet.
pub(crate) struct Outlet<'a, W> {
    wire: &'a mut W,
    login: &'a Login,
    path: String,
}

impl<'a, W: Wire> Outlet<'a, W> {
    /// The outlet with `number` printed on it, from 1.
    pub(crate) fn new(wire: &'a mut W, login: &'a Login, number: u8) -> Self {
        Self { wire, login, path: format!("/restapi/relay/outlets/{}", number.saturating_sub(1)) }
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, Error> {
        ask(self.wire, self.login, request)
    }
}

/// Asks, and answers the challenge that comes.
fn ask(wire: &mut impl Wire, login: &Login, request: &Request) -> Result<Answer, Error> {
    let no_answer = |source| Error::NoAnswer { request: request.to_string(), source };
    let mut answer = wire.ask(request).map_err(no_answer)?;
    for attempt in 0..=STALE {
        if answer.status != 401 {
            return Ok(answer);
        }
        let Some(digest) = Digest::strongest(answer.all("WWW-Authenticate")) else {
            let offered = answer.all("WWW-Authenticate").flat_map(digest::challenges);
            let offered: Vec<_> = offered.map(|challenge| printable(&challenge.scheme)).collect();
            let offered =
                if offered.is_empty() { "nothing that it names".to_owned() } else { offered.join(", ") };
            let wanted = "Digest (MD5, SHA-256 or SHA-512-256)";
            return Err(Error::Scheme { request: request.to_string(), wanted, offered });
        };
        if attempt > 0 && !digest.stale {
            break;
        }
        let cnonce = digest::hex(&wire.random().map_err(no_answer)?);
        let authorization = digest.answer(login, request.method, &request.path, &cnonce);
        answer = wire.ask(&request.clone().with("Authorization", authorization)).map_err(no_answer)?;
    }
    match answer.status {
        401 => Err(Error::NotLetIn { request: request.to_string() }),
        _ => Ok(answer),
    }
}

impl<W: Wire> Device for Outlet<'_, W> {
    /// `physical_state` is what the relay does; `state`, which older switches have alone, what it was told.
    fn state(&mut self) -> Result<State, Error> {
        let mut request = Request::get(format!("{}/physical_state/", self.path));
        let mut answer = self.ask(&request)?;
        if answer.status == 404 {
            request = Request::get(format!("{}/state/", self.path));
            answer = self.ask(&request)?;
        }
        if answer.status != 200 {
            return Err(Error::status(&request, &answer, None));
        }
        match answer.body.trim_ascii() {
            b"true" => Ok(State::On),
            b"false" => Ok(State::Off),
            _ => Err(Error::unclear(&request, "it is neither true nor false")),
        }
    }

    fn order(&mut self, on: bool) -> Result<(), Error> {
        let request = Request {
            method: "PUT",
            path: format!("{}/state/", self.path),
            fields: vec![
                ("X-CSRF", "x".to_owned()),
                ("Accept", "application/json".to_owned()),
                ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
            ],
            body: Some(format!("value={on}")),
        };
        match self.ask(&request)? {
            answer if (200..300).contains(&answer.status) => Ok(()),
            answer => Err(Error::status(&request, &answer, None)),
        }
    }

    fn wait(&mut self, time: Duration) {
        self.wire.wait(time);
    }

    fn shut_down(&mut self) -> Result<(), Error> {
        Err(Error::OutletOnly)
    }

    fn restart(&mut self) -> Result<bool, Error> {
        Ok(false)
    }
}

/// Whether the switch lets `login` in. A user who may switch other outlets alone is let in as well.
pub(crate) fn check(wire: &mut impl Wire, login: &Login) -> Result<(), Error> {
    let request = Request::get("/restapi/relay/outlets/0/state/");
    match ask(wire, login, &request)? {
        answer if matches!(answer.status, 200..300 | 403) => Ok(()),
        answer => Err(Error::status(&request, &answer, None)),
    }
}
