//! Files from mirrors into the cache: several at once, resumed, retried, verified, renamed into place.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use pilotlight_fetch::{
    Attempt, Cache, CacheError, Digest, Expected, Failure, Fault, Headers, Progress, Session, Show, host,
};

use crate::{lock::Origin, mirrors::Mirrors};

/// How many files travel at once.
const PARALLEL: usize = 8;

/// What a file is in an archive: it decides what a person can do about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A suite's signed table.
    Release,
    /// A list of packages.
    Index,
    /// A package.
    Package,
}

/// A file that is known by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Want {
    /// For messages.
    pub(crate) title: String,
    pub(crate) kind: FileKind,
    /// Where it may be, relative to the archive's root; the first that works is taken.
    pub(crate) paths: Vec<String>,
    /// Whose it is.
    pub(crate) origin: Origin,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
}

/// A package that mirrors do not have any more, and no snapshot archive gave either.
#[derive(Debug)]
pub struct GoneFile {
    /// Its name, version and architecture.
    pub title: String,
    /// Its digest in the lock.
    pub sha256: Digest,
    /// The last answer of each address that was tried.
    pub attempts: Vec<Attempt>,
}

/// A file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No mirror gave the right bytes.
    #[error("cannot fetch {title}:{}\n{}", list(.attempts), advice(*.kind, .attempts))]
    Mirrors {
        /// What it was.
        title: String,
        /// What kind of file.
        kind: FileKind,
        /// The last answer of each address that was tried.
        attempts: Vec<Attempt>,
    },
    /// Packages that are nowhere to be had; everything else was fetched.
    #[error(
        "the archives do not have {}any more:{}\narchives drop old versions: `cargo xtask lock --update NAME` moves the \
         lock to what they have now, which a build without --locked does by itself; or name a mirror that has it \
         with --mirror, or a snapshot archive with --snapshot",
        several(.0), list_gone(.0)
    )]
    Gone(Vec<GoneFile>),
    /// There is nowhere to look.
    #[error("no mirror of the archive {0:?} is known")]
    NoMirror(String),
    /// Another file's failure ended it; never the failure that is reported.
    #[error("stopped because another file could not be fetched")]
    Stopped,
    /// The cache cannot take it.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn several(files: &[GoneFile]) -> String {
    match files {
        [only] => format!("{} ", only.title),
        more => format!("{} packages of the lock ", more.len()),
    }
}

fn list_gone(files: &[GoneFile]) -> String {
    files
        .iter()
        .map(|file| format!("\n  {}:{}", file.title, list(&file.attempts).replace('\n', "\n  ")))
        .collect()
}

fn list(attempts: &[Attempt]) -> String {
    let mut lines: Vec<(&Attempt, String, usize)> = Vec::new();
    for attempt in attempts {
        let fault = attempt.fault.to_string();
        let same = |(first, other, _): &&mut (&Attempt, String, usize)| {
            host(&first.url) == host(&attempt.url) && *other == fault
        };
        match lines.iter_mut().find(same) {
            Some((_, _, others)) => *others += 1,
            None => lines.push((attempt, fault, 0)),
        }
    }
    let line = |(attempt, fault, others): &(&Attempt, String, usize)| match others {
        0 => format!("\n  {}: {fault}", attempt.url),
        _ => format!("\n  {} (and {others} more there): {fault}", attempt.url),
    };
    lines.iter().map(line).collect()
}

fn advice(kind: FileKind, attempts: &[Attempt]) -> &'static str {
    let any = |test: fn(&Fault) -> bool| attempts.iter().any(|attempt| test(&attempt.fault));
    let wrong = any(Fault::is_wrong_content);
    match kind {
        FileKind::Release if any(|fault| matches!(fault, Fault::Refused(_))) => {
            "nothing was believed; try later or name another mirror with --mirror"
        }
        FileKind::Release if any(|fault| matches!(fault, Fault::Missing)) => {
            "no mirror has such a suite: are its name and the mirrors' addresses right? name another mirror with --mirror"
        }
        FileKind::Index if wrong || any(|fault| matches!(fault, Fault::Missing)) => {
            "the mirror's index is not the one that its signed Release names: it is being updated, or stale; nothing \
             of it was believed; try later or name another mirror with --mirror"
        }
        FileKind::Package if wrong => {
            "nothing of it was kept; run the same command again, or name another mirror with --mirror"
        }
        _ => {
            "check the network, then run the same command again: it goes on from what is already here; or name \
             another mirror with --mirror"
        }
    }
}

/// Fetches into one cache from known mirrors.
pub(crate) struct Fetcher<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) mirrors: &'a Mirrors,
    /// Where to look for what the mirrors do not have any more.
    pub(crate) snapshots: &'a Mirrors,
    pub(crate) show: Show,
    pub(crate) session: Session,
}

impl Fetcher<'_> {
    /// Brings all of `wants` into the cache. What is there already costs nothing. After the first failure no new
    /// file is begun, but for packages that are gone, which do not hinder the others; what was fetched stays, whole
    /// or in part.
    pub(crate) fn all(&self, wants: &[Want]) -> Result<(), FetchError> {
        let mut gone = Vec::new();
        for (_, fault) in self.run(wants, |fault| matches!(fault, FetchError::Gone(_))) {
            match fault {
                FetchError::Gone(files) => gone.extend(files),
                other => return Err(other),
            }
        }
        if gone.is_empty() { Ok(()) } else { Err(FetchError::Gone(gone)) }
    }

    /// Brings those of `wants` into the cache that can be had. Returns the others' places in the list and why not.
    pub(crate) fn each(&self, wants: &[Want]) -> Vec<(usize, FetchError)> {
        self.run(wants, |_| true)
    }

    /// The failures by their place in `wants`; one that is not `bearable` ends the run and comes first.
    fn run(&self, wants: &[Want], bearable: fn(&FetchError) -> bool) -> Vec<(usize, FetchError)> {
        let mut missing: Vec<(usize, &Want)> =
            wants.iter().enumerate().filter(|(_, want)| !self.cache.has(&want.sha256, want.size)).collect();
        // The largest first: the last thread to finish then finishes soonest.
        missing.sort_by_key(|(_, want)| (std::cmp::Reverse(want.size), want.sha256));
        missing.dedup_by_key(|(_, want)| want.sha256);
        if missing.is_empty() {
            return Vec::new();
        }
        let bytes = missing.iter().map(|(_, want)| want.size).sum();
        let progress = Progress::start(self.show, "Fetching", missing.len(), bytes);
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failures = Mutex::new(Vec::new());
        let work = || {
            while let Some((place, want)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Err(fault) = self.one(want, &progress, &stop) else { continue };
                let Ok(mut failures) = failures.lock() else { return };
                if bearable(&fault) {
                    failures.push((*place, fault));
                } else if !stop.swap(true, Ordering::Relaxed) {
                    // The first one is the one to tell; the others are often its consequence.
                    failures.insert(0, (*place, fault));
                }
            }
        };
        thread::scope(|scope| (0..PARALLEL.min(missing.len())).for_each(|_| drop(scope.spawn(work))));
        let failures = failures.into_inner().unwrap_or_default();
        if failures.is_empty() {
            progress.finish("Fetched", missing.len());
        }
        failures
    }

    /// Fetches a Release from the first mirror whose copy `accept` takes.
    pub(crate) fn document<T>(
        &self,
        title: &str,
        archive: &str,
        path: &str,
        limit: u64,
        accept: impl Fn(&[u8]) -> Result<T, Fault>,
    ) -> Result<T, FetchError> {
        let urls = self.urls(archive, &[path.to_owned()])?;
        let document = self.session.document(&urls, &Headers::default(), limit, accept);
        document.map_err(|failure| told(title, FileKind::Release, failure))
    }

    fn one(&self, want: &Want, progress: &Progress, stop: &AtomicBool) -> Result<(), FetchError> {
        let get = |urls: &[String]| {
            let expected = Expected::exactly(want.size, want.sha256);
            let wanted =
                pilotlight_fetch::Want { title: &want.title, urls, headers: &Headers::default(), expected };
            let file = self.session.file(self.cache, wanted, |_, _| Ok(()), progress, stop);
            file.map(drop).map_err(|failure| told(&want.title, want.kind, failure))
        };
        if let Err(fault) = get(&self.urls(&want.origin.archive, &want.paths)?) {
            self.elsewhere(want, fault, get)?;
            progress.say(&format!("{}: taken from the snapshot archive, for no mirror has it", want.title));
        }
        Ok(())
    }

    /// Asks the snapshot archive for what the mirrors, which ended with `fault`, dropped.
    fn elsewhere(
        &self,
        want: &Want,
        fault: FetchError,
        get: impl Fn(&[String]) -> Result<(), FetchError>,
    ) -> Result<(), FetchError> {
        let FetchError::Mirrors { title, kind, mut attempts } = fault else { return Err(fault) };
        let wrong = attempts.iter().any(|attempt| attempt.fault.is_wrong_content());
        let gone = attempts.iter().any(|attempt| matches!(attempt.fault, Fault::Missing));
        // A mirror with another index than its Release names is as good as one without. A wrong package, or no
        // answer at all, is another matter: that has to be seen.
        let elsewhere = gone || wrong && kind == FileKind::Index;
        if !elsewhere {
            return Err(FetchError::Mirrors { title, kind, attempts });
        }
        match get(&self.snapshot_urls(want)) {
            Ok(()) => return Ok(()),
            Err(FetchError::Mirrors { attempts: more, .. }) => attempts.extend(more),
            Err(other) => return Err(other),
        }
        let wrong = attempts.iter().any(|attempt| attempt.fault.is_wrong_content());
        if kind == FileKind::Package && !wrong {
            return Err(FetchError::Gone(vec![GoneFile { title, sha256: want.sha256, attempts }]));
        }
        Err(FetchError::Mirrors { title, kind, attempts })
    }

    fn urls(&self, archive: &str, paths: &[String]) -> Result<Vec<String>, FetchError> {
        let mirrors = self.mirrors.get(archive).filter(|mirrors| !mirrors.is_empty());
        let mirrors = mirrors.ok_or_else(|| FetchError::NoMirror(archive.into()))?;
        let urls = mirrors.iter().flat_map(|mirror| paths.iter().map(move |path| format!("{mirror}/{path}")));
        Ok(urls.collect())
    }

    fn snapshot_urls(&self, want: &Want) -> Vec<String> {
        let bases = self.snapshots.get(&want.origin.archive).into_iter().flatten();
        let urls = bases.flat_map(|base| {
            let stamps = want.origin.snapshots();
            stamps.flat_map(move |stamp| want.paths.iter().map(move |path| format!("{base}/{stamp}/{path}")))
        });
        urls.filter(|url| !self.session.is_dead(url)).collect()
    }
}

fn told(title: &str, kind: FileKind, failure: Failure) -> FetchError {
    match failure {
        Failure::Attempts(attempts) => FetchError::Mirrors { title: title.into(), kind, attempts },
        Failure::Stopped => FetchError::Stopped,
        Failure::Cache(fault) => FetchError::Cache(fault),
    }
}
