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
    /// It is to be forgotten which machine the node of this name is.
    Forget {
        /// The node.
        node: &'a str,
    },
}

impl<'a> Wish<'a> {
    /// The longest line, in bytes.
    pub const LONGEST: usize = 256;

    /// Reads `channel NODE [CHANNEL]`, `install NODE` or `forget NODE`.
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
            ["forget", node] if !node.is_empty() => Ok(Self::Forget { node }),
            _ => Err("write `channel NODE`, `channel NODE CHANNEL`, `install NODE` or `forget NODE`"),
        }
    }
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
        assert_eq!(Wish::parse("forget one"), Ok(Wish::Forget { node: "one" }));
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
            "forget",
        ] {
            assert!(Wish::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
