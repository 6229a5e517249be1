//! The event log, for people.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use pilotlight_kit::{Event, Outcome};
use pilotlight_story::utc;
use serde_json::Value;

const STEP: Duration = Duration::from_millis(200);

/// Prints every event in the log at `folder`, and with `follow` those that come.
pub(crate) fn print(folder: &Path, follow: bool) -> anyhow::Result<()> {
    let mut reader = Reader::default();
    loop {
        let lines = reader
            .read(folder)
            .with_context(|| format!("cannot read the event log in {}", folder.display()))?;
        let mut out = io::stdout().lock();
        let text: String = lines.iter().map(|line| readable(line) + "\n").collect();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            // Somebody has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error).context("cannot print"),
        }
        if !follow {
            return Ok(());
        }
        drop(out);
        thread::sleep(STEP);
    }
}

/// Every event in the log at `folder`, oldest first.
pub(crate) fn all(folder: &Path) -> anyhow::Result<Vec<Event>> {
    let lines = Reader::default().read(folder);
    let lines = lines.with_context(|| format!("cannot read the event log in {}", folder.display()))?;
    // A line that a power cut left half written is none.
    Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// How much of each file was read. Files are known by their inodes: a log that is full gets another name.
#[derive(Debug, Default)]
struct Reader {
    seen: BTreeMap<(u64, u64), u64>,
}

impl Reader {
    /// The whole lines that have come since the last call, oldest file first.
    fn read(&mut self, folder: &Path) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut still_there = BTreeMap::new();
        for path in files(folder)? {
            // A file may go between the look into the folder and this.
            let Ok(mut file) = File::open(&path) else { continue };
            let metadata = file.metadata()?;
            let key = (metadata.dev(), metadata.ino());
            let from = self.seen.get(&key).copied().filter(|from| *from <= metadata.len()).unwrap_or(0);
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(from))?;
            file.read_to_end(&mut bytes)?;
            // The rest is a line that is being written.
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let text = String::from_utf8_lossy(&bytes[..whole]);
            lines.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
            still_there.insert(key, from + whole as u64);
        }
        self.seen = still_there;
        Ok(lines)
    }
}

/// The files of the log, the one that was written to last at the end.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            files.push((metadata.mtime(), metadata.mtime_nsec(), entry.path()));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, _, path)| path).collect())
}

/// One event as a person reads it; a line that is none stays as it is.
fn readable(line: &str) -> String {
    let Ok(event) = serde_json::from_str::<Event>(line) else { return line.to_owned() };
    let who = match (&event.node, &event.mac) {
        (Some(node), Some(mac)) => format!(" {node} ({mac})"),
        (Some(one), None) | (None, Some(one)) => format!(" {one}"),
        (None, None) => String::new(),
    };
    let facts: String = event.facts.iter().map(|(name, value)| format!(" {name}={}", plain(value))).collect();
    let outcome = match event.outcome {
        Outcome::Ok => "",
        Outcome::Dropped => " dropped",
        Outcome::Failed => " FAILED",
    };
    let reason = event.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let (time, up) = (utc(event.unix_ms), event.boot_ms as f64 / 1000.0);
    // What came from the wire must not steer a terminal.
    let text = format!("{time} +{up:.3} {} {}{outcome}{who}{facts}{reason}", event.service, event.stage);
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_is_one_plain_line() {
        let check = |line, expect: &str| assert_eq!(readable(line), expect);
        check(
            r#"{"unix-ms":0,"boot-ms":23449,"service":"dhcp","stage":"offer","outcome":"ok","node":"node1","mac":"52:54:00:12:34:56","address":"10.77.0.11"}"#,
            "1970-01-01 00:00:00 +23.449 dhcp offer node1 (52:54:00:12:34:56) address=10.77.0.11",
        );
        check(
            r#"{"service":"tftp","stage":"drop","outcome":"dropped","reason":"\u001b[2Jbad","bytes":3}"#,
            "1970-01-01 00:00:00 +0.000 tftp drop dropped bytes=3: ?[2Jbad",
        );
        check("no event", "no event");
    }

    #[test]
    fn a_log_is_followed_across_a_change_of_name() {
        let folder = tempfile::tempdir().unwrap();
        let (now, full) = (folder.path().join("events"), folder.path().join("events.1"));
        let mut reader = Reader::default();
        fs::write(&now, "one\ntw").unwrap();
        assert_eq!(reader.read(folder.path()).unwrap(), ["one"]);
        fs::write(&now, "one\ntwo\n").unwrap();
        fs::rename(&now, &full).unwrap();
        fs::write(&now, "three\n").unwrap();
        let mut lines = reader.read(folder.path()).unwrap();
        lines.sort();
        assert_eq!(lines, ["three", "two"]);
        assert!(reader.read(folder.path()).unwrap().is_empty());
        fs::remove_file(&full).unwrap();
        assert!(reader.read(folder.path()).unwrap().is_empty());
        assert!(Reader::default().read(&folder.path().join("none")).is_err());
    }

    proptest! {
        #[test]
        fn any_line_is_printed(line in ".*", unix_ms: u64) {
            let _ = readable(&line);
            let _ = utc(unix_ms);
        }
    }
}
