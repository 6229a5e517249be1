//! What an operator may ask of `pilotlight-powerd`: a line each, and two more where a device's user and password follow.

use std::time::Duration;

use crate::{OFF_FOR, Wish};

/// What an operator wants.
#[derive(Clone, PartialEq, Eq)]
pub enum Question<'a> {
    /// Whether the node is on.
    Status {
        /// The node.
        node: &'a str,
    },
    /// Something is to become of the node.
    Switch {
        /// The node.
        node: &'a str,
        /// What.
        wish: Wish,
    },
    /// The device lets in this user.
    Login {
        /// The device.
        device: &'a str,
        /// Whether the device is asked before it is believed.
        tried: bool,
        /// The user.
        user: &'a str,
        /// The password.
        password: &'a str,
    },
    /// What is known of the device's user is to be forgotten.
    Logout {
        /// The device.
        device: &'a str,
    },
}

impl<'a> Question<'a> {
    /// The longest question, in bytes.
    pub const LONGEST: usize = 1024;
    /// The longest time that a machine may be left without power by a cycle.
    pub const LONGEST_OFF: Duration = Duration::from_secs(60);

    /// How many lines the question has whose first line is `first`.
    pub fn lines(first: &str) -> usize {
        if first.starts_with("login") { 3 } else { 1 }
    }

    /// Reads a whole question.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &'a str) -> Result<Self, &'static str> {
        let mut lines = text.split('\n');
        let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let mut more = || lines.next().ok_or("a user and a password must follow, each on a line of its own");
        let question = match words[..] {
            ["status", node] => Self::Status { node },
            ["on", node] => Self::Switch { node, wish: Wish::On },
            ["off", node] => Self::Switch { node, wish: Wish::Off },
            ["shut-down", node] => Self::Switch { node, wish: Wish::ShutDown },
            ["cycle", node] => Self::Switch { node, wish: Wish::Cycle { off_for: OFF_FOR } },
            ["cycle", node, seconds] => {
                let seconds =
                    seconds.bytes().all(|c| c.is_ascii_digit()).then(|| seconds.parse().ok()).flatten();
                let off_for =
                    seconds.map(Duration::from_secs).filter(|off_for| *off_for <= Self::LONGEST_OFF);
                let off_for = off_for.ok_or("a machine may be off for 0 to 60 seconds")?;
                Self::Switch { node, wish: Wish::Cycle { off_for } }
            }
            [verb @ ("login" | "login-untried"), device] => {
                let (user, password) = (more()?, more()?);
                Self::Login { device: named(device)?, tried: verb == "login", user, password }
            }
            ["logout", device] => Self::Logout { device: named(device)? },
            _ => {
                return Err(
                    "write `status`, `on`, `off`, `shut-down` or `cycle` and a node, or `login` or `logout` and a \
                            device",
                );
            }
        };
        Ok(question)
    }
}

/// A device's name becomes a file's.
fn named(device: &str) -> Result<&str, &'static str> {
    let right = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let good = (1..=64).contains(&device.len()) && device.bytes().all(right);
    good.then_some(device).ok_or("no power device has such a name")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn questions() {
        let cycle = |seconds| Ok(Wish::Cycle { off_for: Duration::from_secs(seconds) });
        let wish = |text| match Question::parse(text) {
            Ok(Question::Switch { node: "one", wish }) => Ok(wish),
            Ok(_) => panic!("{text}"),
            Err(fault) => Err(fault),
        };
        assert_eq!(wish("on one"), Ok(Wish::On));
        assert_eq!(wish("off one"), Ok(Wish::Off));
        assert_eq!(wish("shut-down one"), Ok(Wish::ShutDown));
        assert_eq!(wish("cycle one"), cycle(10));
        assert_eq!(wish("cycle one 0"), cycle(0));
        assert!(Question::parse("status one") == Ok(Question::Status { node: "one" }));
        let login = Question::Login { device: "strip", tried: true, user: "admin", password: "p w" };
        assert!(Question::parse("login strip\nadmin\np w\n") == Ok(login));
        assert!(matches!(Question::parse("login-untried a\nb\nc"), Ok(Question::Login { tried: false, .. })));
        assert!(Question::parse("logout strip") == Ok(Question::Logout { device: "strip" }));
        for wrong in [
            "",
            "on",
            "on one two",
            "cycle one 61",
            "cycle one -1",
            "cycle one +1",
            "login strip",
            "login strip\nadmin",
            "login ../x\na\nb",
            "logout",
            "logout .",
            "logout ",
            "reset one",
        ] {
            assert!(Question::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_question_is_read_or_refused(text in "(login|logout|cycle|on| |\n|[a-z0-9./]){0,12}") {
            let _ = Question::parse(&text);
        }
    }
}
