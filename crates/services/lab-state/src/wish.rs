//! What an operator may ask of the lab's state, a line each.

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish<'a> {
    /// The node of this name is to follow this channel; none is what the lab says.
    Channel {
        /// The node.
        node: &'a str,
        /// The channel.
        channel: Option<&'a str>,
    },
    /// The node of this name is to be installed once more.
    Install {
        /// The node.
        node: &'a str,
    },
}

impl<'a> Wish<'a> {
    /// The longest line, in bytes.
    pub const LONGEST: usize = 256;

    /// Reads `channel NODE [CHANNEL]` or `install NODE`.
    ///
    /// # Errors
    /// What is wrong with anything else.
    pub fn parse(line: &'a str) -> Result<Self, &'static str> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["channel", node] if !node.is_empty() => Ok(Self::Channel { node, channel: None }),
            ["channel", node, channel] if !node.is_empty() => {
                Ok(Self::Channel { node, channel: Some(channel) })
            }
            ["install", node] if !node.is_empty() => Ok(Self::Install { node }),
            _ => Err("write `channel NODE`, `channel NODE CHANNEL` or `install NODE`"),
        }
    }
}

/// The node that was given what it needs to be installed without a question, where this line of the log tells of that.
pub fn installs(line: &[u8]) -> Option<String> {
    // Most lines tell of something else: they are not read for this.
    const STAGE: &[u8] = b"\"stage\":\"install\"";
    if !line.windows(STAGE.len()).any(|part| part == STAGE) {
        return None;
    }
    let event: serde_json::Value = serde_json::from_slice(line).ok()?;
    let is = |name: &str, value: &str| event[name] == value;
    (is("service", "http") && is("stage", "install") && is("outcome", "ok"))
        .then(|| event["node"].as_str().map(str::to_owned))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let channel = |node, channel| Ok(Wish::Channel { node, channel });
        assert_eq!(Wish::parse("channel one beta"), channel("one", Some("beta")));
        assert_eq!(Wish::parse("channel one"), channel("one", None));
        assert_eq!(Wish::parse("install one"), Ok(Wish::Install { node: "one" }));
        for wrong in [
            "",
            "channel",
            "channel ",
            "channel one beta now",
            "chanel one beta",
            " channel one",
            "install",
            "install one two",
            "install ",
        ] {
            assert!(Wish::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn installations_are_found_among_other_events() {
        let event = |service: &str, stage: &str, reason: &str| {
            format!(
                "{{\"service\":\"{service}\",\"stage\":\"{stage}\",\"outcome\":\"ok\",\"node\":\"one\",\"reason\":{reason:?}}}\n"
            )
        };
        assert_eq!(installs(event("http", "install", "").as_bytes()).as_deref(), Some("one"));
        for other in [
            event("dhcp", "install", ""),
            event("http", "get", ""),
            event("http", "get", "\"stage\":\"install\""),
            event("http", "install", "").replace("ok", "failed"),
            event("http", "install", "").replace("node", "nodes"),
            "\"stage\":\"install\"".to_owned(),
        ] {
            assert_eq!(installs(other.as_bytes()), None, "{other}");
        }
    }
}
