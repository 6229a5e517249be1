//! Redfish (DMTF DSP0266), as far as switching a system needs it.
//!
//! Who is asked says what can be asked: where the action `Reset` is, and which of its kinds this system knows. The user is
//! named by HTTP's Basic authentication, which leaves nothing behind; a service that has it switched off is logged in to, and
//! out of again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    Answer, Error, Login, Request, State, Wire, device::Device, digest::challenges, error::printable,
};

const SYSTEMS: &str = "/redfish/v1/Systems";
/// What the field of a session's token is called.
const TOKEN: &str = "X-Auth-Token";
/// The longest path that is followed, in bytes.
const LONGEST_PATH: usize = 1000;

/// How the user is named.
enum Entry {
    /// With every request.
    Basic,
    /// By a session: its token, and what is deleted at its end.
    Session { token: String, place: Option<String> },
}

/// A service, and who asks it.
struct Service<'a, W> {
    wire: &'a mut W,
    login: &'a Login,
    entry: Entry,
}

impl<W: Wire> Service<'_, W> {
    /// Asks, logged in one way or the other.
    fn ask(&mut self, request: &Request) -> Result<Answer, Error> {
        let answer = self.send(request)?;
        if answer.status != 401 {
            return Ok(answer);
        }
        // A service that takes Basic says so while it refuses: the password is wrong then, and trying it in another way
        // would count as one more attempt of a stranger.
        let takes =
            answer.all("WWW-Authenticate").flat_map(challenges).any(|challenge| challenge.scheme == "basic");
        if takes || matches!(self.entry, Entry::Session { .. }) {
            return Err(Error::NotLetIn { request: request.to_string() });
        }
        self.log_in()?;
        match self.send(request)? {
            answer if answer.status == 401 => Err(Error::NotLetIn { request: request.to_string() }),
            answer => Ok(answer),
        }
    }

    fn send(&mut self, request: &Request) -> Result<Answer, Error> {
        let named = match &self.entry {
            Entry::Basic => request.clone().with("Authorization", self.login.basic()),
            Entry::Session { token, .. } => request.clone().with(TOKEN, token.clone()),
        };
        self.plain(&named)
    }

    fn plain(&mut self, request: &Request) -> Result<Answer, Error> {
        self.wire.ask(request).map_err(|source| Error::NoAnswer { request: request.to_string(), source })
    }

    /// Opens a session. Where that is done the service's root says, which anyone may read.
    fn log_in(&mut self) -> Result<(), Error> {
        let root = Request::get("/redfish/v1/");
        let answer = self.plain(&root)?;
        let place =
            json(&root, &answer).ok().and_then(|root| path(root.pointer("/Links/Sessions/@odata.id")?));
        let Some(place) = place else {
            let (wanted, offered) = ("Basic or by a session", "nothing that it names".to_owned());
            return Err(Error::Scheme { request: root.to_string(), wanted, offered });
        };
        let request =
            post(place, &json!({ "UserName": self.login.user(), "Password": self.login.password() }));
        let answer = self.plain(&request)?;
        match answer.status {
            200..300 => {}
            401 | 403 => return Err(Error::NotLetIn { request: request.to_string() }),
            _ => return Err(refused(&request, &answer)),
        }
        let token =
            answer.field(TOKEN).ok_or_else(|| Error::unclear(&request, "a session without a token"))?;
        // A whole URL has the path behind its third slash.
        let place = answer.field("Location").and_then(|place| match place.split_once("://") {
            Some((_, rest)) => path(&Value::from(rest.get(rest.find('/')?..)?)),
            None => path(&Value::from(place)),
        });
        self.entry = Entry::Session { token: token.to_owned(), place };
        Ok(())
    }

    /// Ends what was begun: a controller has room for a few sessions.
    fn log_out(&mut self) {
        if let Entry::Session { place: Some(place), .. } = &self.entry {
            let request = Request { method: "DELETE", path: place.clone(), fields: Vec::new(), body: None };
            // It ends by itself after some minutes.
            let _ = self.send(&request);
        }
        self.entry = Entry::Basic;
    }

    fn get(&mut self, path: &str) -> Result<Value, Error> {
        let request = Request::get(path);
        let answer = self.ask(&request)?;
        json(&request, &answer)
    }
}

/// A system.
pub(crate) struct System<'a, W> {
    service: Service<'a, W>,
    name: &'a str,
    /// What was last read of it.
    seen: Option<Reset>,
}

/// How it is reset.
struct Reset {
    /// Whom to tell.
    place: String,
    /// What can be told; none where the service names nothing.
    kinds: Option<Vec<String>>,
}

impl<'a, W: Wire> System<'a, W> {
    /// The system `name` of the service behind `wire`.
    pub(crate) fn new(wire: &'a mut W, login: &'a Login, name: &'a str) -> Self {
        Self { service: Service { wire, login, entry: Entry::Basic }, name, seen: None }
    }

    /// Does something with it, and logs out.
    pub(crate) fn with<T>(mut self, what: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let result = what(&mut self);
        self.service.log_out();
        result
    }

    fn read(&mut self) -> Result<Value, Error> {
        match self.service.get(&format!("{SYSTEMS}/{}", self.name)) {
            Err(Error::Status { status: 404, .. }) => {
                let all = self.service.get(SYSTEMS)?;
                let members = all.get("Members").and_then(Value::as_array).into_iter().flatten();
                let names =
                    members.filter_map(|member| member.get("@odata.id")?.as_str()?.rsplit('/').next());
                let names: Vec<_> = names.map(printable).take(16).collect();
                let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                Err(Error::NoSystem { system: self.name.to_owned(), there })
            }
            other => other,
        }
    }

    /// Where and how `system` is reset.
    fn reset(&mut self, system: &Value) -> Result<Reset, Error> {
        let action = system.get("Actions").and_then(|actions| actions.get("#ComputerSystem.Reset"));
        let place = action.and_then(|action| action.get("target")).and_then(path);
        let place = place.unwrap_or_else(|| format!("{SYSTEMS}/{}/Actions/ComputerSystem.Reset", self.name));
        let mut kinds = action.and_then(|action| words(action.get("ResetType@Redfish.AllowableValues")));
        let info = action.and_then(|action| action.get("@Redfish.ActionInfo")).and_then(path);
        if let (None, Some(info)) = (&kinds, info) {
            let info = self.service.get(&info)?;
            let parameters = info.get("Parameters").and_then(Value::as_array).into_iter().flatten();
            let ours =
                |parameter: &&Value| parameter.get("Name").and_then(Value::as_str) == Some("ResetType");
            kinds = parameters
                .into_iter()
                .find(ours)
                .and_then(|parameter| words(parameter.get("AllowableValues")));
        }
        Ok(Reset { place, kinds })
    }

    /// The first of `wanted` that the system knows.
    fn offered(&self, wanted: &[&'static str]) -> Option<&'static str> {
        let kinds = self.seen.as_ref().and_then(|reset| reset.kinds.as_ref());
        wanted.iter().copied().find(|kind| kinds.is_none_or(|kinds| kinds.iter().any(|known| known == kind)))
    }

    /// Tells the system the first of `wanted` that it knows.
    fn tell(&mut self, wanted: &[&'static str]) -> Result<(), Error> {
        let (Some(kind), Some(reset)) = (self.offered(wanted), &self.seen) else {
            let kinds = self.seen.as_ref().and_then(|reset| reset.kinds.clone()).unwrap_or_default();
            let offered = if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") };
            return Err(Error::NotOffered { wanted: wanted.join(", "), offered });
        };
        let request = post(reset.place.clone(), &json!({ "ResetType": kind }));
        match self.service.ask(&request)? {
            answer if (200..300).contains(&answer.status) => Ok(()),
            answer => Err(refused(&request, &answer)),
        }
    }
}

impl<W: Wire> Device for System<'_, W> {
    fn state(&mut self) -> Result<State, Error> {
        let system = self.read()?;
        if self.seen.is_none() {
            self.seen = Some(self.reset(&system)?);
        }
        match system.get("PowerState").and_then(Value::as_str) {
            Some("On") => Ok(State::On),
            Some("Off") => Ok(State::Off),
            Some(word) => Ok(State::Other(printable(word))),
            None => Err(Error::unclear(
                &Request::get(format!("{SYSTEMS}/{}", self.name)),
                "there is no PowerState in it",
            )),
        }
    }

    fn order(&mut self, on: bool) -> Result<(), Error> {
        self.tell(if on { &["On", "ForceOn"] } else { &["ForceOff"] })
    }

    fn wait(&mut self, time: Duration) {
        self.service.wire.wait(time);
    }

    fn shut_down(&mut self) -> Result<(), Error> {
        self.tell(&["GracefulShutdown"])
    }

    fn restart(&mut self) -> Result<bool, Error> {
        const KINDS: &[&str] = &["ForceRestart", "PowerCycle"];
        if self.offered(KINDS).is_none() {
            return Ok(false);
        }
        self.tell(KINDS).map(|()| true)
    }
}

/// Whether the service lets `login` in.
pub(crate) fn check(wire: &mut impl Wire, login: &Login) -> Result<(), Error> {
    let mut service = Service { wire, login, entry: Entry::Basic };
    let result = service.get(SYSTEMS).map(drop);
    service.log_out();
    result
}

fn post(path: String, body: &Value) -> Request {
    let fields =
        vec![("Accept", "application/json".to_owned()), ("Content-Type", "application/json".to_owned())];
    Request { method: "POST", path, fields, body: Some(body.to_string()) }
}

fn json(request: &Request, answer: &Answer) -> Result<Value, Error> {
    if answer.status != 200 {
        return Err(refused(request, answer));
    }
    serde_json::from_slice(&answer.body).map_err(|_| Error::unclear(request, "it is no JSON"))
}

/// The refusal with the service's own words for it (DSP0266, "Error responses").
fn refused(request: &Request, answer: &Answer) -> Error {
    let words = serde_json::from_slice::<Value>(&answer.body).ok().and_then(|body| {
        let error = body.get("error")?;
        let further = error.pointer("/@Message.ExtendedInfo/0/Message");
        Some(further.or_else(|| error.get("message"))?.as_str()?.to_owned())
    });
    Error::status(request, answer, words)
}

/// A list of words, each fit to be printed; none where there is no list.
fn words(value: Option<&Value>) -> Option<Vec<String>> {
    let words = value?.as_array()?.iter().filter_map(Value::as_str).map(printable);
    Some(words.take(32).collect())
}

/// A path on the service itself. What names another host, or is no path, is not followed: the password would go with it.
fn path(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let right = text.starts_with('/') && !text.starts_with("//") && text.len() <= LONGEST_PATH;
    (right && text.bytes().all(|c| c.is_ascii_graphic())).then(|| text.to_owned())
}
