//! What is said, and where: on the console for the person at the serial line, in the kernel's log for the journal.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
};

use super::Fault;

/// The console and the kernel's log; either may be missing.
pub(crate) struct Console {
    terminal: Option<File>,
    log: Option<File>,
}

impl Console {
    /// Opens both. Needs `/dev`.
    pub(crate) fn open() -> Self {
        let open = |path| OpenOptions::new().write(true).open(path).ok();
        Self { terminal: open("/dev/console"), log: open("/dev/kmsg") }
    }

    /// Says something to the person and to the log.
    pub(crate) fn say(&self, text: &str) {
        self.log('6', text);
        if let Some(mut terminal) = self.terminal.as_ref() {
            for line in text.lines() {
                let _ = write!(terminal, "pilotlight-init: {line}\r\n");
            }
        }
    }

    /// Says something to the log alone.
    pub(crate) fn note(&self, text: &str) {
        self.log('5', text);
    }

    /// Says why the start ends here.
    pub(crate) fn fault(&self, fault: &Fault) {
        self.say(&format!("cannot start: {}", fault.chain()));
    }

    /// Each line by itself, because the kernel's log cuts a record at 976 bytes, and the first ones alone, because
    /// it drops what comes too fast; `level` as in syslog(3).
    fn log(&self, level: char, text: &str) {
        if let Some(mut log) = self.log.as_ref() {
            for line in text.lines().take(3) {
                let end = line.floor_char_boundary(900);
                let _ = log.write_all(format!("<{level}>pilotlight-init: {}", &line[..end]).as_bytes());
            }
        }
    }
}
