//! What can go wrong with a mirror.

use pilotlight_fetch::{Attempt, CacheError, Failure, Fault, KeyError};

/// What can go wrong with a mirror.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// Nobody gave it, or what was given was not believed.
    #[error("cannot fetch {title}:{}\n{}", list(.attempts), advice(.attempts))]
    Fetch {
        /// What it was.
        title: String,
        /// The last answer of each address that was asked.
        attempts: Vec<Attempt>,
    },
    /// The keys that were published are not those that are pinned.
    #[error("cannot use the keys at {url}")]
    Keys {
        /// Where they are.
        url: String,
        /// What is wrong with them.
        source: KeyError,
    },
    /// A version at which the lab holds a channel, and which is not published in a way that can be found.
    #[error(
        "{wanted}: only {found} can be found now. Take the version out of the lab, or hold {found}: a version that is \
         in the lock once stays there as long as the lab holds it"
    )]
    Held {
        /// What the lab wants.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// A channel that went back.
    #[error(
        "{wanted}: {found} is offered, but {locked} is locked already, which is newer: the server is stale, or somebody \
         plays back an old release. If it is meant so, hold the channel at {found} in the lab"
    )]
    Backwards {
        /// What the lab wants.
        wanted: String,
        /// What is offered.
        found: String,
        /// What is locked.
        locked: String,
    },
    /// A version whose path leads to another one.
    #[error("{wanted}: what is published as {asked} says of itself that it is {found}")]
    Other {
        /// What the lab wants.
        wanted: String,
        /// The version that was asked for.
        asked: String,
        /// The version that came.
        found: String,
    },
    /// There is no room for it.
    #[error(
        "{} MB are to be fetched, and there is room for {}: hold or leave out something in the lab, or take a larger card",
        .wanted.div_ceil(1_000_000), .free / 1_000_000
    )]
    NoRoom {
        /// What is to be fetched, in bytes.
        wanted: u64,
        /// How much there is room for.
        free: u64,
    },
    /// The cache cannot take it.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Another file's failure ended it; never the failure that is reported.
    #[error("stopped because another file could not be fetched")]
    Stopped,
}

impl MirrorError {
    pub(crate) fn of(title: &str, failure: Failure) -> Self {
        match failure {
            Failure::Attempts(attempts) => Self::Fetch { title: title.to_owned(), attempts },
            Failure::Stopped => Self::Stopped,
            Failure::Cache(fault) => Self::Cache(fault),
        }
    }
}

fn list(attempts: &[Attempt]) -> String {
    attempts.iter().map(|attempt| format!("\n  {}: {}", attempt.url, attempt.fault)).collect()
}

fn advice(attempts: &[Attempt]) -> &'static str {
    let any = |test: fn(&Fault) -> bool| attempts.iter().any(|attempt| test(&attempt.fault));
    if any(|fault| matches!(fault, Fault::Refused(_)) || fault.is_wrong_content()) {
        "nothing of it was kept, and the lock is as it was. Try later; if it stays so, look at what the project says of \
         its releases and keys before you believe another one (--sources)"
    } else if any(|fault| matches!(fault, Fault::Missing)) {
        "are the version and the channel right, and does the project still publish there (--sources)?"
    } else {
        "check the network, then run the same command again: it goes on from what is already here"
    }
}
