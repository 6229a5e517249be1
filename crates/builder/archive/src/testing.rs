//! Throwaway archives for tests: a signing key, packages, a signed suite, and a mirror that misbehaves on demand.
//!
//! For tests only, here and in the whole-program tests: it panics where a test should fail.

use std::{fmt::Write as _, io::Write as _};

pub use pilotlight_fetch::testing::{Content, Server, Signer, Site, Trouble};

use crate::{
    lock::{Lock, LockedPackage},
    unpack::{self, Keep, UnpackError},
};
use pilotlight_fetch::{Cache, Digest};

/// A mirror of exactly the packages of a lock that are in a cache, below one folder for each archive's name. Real
/// packages can so be served, and spoilt, without a network.
pub fn site_of_lock(lock: &Lock, cache: &Cache) -> Site {
    let here = lock.packages().filter(|package| cache.has(&package.sha256, package.size));
    here.map(|package| {
        (format!("{}/{}", package.origin.archive, package.path), Content::File(cache.object(&package.sha256)))
    })
    .collect()
}

/// A package to be made.
#[derive(Debug, Clone)]
pub struct Deb {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// More control fields, each ending in a line break: `Depends: libc6\n`.
    pub fields: String,
    /// Its regular files: path without a leading slash, and content.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Deb {
    /// A package with one small file.
    pub fn new(name: &str, version: &str, architecture: &str) -> Self {
        let file = (format!("usr/share/doc/{name}/copyright"), format!("{name} {version}\n").into_bytes());
        Self {
            name: name.into(),
            version: version.into(),
            architecture: architecture.into(),
            fields: String::new(),
            files: vec![file],
        }
    }

    /// The same with more control fields.
    #[must_use]
    pub fn with_fields(self, fields: &str) -> Self {
        Self { fields: fields.into(), ..self }
    }

    /// The same with one more file.
    #[must_use]
    pub fn with_file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// Its `control` file.
    pub fn control(&self) -> String {
        format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\n{}",
            self.name, self.version, self.architecture, self.fields
        )
    }

    /// Where it is in the pool.
    pub fn path(&self) -> String {
        format!("pool/main/{0}/{0}_{1}_{2}.deb", self.name, self.version, self.architecture)
    }

    /// The `.deb`.
    pub fn build(&self) -> Vec<u8> {
        let mut data = tar::Builder::new(Vec::new());
        for (path, content) in &self.files {
            append(&mut data, path, content);
        }
        let data = data.into_inner().expect("a tar can be written to memory");
        self.build_with_data(&data)
    }

    /// The `.deb` with a data archive of the caller's own making.
    pub fn build_with_data(&self, data: &[u8]) -> Vec<u8> {
        build(&self.control(), &[], data)
    }
}

/// A `.deb` of its parts.
fn build(control: &str, scripts: &[(String, Vec<u8>)], data: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "control", control.as_bytes());
    for (name, content) in scripts {
        append(&mut archive, name, content);
    }
    let control = archive.into_inner().expect("a tar can be written to memory");
    let mut deb = ar::Builder::new(Vec::new());
    for (name, bytes) in
        [("debian-binary", b"2.0\n".to_vec()), ("control.tar.xz", xz(&control)), ("data.tar.xz", xz(data))]
    {
        let header = ar::Header::new(name.into(), bytes.len() as u64);
        deb.append(&header, bytes.as_slice()).expect("an ar archive can be written to memory");
    }
    deb.into_inner().expect("an ar archive can be written to memory")
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    archive.append_data(&mut header, format!("./{path}"), content).expect("a tar can be written to memory");
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes everything")
}

/// A package as an archive has it.
#[derive(Debug, Clone)]
pub struct Published {
    /// Its control fields, as in the index.
    control: String,
    /// Where it is in the archive.
    path: String,
    architecture: String,
    content: Content,
}

impl From<Deb> for Published {
    fn from(deb: Deb) -> Self {
        let content = Content::Bytes(deb.build());
        Self { control: deb.control(), path: deb.path(), architecture: deb.architecture, content }
    }
}

impl Published {
    /// A package of a lock, which is in the cache, as it is.
    ///
    /// # Errors
    /// A package that is absent or malformed.
    pub fn of_lock(package: &LockedPackage, cache: &Cache) -> Result<Self, UnpackError> {
        let unpacked = unpack::unpack(cache, package, Keep::Yes)?;
        let control = unpacked.control.get("control").map(|bytes| String::from_utf8_lossy(bytes));
        let control = format!("{}\n", control.as_deref().unwrap_or_default().trim_end());
        let content = Content::File(cache.object(&package.sha256));
        Ok(Self { control, path: package.path.clone(), architecture: package.architecture.clone(), content })
    }

    /// A package of these parts: the text of its `control`, other files beside that, and a tar archive of its files.
    pub fn of_parts(control: &str, scripts: &[(String, Vec<u8>)], data: &[u8]) -> Self {
        let field = |name: &str| {
            let line = control.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.expect("the control file has the field").to_owned()
        };
        let (name, architecture) = (field("Package"), field("Architecture"));
        let path = format!("pool/main/{name}_{}_{architecture}.deb", field("Version"));
        Self {
            control: control.into(),
            path,
            architecture,
            content: Content::Bytes(build(control, scripts, data)),
        }
    }

    fn entry(&self) -> String {
        let bytes = self.content.read();
        let (size, sha256) = (bytes.len(), Digest::of(&bytes));
        format!("{}Filename: {}\nSize: {size}\nSHA256: {sha256}\n\n", self.control, self.path)
    }
}

/// A suite to be published.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The archive's folder on the server.
    pub archive: String,
    /// Its code name.
    pub name: String,
    /// The value of `Date`.
    pub date: String,
    /// The value of `Valid-Until`, if any.
    pub valid_until: Option<String>,
    /// Its packages.
    pub packages: Vec<Published>,
}

impl Suite {
    /// A suite of the archive `debian`.
    pub fn new<P: Into<Published>>(name: &str, packages: Vec<P>) -> Self {
        let packages = packages.into_iter().map(Into::into).collect();
        let date = "Sat, 21 Nov 2026 00:53:03 UTC".into();
        Self { archive: "debian".into(), name: name.into(), date, valid_until: None, packages }
    }

    /// The same, published at another time.
    #[must_use]
    pub fn dated(self, date: &str) -> Self {
        Self { date: date.into(), ..self }
    }

    /// The text of its Release.
    pub fn release(&self) -> String {
        let mut text = format!("Suite: test\nCodename: {}\nDate: {}\n", self.name, self.date);
        if let Some(until) = &self.valid_until {
            let _ = writeln!(text, "Valid-Until: {until}");
        }
        text.push_str("Acquire-By-Hash: yes\nSHA256:\n");
        for (path, bytes) in self.indexes() {
            let _ = writeln!(text, " {} {} {path}", Digest::of(&bytes), bytes.len());
        }
        text
    }

    /// Adds the suite, signed, and its packages to a site.
    pub fn publish(&self, signer: &Signer, site: &mut Site) {
        let dists = format!("{}/dists/{}", self.archive, self.name);
        site.insert(format!("{dists}/InRelease"), Content::Bytes(signer.sign(&self.release())));
        for (path, bytes) in self.indexes() {
            let folder = path.trim_end_matches("/Packages.xz");
            site.insert(
                format!("{dists}/{folder}/by-hash/SHA256/{}", Digest::of(&bytes)),
                Content::Bytes(bytes.clone()),
            );
            site.insert(format!("{dists}/{path}"), Content::Bytes(bytes));
        }
        for package in &self.packages {
            site.insert(format!("{}/{}", self.archive, package.path), package.content.clone());
        }
    }

    /// Its indexes by path below the suite, for the three architectures that we use.
    fn indexes(&self) -> Vec<(String, Vec<u8>)> {
        let index = |architecture: &str| {
            let held =
                self.packages.iter().filter(|deb| [architecture, "all"].contains(&deb.architecture.as_str()));
            let text: String = held.map(Published::entry).collect();
            (format!("main/binary-{architecture}/Packages.xz"), xz(text.as_bytes()))
        };
        ["amd64", "arm64", "armhf"].into_iter().map(index).collect()
    }
}

/// An `archives.toml` with one archive `debian`, signed by `signer`, and the given `[sets.…]` text. The key file is
/// `key.asc` beside it.
pub fn archives_toml(signer: &Signer, suites: &[&str], sets: &str) -> String {
    format!(
        "[archives.debian]\nmirror = \"http://mirror.invalid/debian\"\nsuites = {suites:?}\nkeys = [{{ fingerprint = \
         \"{}\", file = \"key.asc\" }}]\n{sets}",
        signer.fingerprint()
    )
}
