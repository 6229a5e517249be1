//! One file on its way into the cache: taken up where it was left, digested as it comes, named when it is right.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    cache::{Cache, CacheError},
    digest::{Digest, Hasher},
    http::{Fault, Headers, Http},
    progress::{Item, Progress},
    scribe::Scribe,
    session::{Failure, Setback, Want},
};

/// What is known of a file before it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its length in bytes.
    pub size: Option<u64>,
    /// Its digest.
    pub sha256: Option<Digest>,
    /// The most bytes that are taken where its length is not known.
    pub limit: u64,
}

impl Expected {
    /// Of a file that is known.
    pub fn exactly(size: u64, sha256: Digest) -> Self {
        Self { size: Some(size), sha256: Some(sha256), limit: size }
    }

    /// The most bytes that are taken.
    fn most(&self) -> u64 {
        self.size.unwrap_or(self.limit)
    }
}

/// A file on its way into the cache.
pub(crate) struct Partial<'p> {
    headers: &'p Headers,
    expected: Expected,
    path: PathBuf,
    scribe: Scribe,
    /// Of the bytes that are here.
    hasher: Hasher,
    have: u64,
    item: Item<'p>,
}

impl<'p> Partial<'p> {
    /// Takes it up where it was left; or says what is there already, whole.
    pub(crate) fn open(
        cache: &Cache,
        want: Want<'p>,
        progress: &'p Progress,
    ) -> Result<Result<Self, (Digest, u64)>, CacheError> {
        let Want { title, urls, headers, expected } = want;
        let name = Cache::name(expected.sha256, urls.first().map_or("", String::as_str));
        let path = cache.partial(&name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(CacheError::io("open", &path))?;
        // Another builder may fetch the same file. File systems without locks go without this courtesy: both then
        // write the same bytes.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            progress.say(&format!("{title}: another builder is at it, waiting"));
            let _ = file.lock();
        }
        if let Some(here) = cache.find(&expected) {
            progress.item(title, here.1, here.1);
            // Empty, and whoever waits for it looks at the finished one first.
            let _ = std::fs::remove_file(&path);
            return Ok(Err(here));
        }
        let mut hasher = Hasher::default();
        let have = resume(&mut file, &mut hasher, expected.most()).map_err(CacheError::io("read", &path))?;
        let item = progress.item(title, expected.size.unwrap_or(have), have);
        let scribe = Scribe::new(file, cache.is_on_card());
        Ok(Ok(Self { headers, expected, path, scribe, hasher, have, item }))
    }

    /// Gets what is missing from `url` and checks the whole.
    pub(crate) fn complete(
        &mut self,
        http: &Http,
        url: &str,
        accept: &impl Fn(&Path, &Digest) -> Result<(), Fault>,
        stop: &AtomicBool,
    ) -> Result<(), Setback> {
        let resumed = self.have > 0;
        if self.expected.size.is_none_or(|size| size == 0 || self.have < size) {
            self.pull(http, url, stop)?;
        }
        let found = self.hasher.clone().finish();
        let verdict = match self.expected.sha256 {
            Some(expected) if expected != found => Err(Fault::Tampered { expected, found }),
            _ => accept(&self.path, &found),
        };
        let Err(fault) = verdict else { return Ok(()) };
        self.start_anew()?;
        if resumed {
            // The fault may lie in what was here before, not in this mirror.
            return self.complete(http, url, accept, stop);
        }
        Err(fault.into())
    }

    fn pull(&mut self, http: &Http, url: &str, stop: &AtomicBool) -> Result<(), Setback> {
        let before = self.have;
        let mut body = http.get(url, self.headers, self.have)?;
        let (known, most) = (self.expected.size, self.expected.most());
        let size = match (known, body.whole()) {
            (Some(expected), Some(found)) if found != expected => {
                return Err(Fault::Size { expected, found: Some(found) }.into());
            }
            (None, Some(found)) if found > most => {
                return Err(Fault::Size { expected: most, found: None }.into());
            }
            (known, found) => known.or(found),
        };
        if body.start != self.have {
            self.start_anew()?;
        }
        let mut block = vec![0; 1 << 16];
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(Setback::Fatal(Failure::Stopped));
            }
            let moved = self.have > before;
            let read = body.read(&mut block).map_err(|fault| Setback::Mirror { fault, moved })?;
            if read == 0 {
                break;
            }
            if self.have + read as u64 > most {
                self.start_anew()?;
                return Err(Fault::Size { expected: most, found: None }.into());
            }
            self.scribe.write(&block[..read]).map_err(CacheError::io("write", &self.path))?;
            self.hasher.update(&block[..read]);
            self.have += read as u64;
            self.item.add(read as u64);
        }
        if let Some(expected) = size.filter(|size| self.have < *size) {
            let fault = Fault::Short { got: self.have, expected };
            return Err(Setback::Mirror { fault, moved: self.have > before });
        }
        Ok(())
    }

    fn start_anew(&mut self) -> Result<(), CacheError> {
        self.item.take_back(self.have);
        (self.have, self.hasher) = (0, Hasher::default());
        let file = self.scribe.file();
        let emptied = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
        emptied.map(drop).map_err(CacheError::io("write", &self.path))
    }

    /// Leaves it as it is, to be taken up another time.
    pub(crate) fn give_up(self) {
        self.item.take_back(self.have);
    }

    /// Gives it its name in the cache, and says what it is.
    pub(crate) fn keep(self, cache: &Cache) -> Result<(Digest, u64), CacheError> {
        let found = self.hasher.finish();
        let object = cache.object(&found);
        self.scribe.finish().map_err(CacheError::io("write", &self.path))?;
        std::fs::rename(&self.path, &object).map_err(CacheError::io("rename into place", &object))?;
        Ok((found, self.have))
    }
}

/// Takes up what is in a partial file: digests it and stands behind it. One that is too long is emptied.
fn resume(file: &mut File, hasher: &mut Hasher, most: u64) -> io::Result<u64> {
    if file.metadata()?.len() > most {
        file.set_len(0)?;
    }
    let (mut have, mut block) = (0, vec![0; 1 << 17]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(have),
            read => {
                hasher.update(&block[..read]);
                have += read as u64;
            }
        }
    }
}
