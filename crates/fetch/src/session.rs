//! Asking several addresses for one thing, again and again as long as one of them may still do better.

use std::{
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::{
    cache::{Cache, CacheError},
    digest::Digest,
    hosts::Hosts,
    http::{Fault, Headers, Http, Patience, Roots},
    progress::Progress,
    transfer::{Expected, Partial},
};

/// What one address answered.
#[derive(Debug)]
pub struct Attempt {
    /// The address.
    pub url: String,
    /// What was wrong with the last answer.
    pub fault: Fault,
}

/// Why something did not come.
#[derive(Debug)]
pub enum Failure {
    /// No address gave it: the last answer of each.
    Attempts(Vec<Attempt>),
    /// It was told to stop.
    Stopped,
    /// The cache cannot take it.
    Cache(CacheError),
}

/// How one try at one address ended, when not well.
pub(crate) enum Setback {
    /// It is this address's fault; `moved` when new bytes came all the same.
    Mirror { fault: Fault, moved: bool },
    /// No other address would help.
    Fatal(Failure),
}

impl From<CacheError> for Setback {
    fn from(fault: CacheError) -> Self {
        Self::Fatal(Failure::Cache(fault))
    }
}

impl From<Fault> for Setback {
    fn from(fault: Fault) -> Self {
        Self::Mirror { fault, moved: false }
    }
}

/// A file that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// For messages.
    pub title: &'a str,
    /// Where it may be; asked in this order, those of silent hosts last.
    pub urls: &'a [String],
    /// What the requests carry.
    pub headers: &'a Headers,
    /// What is known of it.
    pub expected: Expected,
}

/// A client for many threads. Clones of it share their connections.
#[derive(Debug, Clone, Default)]
pub struct Client {
    patience: Patience,
    roots: Roots,
    /// Made when first needed: it reads the machine's certificates, which takes a quarter of a second.
    http: Arc<OnceLock<Http>>,
}

impl Client {
    /// A client that waits and retries like this.
    pub fn new(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// A client that brings along whom it believes, for a machine that has no certificates of authorities.
    #[cfg(feature = "roots")]
    pub fn with_own_roots() -> Self {
        Self { roots: Roots::Own, ..Self::default() }
    }

    /// Begins a piece of work, in which it is remembered who answers.
    pub fn session(&self) -> Session {
        Session { client: self.clone(), hosts: Hosts::default() }
    }

    fn http(&self) -> Result<&Http, Fault> {
        match self.http.get() {
            Some(http) => Ok(http),
            None => {
                let http = Http::new(self.patience, self.roots)?;
                Ok(self.http.get_or_init(|| http))
            }
        }
    }
}

/// A piece of work for any number of threads.
#[derive(Debug)]
pub struct Session {
    client: Client,
    hosts: Hosts,
}

impl Session {
    /// Whether asking this host again only costs time.
    pub fn is_dead(&self, url: &str) -> bool {
        self.hosts.is_dead(url)
    }

    /// Reads a document of at most `limit` bytes from the first address whose copy `accept` takes.
    ///
    /// # Errors
    /// No address gave one.
    pub fn document<T>(
        &self,
        urls: &[String],
        headers: &Headers,
        limit: u64,
        accept: impl Fn(&[u8]) -> Result<T, Fault>,
    ) -> Result<T, Failure> {
        self.rounds(urls, &AtomicBool::new(false), |url| {
            let mut body = self.client.http()?.get(url, headers, 0)?;
            let (mut text, mut block) = (Vec::new(), vec![0; 1 << 16]);
            loop {
                match body.read(&mut block)? {
                    0 => break,
                    read => text.extend_from_slice(&block[..read]),
                }
                if text.len() as u64 > limit {
                    return Err(Fault::Size { expected: limit, found: None }.into());
                }
            }
            Ok(accept(&text)?)
        })
    }

    /// How long a file is, if the address says it.
    ///
    /// # Errors
    /// It does not have it, or does not answer.
    pub fn length(&self, url: &str, headers: &Headers) -> Result<Option<u64>, Failure> {
        let urls = [url.to_owned()];
        self.rounds(&urls, &AtomicBool::new(false), |url| Ok(self.client.http()?.length(url, headers)?))
    }

    /// Brings a file into the cache, and says what it is. It is there, under its digest, once it is what is expected and
    /// `accept` has taken it, and until then under no name that anybody looks for.
    ///
    /// # Errors
    /// No address gave it, the cache cannot take it, or `stop` was set.
    pub fn file(
        &self,
        cache: &Cache,
        want: Want<'_>,
        accept: impl Fn(&Path, &Digest) -> Result<(), Fault>,
        progress: &Progress,
        stop: &AtomicBool,
    ) -> Result<(Digest, u64), Failure> {
        let mut partial = match Partial::open(cache, want, progress).map_err(Failure::Cache)? {
            Ok(partial) => partial,
            // What is here may have come for another reason.
            Err(here) => {
                let url = want.urls.first().cloned().unwrap_or_default();
                let told = |fault| Failure::Attempts(vec![Attempt { url, fault }]);
                return accept(&cache.object(&here.0), &here.0).map(|()| here).map_err(told);
            }
        };
        let outcome =
            self.rounds(want.urls, stop, |url| partial.complete(self.client.http()?, url, &accept, stop));
        if let Err(failure) = outcome {
            partial.give_up();
            return Err(failure);
        }
        partial.keep(cache).map_err(Failure::Cache)
    }

    /// Tries every address, again and again as long as one of them may still do better.
    fn rounds<T>(
        &self,
        urls: &[String],
        stop: &AtomicBool,
        mut attempt: impl FnMut(&str) -> Result<T, Setback>,
    ) -> Result<T, Failure> {
        let urls = self.lively(urls);
        let patience = self.client.patience;
        let mut open: Vec<&String> = urls.iter().collect();
        let mut last: Vec<Option<Fault>> = urls.iter().map(|_| None).collect();
        // Rounds since the last new byte.
        let (mut fruitless, mut pause) = (0, patience.pause);
        while !open.is_empty() {
            fruitless += 1;
            let mut still = Vec::new();
            for url in open {
                if stop.load(Ordering::Relaxed) {
                    return Err(Failure::Stopped);
                }
                let (fault, moved) = match attempt(url) {
                    Ok(value) => {
                        self.hosts.answered(url);
                        return Ok(value);
                    }
                    Err(Setback::Fatal(fault)) => return Err(fault),
                    Err(Setback::Mirror { fault, moved }) => (fault, moved),
                };
                if moved || !fault.is_silence() {
                    self.hosts.answered(url);
                } else {
                    self.hosts.silent(url);
                }
                if fault.is_transient() {
                    still.push(url);
                }
                if moved {
                    (fruitless, pause) = (0, patience.pause);
                }
                if let Some(place) = urls.iter().position(|other| other == url) {
                    last[place] = Some(fault);
                }
            }
            open = still;
            // Once one says that it is gone, nobody is waited for.
            let gone = last.iter().any(|fault| matches!(fault, Some(Fault::Missing)));
            if open.is_empty() || gone || fruitless >= patience.rounds {
                break;
            }
            thread::sleep(pause);
            pause *= 2;
        }
        let answers = urls.iter().zip(last);
        let attempts = answers.filter_map(|(url, fault)| Some(Attempt { url: url.clone(), fault: fault? }));
        Err(Failure::Attempts(attempts.collect()))
    }

    /// The addresses in the order to ask them in: without those of dead hosts, unless there are no others.
    fn lively(&self, urls: &[String]) -> Vec<String> {
        let urls = self.hosts.in_order(urls.to_vec());
        let lively: Vec<String> = urls.iter().filter(|url| !self.is_dead(url)).cloned().collect();
        if lively.is_empty() { urls } else { lively }
    }
}
