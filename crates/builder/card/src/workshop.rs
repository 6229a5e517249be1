//! The workshop: where archives, lock, caches and tools are, opened once for everything a verb does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use pilotlight_archive::{
    Archives, FetchError, GoneFile, Lock, Mirrors, Review, Spec, Update, read_apt, resolve_mirrors,
    resolve_snapshots,
};
use pilotlight_board::Board;
use pilotlight_fetch::Cache;
use pilotlight_tools::{BoxError, Toolbox};

use crate::files;

/// The base of whoever names none.
pub const BASE: &str = "debian";

/// What a person can say about where things come from and where they are kept.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The base that roots are made of: a folder of `bases/`; none is [`BASE`].
    pub base: Option<String>,
    /// Mirrors to use instead of those the machine knows: addresses, or `ARCHIVE=ADDRESS`.
    pub mirrors: Vec<String>,
    /// Snapshot archives to use instead of those the base names: addresses, `ARCHIVE=ADDRESS`, or `none`.
    pub snapshots: Vec<String>,
    /// Whether the lock has to be exactly what is asked for, and stay so.
    pub locked: bool,
    /// The cache folder; none is `pilotlight` in the user's cache folder.
    pub cache: Option<PathBuf>,
}

/// The sets of packages that become programs on the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toolset {
    /// What compiles the services.
    Toolchain,
    /// What compiles the first program of nodes with 64-bit Arm.
    ToolchainArm64,
    /// QEMU and its firmware.
    Emulator,
    /// Other people's clients, for the tests.
    Clients,
    /// What judges a finished image, for the tests.
    Checkers,
    /// What speaks to a running Pi.
    Desk,
    /// What our services are measured against.
    Peers,
}

impl Toolset {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Toolchain,
        Self::ToolchainArm64,
        Self::Emulator,
        Self::Clients,
        Self::Checkers,
        Self::Desk,
        Self::Peers,
    ];

    /// The name of its set in `archives.toml`.
    pub fn set(self) -> &'static str {
        match self {
            Self::Toolchain => "toolchain",
            Self::ToolchainArm64 => "toolchain-arm64",
            Self::Emulator => "emulator",
            Self::Clients => "clients",
            Self::Checkers => "checkers",
            Self::Desk => "desk",
            Self::Peers => "peers",
        }
    }
}

/// A workspace with its lock, and the caches that go with it.
#[derive(Debug)]
pub struct Workshop {
    pub(crate) workspace: PathBuf,
    pub(crate) base: String,
    pub(crate) archives: Archives,
    pub(crate) lock: Lock,
    pub(crate) lock_text: String,
    mirrors: Mirrors,
}

impl Workshop {
    /// Opens the workspace in the folder `workspace`.
    ///
    /// # Errors
    /// No cache folder, or a base or lock that is missing or wrong.
    pub fn open(workspace: &Path, settings: &Settings) -> anyhow::Result<Self> {
        let base = settings.base.as_deref().unwrap_or(BASE);
        let layers = layers(workspace, base)?;
        let (archives, mirrors) = archives(workspace, base, settings, Archives::spec)?;
        let (mut lock, mut lock_text) = (None, String::new());
        for layer in layers {
            let (below, text) = read_lock(workspace, &layer)?;
            lock = Some(match lock {
                Some(lock) => Lock::upon(lock, below),
                None => below,
            });
            lock_text.push_str(&text);
        }
        let lock = lock.unwrap_or_default();
        if settings.locked {
            archives.fits(&lock)?;
        }
        Ok(Self {
            workspace: workspace.to_owned(),
            base: base.to_owned(),
            archives,
            lock,
            lock_text,
            mirrors,
        })
    }

    /// The folder of everything that is made in the workspace and can be made again.
    pub fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.workspace.join("target"), PathBuf::from)
    }

    /// The base that roots are made of.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A file of the base, or of the one that it builds on when it has none of that name.
    pub(crate) fn base_file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let paths: Vec<PathBuf> = layers(&self.workspace, &self.base)?
            .iter()
            .map(|layer| folder(&self.workspace, layer).join(name))
            .collect();
        let found = paths.iter().find(|path| path.is_file()).or(paths.first());
        found.cloned().with_context(|| format!("the base {} has no file {name}", self.base))
    }

    /// The text of such a file.
    pub(crate) fn base_text(&self, name: &str) -> anyhow::Result<String> {
        let path = self.base_file(name)?;
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The mirrors of each archive, in the order in which they are tried.
    pub fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    /// The archives and their cache.
    pub fn archives(&self) -> &Archives {
        &self.archives
    }

    /// The lock.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Brings the packages of `sets` into the cache.
    ///
    /// # Errors
    /// A package that no mirror gives.
    pub fn fetch(&self, sets: &[&str]) -> anyhow::Result<()> {
        Ok(self.archives.fetch(&self.lock, sets)?)
    }

    /// The tools of a set, fetched and unpacked unless they are here already.
    ///
    /// # Errors
    /// A package that no mirror gives, or a full disk.
    pub fn toolbox(&self, tools: Toolset) -> anyhow::Result<Toolbox> {
        let set = tools.set();
        let locked = self.archives.locked(&self.lock, set)?;
        let identity: Vec<String> = locked.iter().map(|package| package.sha256.to_string()).collect();
        let parent = self.archives.cache().root().join("tools");
        let packages = || {
            self.archives.fetch(&self.lock, &[set])?;
            eprintln!("{:>12} the {set}", "Unpacking");
            self.archives.unpack(locked, pilotlight_archive::Keep::No)
        };
        let packages = || packages().map_err(|error: pilotlight_archive::Error| BoxError::from(error));
        Toolbox::open(&parent, set, &identity, packages)
            .with_context(|| format!("cannot make the {set} ready"))
    }
}

/// How one lock differs from another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// A line for each package.
    pub lines: Vec<String>,
    /// Whether the file is another one.
    pub written: bool,
}

/// Brings the lock of the base up to what its `archives.toml` asks for, and what `update` names up to what the archives
/// have now; what is gone is mended in the lock of the base that it builds on, too. A lock that cannot be read is in the
/// way, except of [`Update::All`].
///
/// # Errors
/// No mirror that can be believed, a set that cannot be put together, or a lock that cannot be written.
pub fn relock(workspace: &Path, settings: &Settings, update: &Update, now: i64) -> anyhow::Result<Changes> {
    let base = settings.base.as_deref().unwrap_or(BASE);
    let mut layers = layers(workspace, base)?;
    if !matches!(update, Update::Gone(_)) {
        layers.truncate(1);
    }
    let mut all = Changes::default();
    for layer in layers {
        let changes = relock_one(workspace, &layer, settings, update, now)?;
        all.lines.extend(changes.lines);
        all.written |= changes.written;
    }
    Ok(all)
}

fn relock_one(
    workspace: &Path,
    base: &str,
    settings: &Settings,
    update: &Update,
    now: i64,
) -> anyhow::Result<Changes> {
    let (archives, _) = archives(workspace, base, settings, Archives::own_spec)?;
    let path = lock_path(workspace, base);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => String::new(),
        Err(fault) => return Err(fault).with_context(|| format!("cannot read the lock {}", path.display())),
    };
    let old = match (Lock::parse(&text), update) {
        (Ok(old), _) => old,
        _ if text.is_empty() => Lock::default(),
        (Err(_), Update::All) => Lock::default(),
        (Err(fault), _) => return Err(fault).with_context(|| format!("cannot use {}", path.display())),
    };
    let new = archives.relock(&old, update, now)?;
    let lines = changes(&old, &new);
    let rendered = new.render();
    let written = rendered != text;
    if written {
        files::replace(&path, &rendered)?;
    }
    Ok(Changes { lines, written })
}

/// Whether the lock is exactly what `archives.toml` asks for. Nobody is asked.
///
/// # Errors
/// A lock that is missing, unreadable or for something else.
pub fn check_lock(workspace: &Path, settings: &Settings) -> anyhow::Result<()> {
    Workshop::open(workspace, &Settings { locked: true, ..settings.clone() }).map(drop)
}

/// Looks for security updates that the lock lacks, at the time `now` (seconds since 1970).
///
/// # Errors
/// A lock or base that is missing or wrong. What the archives do wrong is part of the review.
pub fn review(workspace: &Path, settings: &Settings, now: i64) -> anyhow::Result<Review> {
    let workshop = Workshop::open(workspace, settings)?;
    Ok(workshop.archives.review(&workshop.lock, now))
}

/// The packages that an error says are nowhere to be had any more; none when it is about something else.
pub fn gone(error: &anyhow::Error) -> Option<&[GoneFile]> {
    error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(pilotlight_archive::Error::Fetch(FetchError::Gone(files))) => Some(files.as_slice()),
        _ => None,
    })
}

/// A line for each package that is another, with the sets in which it is.
fn changes(old: &Lock, new: &Lock) -> Vec<String> {
    type Versions = BTreeMap<String, BTreeMap<String, String>>;
    let listed = |lock: &Lock| {
        let mut versions = Versions::new();
        for (set, locked) in &lock.sets {
            for package in &locked.packages {
                versions.entry(package.qualified()).or_default().insert(set.clone(), package.version.clone());
            }
        }
        versions
    };
    let (old, new) = (listed(old), listed(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let none = BTreeMap::new();
    let mut lines = Vec::new();
    for name in names {
        let (before, after) = (old.get(name).unwrap_or(&none), new.get(name).unwrap_or(&none));
        let mut sets: BTreeMap<(Option<&String>, Option<&String>), Vec<&str>> = BTreeMap::new();
        for set in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            sets.entry((before.get(set), after.get(set))).or_default().push(set);
        }
        for ((before, after), sets) in sets {
            let what = match (before, after) {
                (Some(before), Some(after)) if before != after => format!("{before} -> {after}"),
                (None, Some(after)) => format!("{after} is new"),
                (Some(before), None) => format!("{before} is gone"),
                _ => continue,
            };
            lines.push(format!("{name} {what} ({})", sets.join(", ")));
        }
    }
    lines
}

/// The base and what it builds on, in this order.
fn layers(workspace: &Path, base: &str) -> anyhow::Result<Vec<String>> {
    let known = bases(workspace)?;
    if !known.iter().any(|other| other == base) {
        bail!(Board::unknown_base(base, &known));
    }
    let below = Archives::own_spec(&folder(workspace, base))?.builds_on;
    Ok([base.to_owned()].into_iter().chain(below).collect())
}

/// The names of the bases: the folders of `bases/`.
fn bases(workspace: &Path) -> anyhow::Result<Vec<String>> {
    let folder = workspace.join("bases");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn folder(workspace: &Path, base: &str) -> PathBuf {
    workspace.join("bases").join(base)
}

fn archives(
    workspace: &Path,
    base: &str,
    settings: &Settings,
    read: fn(&Path) -> Result<Spec, pilotlight_archive::Error>,
) -> anyhow::Result<(Archives, Mirrors)> {
    // What a person says of a mirror may be about an archive of the base below.
    let all = Archives::spec(&folder(workspace, base))?;
    let mirrors = resolve_mirrors(&all, &settings.mirrors, &read_apt(Path::new("/etc/apt")))?;
    let snapshots = resolve_snapshots(&all, &settings.snapshots)?;
    let cache = match &settings.cache {
        Some(folder) => Cache::at(folder)?,
        None => Cache::of_user()?,
    };
    let spec = read(&folder(workspace, base))?;
    Ok((Archives::with_spec(spec, mirrors.clone(), cache)?.with_snapshots(snapshots), mirrors))
}

/// The lock of a base, and its text.
fn read_lock(workspace: &Path, base: &str) -> anyhow::Result<(Lock, String)> {
    let path = lock_path(workspace, base);
    let text = fs::read_to_string(&path).with_context(|| {
        let option = if base == BASE { String::new() } else { format!(" --base {base}") };
        format!(
            "cannot read the lock {}: restore it, or make one with `cargo xtask lock{option}`",
            path.display()
        )
    })?;
    let lock = Lock::parse(&text).with_context(|| format!("cannot use {}", path.display()))?;
    Ok((lock, text))
}

/// The lock of a base.
pub fn lock_path(workspace: &Path, base: &str) -> PathBuf {
    workspace.join(match base {
        BASE => "pilotlight.lock".to_owned(),
        other => format!("pilotlight-{other}.lock"),
    })
}
