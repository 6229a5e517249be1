//! What can go wrong, and what is to be done then.

use crate::{Answer, Request, State, WireError};

/// Why a machine is not switched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device gave no answer.
    #[error("{request}: no answer")]
    NoAnswer {
        /// What was asked.
        request: String,
        /// Why.
        #[source]
        source: WireError,
    },
    /// The user or the password is wrong.
    #[error("{request}: the device does not let in the user that the Pi was told of")]
    NotLetIn {
        /// What was asked.
        request: String,
    },
    /// There is no way to log in.
    #[error("{request}: the device lets nobody in by {wanted}, but by {offered}")]
    Scheme {
        /// What was asked.
        request: String,
        /// How the Pi would log in.
        wanted: &'static str,
        /// How the device would have it.
        offered: String,
    },
    /// The device refused.
    #[error("{request}: the device answers {said}")]
    Status {
        /// What was asked.
        request: String,
        /// The status.
        status: u16,
        /// The status and the device's words.
        said: String,
    },
    /// The answer is none to this question.
    #[error("{request}: the answer makes no sense: {fault}")]
    Unclear {
        /// What was asked.
        request: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The controller has no such system.
    #[error("the controller has no system {system:?}; it has {there}")]
    NoSystem {
        /// The name in lab.toml.
        system: String,
        /// Those that there are.
        there: String,
    },
    /// The controller cannot do that to this system.
    #[error("the controller offers none of {wanted} for it, but {offered}")]
    NotOffered {
        /// What would have done.
        wanted: String,
        /// What the controller named.
        offered: String,
    },
    /// An outlet speaks to no machine.
    #[error("an outlet cannot tell a machine to shut down")]
    OutletOnly,
    /// It was taken, and nothing came of it.
    #[error("the device took the order to switch it {wanted}, and {seconds} s later it is {state}")]
    Unmoved {
        /// What it was to become.
        wanted: State,
        /// What it is.
        state: State,
        /// How long was waited.
        seconds: u64,
    },
    /// It was switched off to be switched on again.
    #[error("it was switched off, and could not be switched on again: IT IS OFF NOW")]
    LeftOff(
        /// Why.
        #[source]
        Box<Error>,
    ),
}

impl Error {
    /// The device refused `request` by `answer`; `detail` are its further words.
    pub(crate) fn status(request: &Request, answer: &Answer, detail: Option<String>) -> Self {
        let mut said = format!("{} {}", answer.status, printable(&answer.phrase));
        if let Some(place) = answer.field("Location").filter(|_| (300..400).contains(&answer.status)) {
            said.push_str(&format!(" (go to {})", printable(place)));
        }
        if let Some(detail) = detail.filter(|detail| !detail.is_empty()) {
            said.push_str(&format!(" ({})", printable(&detail)));
        }
        Self::Status { request: request.to_string(), status: answer.status, said }
    }

    pub(crate) fn unclear(request: &Request, fault: &'static str) -> Self {
        Self::Unclear { request: request.to_string(), fault }
    }

    /// What whoever looks after the Pi should do.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoAnswer { source, .. } => return source.hint(),
            Self::NotLetIn { .. } => "tell the Pi the right ones: pilotctl power login DEVICE",
            Self::Scheme { .. } => "look for it in the device's settings of its web server or API",
            Self::Status { status: 300..400, .. } => {
                "it wants to be spoken to elsewhere: write that place as `url` in lab.toml, with its certificate's \
                 SHA-256 where it begins with https://"
            }
            Self::Status { status: 403, .. } => {
                "the device's settings must allow this user to switch, by its API"
            }
            Self::Status { status: 404, .. } => {
                "is lab.toml right about the device's kind and about the outlet or system, and is its REST API switched on?"
            }
            Self::Status { status: 409 | 423 | 429 | 500.., .. } => {
                "the device may be busy: try again in a minute"
            }
            Self::Status { .. } | Self::Unclear { .. } => "is it the kind of device that lab.toml says?",
            Self::NoSystem { .. } => "write one of these as `system` in lab.toml",
            Self::NotOffered { .. } => "try another verb, or switch it at the device itself",
            Self::OutletOnly => "shut it down there, then: pilotctl power off",
            Self::Unmoved { .. } => "look again with pilotctl power status, or at the machine",
            Self::LeftOff(source) => {
                let first = "pilotctl power on switches it on";
                return Some(source.hint().map_or(first.to_owned(), |hint| format!("{first}; {hint}")));
            }
        };
        Some(text.to_owned())
    }
}

/// What a device says, for a terminal: nothing that a terminal obeys, and no more than a line.
pub(crate) fn printable(text: &str) -> String {
    const MOST: usize = 200;
    let signs = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let clean: String = signs.take(MOST).collect();
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_says_stays_words() {
        let answer = |status, fields: &[(&str, &str)]| Answer {
            status,
            phrase: "Bad\x1b[2J".to_owned(),
            fields: fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: Vec::new(),
        };
        let request = Request::get("/x");
        let error = Error::status(&request, &answer(400, &[]), Some("a\nb".to_owned()));
        assert_eq!(error.to_string(), "GET /x: the device answers 400 Bad [2J (a b)");
        let error = Error::status(&request, &answer(302, &[("location", "https://10.77.0.9/x")]), None);
        assert_eq!(error.to_string(), "GET /x: the device answers 302 Bad [2J (go to https://10.77.0.9/x)");
        assert!(error.hint().unwrap().contains("`url`"));
        assert_eq!(printable(&"x".repeat(1000)).len(), 200);
    }
}
