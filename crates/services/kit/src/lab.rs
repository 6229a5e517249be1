//! The lab in force, read from its file, and what has become of its nodes since.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    rc::Rc,
};

use pilotlight_lab::{Lab, LabState, Problems, Versions};

use crate::assets;

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

/// Reads the lab at `path` with what has become of its nodes by the state at `state`, once.
///
/// # Errors
/// As [`load`] does. A state that cannot be read counts as [`Current::faults`] says.
pub fn load_now(path: &Path, state: &Path) -> Result<Rc<Lab>, LoadError> {
    Ok(Current::new(load(path)?, state, &[]).now())
}

/// A lab, what becomes of its nodes while it is in force, and what the Pi has for them: each start of a machine is decided by
/// what is known then.
#[derive(Debug)]
pub struct Current {
    /// The lab as its file has it.
    lab: Lab,
    /// The state's file and the folders whose indexes say what the Pi has. Each file is replaced as a whole.
    state: PathBuf,
    indexes: Vec<PathBuf>,
    seen: RefCell<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// The files that were read last, the state first; none where there was none.
    stamps: Vec<Option<Stamp>>,
    lab: Rc<Lab>,
    faults: Vec<String>,
}

/// What tells one file from the one that took its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        let modified = (file.mtime(), file.mtime_nsec());
        Some(Self { inode: file.ino(), length: file.len(), modified })
    }
}

impl Current {
    /// A lab, the file of its state, usually [`pilotlight_lab::paths::LAB_STATE`], which need not be there, and the folders
    /// of which an index may say what the Pi has.
    pub fn new(lab: Lab, state: &Path, indexes: &[PathBuf]) -> Self {
        let seen = Seen { stamps: Vec::new(), lab: Rc::new(lab.clone()), faults: Vec::new() };
        Self { lab, state: state.to_owned(), indexes: indexes.to_owned(), seen: RefCell::new(seen) }
    }

    /// The lab as its file has it: for all that neither state nor index changes.
    pub fn in_force(&self) -> &Lab {
        &self.lab
    }

    /// The lab with what has become of it: the same one as before as long as that is the same.
    pub fn now(&self) -> Rc<Lab> {
        let indexes = self.indexes.iter().map(|folder| Stamp::of(&folder.join(Versions::INDEX)));
        // Before they are read: what is replaced meanwhile is read again.
        let stamps: Vec<_> = std::iter::once(Stamp::of(&self.state)).chain(indexes).collect();
        let mut seen = self.seen.borrow_mut();
        if seen.stamps != stamps {
            *seen = self.read(stamps);
        }
        Rc::clone(&seen.lab)
    }

    /// The same as [`Current::now`] gave last, without a look at any file: for what is told of a machine, not decided.
    pub fn last(&self) -> Rc<Lab> {
        Rc::clone(&self.seen.borrow().lab)
    }

    /// What is wrong with what was found last, each fault told once. Until a state is mended, no channel counts as chosen, and
    /// whatever is installed by itself as installed.
    pub fn faults(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.borrow_mut().faults)
    }

    fn read(&self, stamps: Vec<Option<Stamp>>) -> Seen {
        let (versions, mut faults) = assets::versions(&self.indexes);
        let lab = Lab { versions, ..self.lab.clone() };
        let mut text = String::new();
        let state = match File::open(&self.state)
            .and_then(|file| file.take(LONGEST_STATE).read_to_string(&mut text))
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LabState::default()),
            Err(error) => Err(error.to_string()),
            Ok(_) => LabState::parse(&text).map_err(|error| error.to_string()),
        };
        let state = state.unwrap_or_else(|fault| {
            faults.push(format!("{}: {fault}", self.state.display()));
            LabState::assumed(&lab)
        });
        Seen { stamps, lab: Rc::new(state.applied(&lab)), faults }
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
        let current = Current::new(pilotlight_lab::parse(LAB).unwrap(), &path, &[]);
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
        assert_eq!(current.faults(), [""; 0]);

        put("[channels.one]\nchannel = \"../beta\"\nprofile = \"flatcar\"\ninstead-of = \"stable\"\n");
        assert_eq!(channel(), None);
        assert!(current.now().node_by_name("new").unwrap().installed, "a damaged file erases a disk");
        assert!(current.faults()[0].contains("nodes.toml"));
        assert_eq!((channel(), current.faults().len()), (None, 0), "told twice");

        fs::remove_file(&path).unwrap();
        assert_eq!(channel(), None);
        assert_eq!(current.in_force().node_by_name("one").unwrap().channel, None);
    }
    #[test]
    fn what_the_pi_has_counts_from_the_next_look_on() {
        let folder = tempfile::tempdir().unwrap();
        let indexes = ["brought", "mirrored"].map(|name| folder.path().join(name));
        let lab = pilotlight_lab::parse(LAB).unwrap();
        let current = Current::new(lab, &folder.path().join("nodes.toml"), &indexes);
        let version = || {
            let now = current.now();
            let (release, channel) = now.followed(now.node_by_name("one").unwrap()).unwrap();
            now.versions.of(release, channel).map(str::to_owned)
        };
        assert_eq!(version(), None);
        fs::create_dir(&indexes[1]).unwrap();
        let put = |text: &str| {
            fs::write(indexes[1].join("new"), text).unwrap();
            fs::rename(indexes[1].join("new"), indexes[1].join(Versions::INDEX)).unwrap();
        };
        let index = |version: &str| {
            format!(
                "[[release]]\nsystem = \"flatcar\"\narchitecture = \"amd64\"\nversion = \"{version}\"\n\
                 channels = [\"stable\"]\n[release.files]\n"
            )
        };
        put(&index("1.1.0"));
        assert_eq!(version().as_deref(), Some("1.1.0"));
        put(&index("1.2.0"));
        assert_eq!(version().as_deref(), Some("1.2.0"));
        assert!(Rc::ptr_eq(&current.now(), &current.now()));
        put("[[release]]\n");
        assert_eq!(version(), None);
        assert!(current.faults()[0].contains("index.toml"));
    }
}
