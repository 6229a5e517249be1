//! A desk to spoil: a workspace, a target folder and a cache of its own, which borrow from the real ones whatever
//! is large and stays good.

use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_archive::{
    Lock, LockedPackage,
    testing::{Server, Site, site_of_lock},
};
use pilotlight_disk::layout;
use pilotlight_fetch::Cache;
use tempfile::TempDir;

use crate::{
    process::{self, Outcome},
    surroundings::{self, Tools},
};

/// What a workspace needs to make an image.
const WORKSPACE: &[&str] =
    &["Cargo.toml", "Cargo.lock", "bases", "boards", "crates", "image-overlay", "pilotlight.lock"];
/// Far more than any run of the builder takes; a builder that hangs must not hang the tests.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A desk, removed at the end.
pub struct Desk {
    folder: TempDir,
    lock: Lock,
    real_cache: PathBuf,
}

impl Desk {
    /// A desk with an empty cache, with no root made yet and nothing to compile.
    pub fn new() -> Result<Self> {
        let lock = fs::read_to_string(surroundings::checkout().join("pilotlight.lock"));
        let lock = Lock::parse(&lock.context("could not read the lock")?)?;
        // The tools lie in `tools/NAME` of the cache.
        let tools = Tools::checkers()?;
        let real_cache = tools.folder().ancestors().nth(2).context("the tools lie in no cache")?.to_owned();
        let folder = tempfile::tempdir().context("could not make a folder")?;
        let desk = Self { folder, lock, real_cache };
        for name in ["workspace", "target/services", "out", "home", "tmp"] {
            let path = desk.path(name);
            fs::create_dir_all(&path).with_context(|| format!("could not make {}", path.display()))?;
        }
        for name in WORKSPACE {
            borrow(&surroundings::checkout().join(name), &desk.path("workspace").join(name))?;
        }
        borrow_all(&real_target().join("services/done"), &desk.path("target/services/done"), &[])?;
        desk.empty_cache()?;
        Ok(desk)
    }

    /// A file or folder on the desk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the image is to be written.
    pub fn image(&self) -> PathBuf {
        self.path("out/card.img")
    }

    /// Takes the roots of the checkout for this desk's own: nothing need be fetched for an image then.
    pub fn borrow_roots(&self) -> Result<()> {
        borrow_all(&real_target().join("roots"), &self.path("target/roots"), &[])
    }

    /// Puts everything into the cache that the checkout's has, but for these packages.
    pub fn fill_cache(&self, without: &[&LockedPackage]) -> Result<()> {
        for part in ["objects", "unpacked"] {
            let without: Vec<String> = without.iter().map(|package| package.sha256.to_string()).collect();
            borrow_all(&self.real_cache.join(part), &self.path("cache").join(part), &without)?;
        }
        Ok(())
    }

    /// Makes the folders of a cache, and puts the tools into it.
    pub fn empty_cache(&self) -> Result<()> {
        let cache = self.path("cache");
        Cache::at(&cache)?;
        borrow(&self.real_cache.join("tools"), &cache.join("tools"))
    }

    /// Throws away what the builder has put into the cache.
    pub fn empty_cache_again(&self) -> Result<()> {
        fs::remove_dir_all(self.path("cache")).context("could not remove the cache")?;
        self.empty_cache()
    }

    /// Throws away the roots that were made. A builder that was killed early has made none.
    pub fn forget_roots(&self) -> Result<()> {
        match fs::remove_dir_all(self.path("target/roots")) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
                Err(fault).context("could not remove the roots")
            }
            _ => Ok(()),
        }
    }

    /// The package `name` that the card's root is made of.
    pub fn package(&self, name: &str) -> Result<&LockedPackage> {
        self.locked("root")?
            .iter()
            .find(|package| package.name == name)
            .with_context(|| format!("the root has no {name}"))
    }

    /// The packages of a set of the checkout's lock.
    pub fn locked(&self, set: &str) -> Result<&[LockedPackage]> {
        let set = self.lock.sets.get(set).with_context(|| format!("the lock has no set {set}"))?;
        Ok(&set.packages)
    }

    /// The checkout's own cache.
    pub fn real_cache(&self) -> Result<Cache> {
        Ok(Cache::at(&self.real_cache)?)
    }

    /// A file of the cache: `part` is `objects`, `partial` or `unpacked`.
    pub fn cached(&self, part: &str, package: &LockedPackage) -> PathBuf {
        self.path("cache").join(part).join(package.sha256.to_string())
    }

    /// A mirror of all that the checkout's cache has.
    pub fn mirror(&self) -> Result<Server> {
        Ok(Server::start(self.site()?))
    }

    /// What that mirror has.
    pub fn site(&self) -> Result<Site> {
        Ok(site_of_lock(&self.lock, &self.real_cache()?))
    }

    /// The builder with `verb`, in this workspace, with this target folder and cache, and with nothing else that it
    /// could fall back on.
    pub fn builder(&self, verb: &[&str], mirror: Option<&Server>) -> Result<Command> {
        let mut command = Command::new(surroundings::xtask()?);
        command.args(verb).current_dir(self.path("workspace")).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        for (variable, folder) in [
            ("CARGO_MANIFEST_DIR", "workspace/xtask"),
            ("CARGO_TARGET_DIR", "target"),
            ("PILOTLIGHT_CACHE", "cache"),
            ("HOME", "home"),
            ("TMPDIR", "tmp"),
        ] {
            command.env(variable, self.path(folder));
        }
        let mirrors = ["debian", "debian-security"].map(|archive| match mirror {
            Some(server) => format!("{archive}={}", server.mirror(archive)),
            // The discard port: nobody listens there.
            None => format!("{archive}=http://127.0.0.1:9/{archive}"),
        });
        command.env("PILOTLIGHT_MIRROR", mirrors.join(" ")).env("PILOTLIGHT_SNAPSHOT", "none");
        Ok(command)
    }

    /// `image`, written to [`Desk::image`].
    pub fn image_builder(&self, mirror: Option<&Server>) -> Result<Command> {
        let mut command = self.builder(&["image", "--out"], mirror)?;
        command.arg(self.image());
        Ok(command)
    }

    /// The builder fails and says once why, with all of `expect`; no part of an image stays.
    pub fn fails(&self, command: &mut Command, expect: &[&str]) -> Result<()> {
        let said = self.refused(command, expect)?;
        let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
        ensure!(errors == 1, "{errors} errors were told instead of one:\n{said}");
        let left = names(&self.path("out"))?;
        ensure!(left.is_empty(), "{left:?} was left of the image:\n{said}");
        Ok(())
    }

    /// The builder fails and says all of `expect`; no temporary file stays. Returns what it said.
    pub fn refused(&self, command: &mut Command, expect: &[&str]) -> Result<String> {
        let Outcome { status, text, .. } = process::run(command, LIMIT)?;
        ensure!(status.code() == Some(1), "the builder ended with {status}:\n{text}");
        for part in expect {
            ensure!(text.contains(part), "{part:?} was not said:\n{text}");
        }
        for folder in ["tmp", "home"] {
            let left = names(&self.path(folder))?;
            ensure!(left.is_empty(), "{left:?} was left in {folder}:\n{text}");
        }
        for folder in ["out", "target/roots", "cache/unpacked", "workspace"] {
            let left = names(&self.path(folder))?;
            ensure!(!left.iter().any(|name| name.starts_with('.')), "{left:?} was left in {folder}:\n{text}");
        }
        Ok(text)
    }

    /// The builder does it, and says `expect`.
    pub fn succeeds(&self, command: &mut Command, expect: &str) -> Result<()> {
        let text = process::must(command, LIMIT)?.text;
        ensure!(text.contains(expect), "{expect:?} was not said:\n{text}");
        Ok(())
    }

    /// The builder makes the image, the same as that of the layer.
    pub fn makes_image(&self, mirror: Option<&Server>) -> Result<()> {
        self.makes_image_after(mirror, &|_| ())
    }

    /// The same, with something done to the command first.
    pub fn makes_image_after(&self, mirror: Option<&Server>, change: &dyn Fn(&mut Command)) -> Result<()> {
        let mut command = self.image_builder(mirror)?;
        change(&mut command);
        let outcome = process::must(&mut command, LIMIT)?;
        let names = names(&self.path("out"))?;
        ensure!(
            names == ["card.cdx.json", "card.img", "card.img.bmap", "card.manifest"],
            "{names:?} were made:\n{}",
            outcome.text
        );
        let len = fs::metadata(self.image()).context("could not look at the image")?.len();
        ensure!(len == layout::IMAGE_LEN, "the image has {len} bytes");
        // The map names the digest of everything on the card.
        for ending in ["img.bmap", "manifest", "cdx.json"] {
            let read = |image: &Path| {
                let path = image.with_extension(ending);
                fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
            };
            let same = read(&self.image())? == read(&surroundings::image()?)?;
            ensure!(same, "it is another card than the layer's: its {ending} differs");
        }
        Ok(())
    }
}

/// The names in a folder, sorted; none when it is not there.
pub fn names(folder: &Path) -> Result<Vec<String>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

/// Replaces what the desk borrowed at `path` by a copy of its own, to be changed.
pub fn own(path: &Path) -> Result<()> {
    let real = path.canonicalize().with_context(|| format!("could not find {}", path.display()))?;
    fs::remove_file(path).with_context(|| format!("could not give back {}", path.display()))?;
    copy(&real, path).with_context(|| format!("could not copy {}", real.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return Ok(fs::copy(from, to).map(drop)?);
    }
    fs::create_dir(to)?;
    for name in names(from)? {
        copy(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

fn borrow_all(from: &Path, to: &Path, without: &[String]) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("could not make {}", to.display()))?;
    let names = names(from)?;
    names
        .iter()
        .filter(|name| !without.contains(name) && !name.starts_with('.'))
        .try_for_each(|name| borrow(&from.join(name), &to.join(name)))
}

fn borrow(from: &Path, to: &Path) -> Result<()> {
    symlink(from, to).with_context(|| format!("could not make the link {}", to.display()))
}

fn real_target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| surroundings::checkout().join("target"), PathBuf::from)
}
