//! The lab in force, read from its file, and what has become of its nodes since.

use std::{
    cell::RefCell,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    rc::Rc,
};

use pilotlight_lab::{Lab, LabState, Problems};

/// The longest state that is read, in bytes: more than the largest lab can have.
const LONGEST_STATE: u64 = 1 << 20;

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read the lab in force, {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file says something wrong. `init` puts only checked labs in force, so this one came another way.
    #[error("{} problems in the lab\n{report}", .problems.count())]
    Invalid {
        /// What is wrong.
        problems: Problems,
        /// The same for a person to read, with the lines of the file.
        report: String,
    },
}

/// Reads the lab at `path`, usually [`pilotlight_lab::paths::LAB`].
///
/// # Errors
/// When the file cannot be read, or is no valid lab.
pub fn load(path: &Path) -> Result<Lab, LoadError> {
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(read)?;
    pilotlight_lab::parse(&text).map_err(|problems| {
        let report = problems.render(&path.display().to_string(), &text, false);
        LoadError::Invalid { problems, report }
    })
}

/// A lab, and what becomes of its nodes while it is in force: each start of a machine is decided by what is known then.
#[derive(Debug)]
pub struct Current {
    /// The lab as its file has it.
    lab: Rc<Lab>,
    /// The state's file, which is replaced as a whole.
    path: PathBuf,
    seen: RefCell<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// The file that was read last; none when there was none.
    stamp: Option<Stamp>,
    lab: Rc<Lab>,
    fault: Option<String>,
}

/// What tells one file from the one that took its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self { inode: file.ino(), length: file.len(), modified: (file.mtime(), file.mtime_nsec()) }
    }
}

impl Current {
    /// A lab, and the file of its state, usually [`pilotlight_lab::paths::LAB_STATE`], which need not be there.
    pub fn new(lab: Lab, state: &Path) -> Self {
        let lab = Rc::new(lab);
        let seen = Seen { stamp: None, lab: Rc::clone(&lab), fault: None };
        Self { lab, path: state.to_owned(), seen: RefCell::new(seen) }
    }

    /// The lab as its file has it: for all that no state changes.
    pub fn in_force(&self) -> &Lab {
        &self.lab
    }

    /// The lab with what has become of it: the same one as before as long as that is the same.
    pub fn now(&self) -> Rc<Lab> {
        let mut seen = self.seen.borrow_mut();
        let stamp = std::fs::metadata(&self.path).map(|file| Stamp::of(&file));
        match stamp {
            Ok(stamp) if seen.stamp == Some(stamp) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *seen = Seen { stamp: None, lab: Rc::clone(&self.lab), fault: None };
            }
            _ => *seen = self.read(),
        }
        Rc::clone(&seen.lab)
    }

    /// What is wrong with the state that was found last, told once. Until it is mended, no channel counts
    /// as chosen, and whatever is installed by itself as installed.
    pub fn fault(&self) -> Option<String> {
        self.seen.borrow_mut().fault.take()
    }

    fn read(&self) -> Seen {
        let mut stamp = None;
        let mut read = || {
            let mut file = File::open(&self.path)?;
            stamp = Some(Stamp::of(&file.metadata()?));
            let mut text = String::new();
            file.by_ref().take(LONGEST_STATE).read_to_string(&mut text)?;
            Ok::<_, io::Error>(text)
        };
        let state = read().map_err(|error| error.to_string());
        let state = state.and_then(|text| LabState::parse(&text).map_err(|error| error.to_string()));
        match state {
            Ok(state) => Seen { stamp, lab: Rc::new(state.applied(&self.lab)), fault: None },
            Err(fault) => {
                let fault = Some(format!("{}: {fault}", self.path.display()));
                Seen { stamp, lab: Rc::new(LabState::assumed(&self.lab).applied(&self.lab)), fault }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
[[nodes]]
name = "one"
mac = "52:54:00:00:00:01"
address = "10.77.0.11"
profile = "flatcar"
[[nodes]]
name = "new"
mac = "52:54:00:00:00:02"
address = "10.77.0.12"
profile = "debian-installer"
install-to = "/dev/sda"
[profiles.flatcar]
kind = "flatcar"
"#;

    #[test]
    fn what_is_known_counts_from_the_next_look_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nodes.toml");
        let current = Current::new(pilotlight_lab::parse(LAB).unwrap(), &path);
        let channel = || current.now().node_by_name("one").unwrap().channel.clone();
        assert_eq!(channel(), None);
        let put = |text: &str| {
            fs::write(folder.path().join("new"), text).unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
        };
        put("[channels.one]\nchannel = \"beta\"\nprofile = \"flatcar\"\ninstead-of = \"stable\"\n");
        assert_eq!(channel().as_deref(), Some("beta"));
        let before = current.now();
        assert!(Rc::ptr_eq(&before, &current.now()));
        assert_eq!(current.fault(), None);

        put("[channels.one]\nchannel = \"../beta\"\nprofile = \"flatcar\"\ninstead-of = \"stable\"\n");
        assert_eq!(channel(), None);
        assert!(current.now().node_by_name("new").unwrap().installed, "a damaged file erases a disk");
        assert!(current.fault().unwrap().contains("nodes.toml"));
        assert_eq!((channel(), current.fault()), (None, None), "told twice");

        fs::remove_file(&path).unwrap();
        assert_eq!(channel(), None);
        assert_eq!(current.in_force().node_by_name("one").unwrap().channel, None);
    }
}
