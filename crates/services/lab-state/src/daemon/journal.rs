//! The log's file. Nothing that happens to it stops the daemon: what cannot be written is counted, and told on
//! standard output and in the log once that works again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
    time::Duration,
};

use pilotlight_kit::Event;
use pilotlight_lab_state::Policy;

use crate::{SERVICE, stamped};

/// The log, and the one before it.
const LOG: &str = "events.jsonl";
const OLD_LOG: &str = "events.1.jsonl";
/// As much is written at once, in bytes, before more is taken.
const WRITTEN_AT_ONCE: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    path: PathBuf,
    file: Option<File>,
    policy: Policy,
    /// Lines that are not written yet, and how many.
    pending: Vec<u8>,
    lines: u64,
    /// The flush that is under way.
    flushing: Option<JoinHandle<io::Result<()>>>,
}

impl Journal {
    pub(crate) fn new(folder: &Path) -> Self {
        let mut journal = Self {
            folder: folder.to_owned(),
            path: folder.join(LOG),
            file: None,
            policy: Policy::default(),
            pending: Vec::new(),
            lines: 0,
            flushing: None,
        };
        if let Err(error) = journal.open() {
            journal.say_failed(&error);
        }
        journal
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// When [`Journal::flush`] wants to be called.
    pub(crate) fn flush_at(&self) -> Option<Duration> {
        self.policy.flush_at()
    }

    /// An event of this daemon's own: to standard output as well.
    pub(crate) fn own(&mut self, event: Event, now: Duration) {
        let line = stamped(event);
        print(&line);
        self.append(&line, now);
    }

    /// Takes a whole line, to be written with others by [`Journal::write`], or counted as lost.
    pub(crate) fn append(&mut self, line: &[u8], now: Duration) {
        self.pending.extend_from_slice(line);
        self.lines += 1;
        if self.pending.len() >= WRITTEN_AT_ONCE {
            self.write(now);
        }
    }

    /// Writes what was appended.
    pub(crate) fn write(&mut self, now: Duration) {
        if self.lines == 0 {
            return;
        }
        let (bytes, lines) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.lines));
        match self.put(&bytes, now) {
            Ok(()) => {
                if let Some(lost) = self.policy.recovered() {
                    let reason = "events were lost while the log could not be written";
                    let event = Event::failed(SERVICE, "log", reason).fact("lost", lost);
                    let line = stamped(event);
                    print(&line);
                    // Fails at worst like any other line.
                    if self.put(&line, now).is_err() {
                        self.policy.failed(lost + 1);
                    }
                }
            }
            Err(error) => {
                if self.policy.failed(lines) {
                    self.say_failed(&error);
                }
            }
        }
    }

    /// Makes the log durable when that is due. A card can take most of a second for it, in which more events may come
    /// than the socket holds: so it happens beside the taking.
    pub(crate) fn flush(&mut self, now: Duration) {
        if self.policy.flush_at().is_none_or(|at| now < at) {
            return;
        }
        if self.flushing.as_ref().is_some_and(|flushing| !flushing.is_finished()) {
            return self.policy.postpone(now);
        }
        self.flushed();
        let file = self.file.as_ref().map(File::try_clone);
        self.policy.flushed();
        match file {
            Some(Ok(file)) => {
                let thread = thread::Builder::new().name("flush".to_owned());
                match thread.spawn(move || file.sync_data()) {
                    Ok(flushing) => self.flushing = Some(flushing),
                    Err(error) => self.say_failed(&error),
                }
            }
            Some(Err(error)) => self.say_failed(&error),
            None => {}
        }
    }

    /// Writes what was appended, makes the log durable and waits for that.
    pub(crate) fn finish(&mut self, now: Duration) {
        self.write(now);
        self.flushed();
        if let Some(Err(error)) = self.file.as_ref().map(File::sync_data) {
            self.say_failed(&error);
        }
        self.policy.flushed();
    }

    fn flushed(&mut self) {
        if let Some(Ok(Err(error))) = self.flushing.take().map(JoinHandle::join) {
            self.say_failed(&error);
        }
    }

    fn put(&mut self, lines: &[u8], now: Duration) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        let how = self.policy.write(lines.len() as u64);
        if how.turn_over {
            self.file = None;
            fs::rename(&self.path, self.folder.join(OLD_LOG))?;
            self.open()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let before = file.stream_position()?;
        let new_line: &[u8] = if how.new_line { b"\n" } else { b"" };
        if let Err(error) = file.write_all(new_line).and_then(|()| file.write_all(lines)) {
            // A full disk may have taken part of the line: take it back, else open it anew, which finds the torn line.
            let taken_back = file.set_len(before).and_then(|()| file.seek(SeekFrom::Start(before)));
            if taken_back.is_err() {
                self.file = None;
            }
            return Err(error);
        }
        self.policy.written((new_line.len() + lines.len()) as u64, now);
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        // Whoever is on the Pi may read what happened, an operator first of all; a log from before may not say so yet.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        let size = file.seek(SeekFrom::End(0))?;
        let mut last = [b'\n'];
        if size > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        self.policy.opened(size, last != *b"\n");
        self.file = Some(file);
        Ok(())
    }

    fn say_failed(&self, error: &io::Error) {
        let reason =
            format!("cannot write {}: {error}; events that are lost are counted", self.path.display());
        print(&stamped(Event::failed(SERVICE, "log", reason)));
    }
}

fn print(line: &[u8]) {
    let mut out = io::stdout().lock();
    // A closed standard output must not take the service down with it.
    let _ = out.write_all(line).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn text(folder: &TempDir, name: &str) -> String {
        fs::read_to_string(folder.path().join(name)).unwrap()
    }

    #[test]
    fn a_torn_log_goes_on_with_a_new_line() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join(LOG), "{\"whole\":1}\n{\"cut").unwrap();
        let mut journal = Journal::new(folder.path());
        journal.append(b"{\"new\":1}\n", Duration::ZERO);
        journal.finish(Duration::ZERO);
        assert_eq!(text(&folder, LOG), "{\"whole\":1}\n{\"cut\n{\"new\":1}\n");
    }

    #[test]
    fn a_long_log_is_put_aside() {
        let folder = TempDir::new().unwrap();
        let long = "x".repeat(pilotlight_lab_state::policy::TURN_OVER as usize - 1) + "\n";
        fs::write(folder.path().join(LOG), &long).unwrap();
        fs::write(folder.path().join(OLD_LOG), "older\n").unwrap();
        let mut journal = Journal::new(folder.path());
        journal.append(b"{}\n", Duration::ZERO);
        journal.write(Duration::ZERO);
        assert_eq!(text(&folder, LOG), "{}\n");
        assert!(text(&folder, OLD_LOG) == long);
    }

    #[test]
    fn losses_are_told_once_the_log_is_back() {
        let folder = TempDir::new().unwrap();
        let missing = folder.path().join("file/state");
        fs::write(folder.path().join("file"), "in the way").unwrap();
        let mut journal = Journal::new(&missing);
        journal.append(b"{\"lost\":1}\n", Duration::ZERO);
        journal.write(Duration::ZERO);
        journal.append(b"{\"lost\":2}\n", Duration::ZERO);
        journal.append(b"{\"lost\":3}\n", Duration::ZERO);
        journal.write(Duration::ZERO);
        fs::remove_file(folder.path().join("file")).unwrap();
        journal.append(b"{\"kept\":1}\n", Duration::ZERO);
        journal.write(Duration::ZERO);
        let text = text(&folder, "file/state/events.jsonl");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "{\"kept\":1}");
        assert!(lines[1].contains("\"lost\":3"), "{text}");
    }
}
