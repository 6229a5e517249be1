//! What the devices' users are: a file for each device, in a folder that is this daemon's alone.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use pilotlight_kit::keep;
use pilotlight_lab::PowerDevice;
use pilotlight_power::Login;

/// More than any of them is long, in bytes.
const LONGEST: u64 = 16 * 1024;

/// The folder.
#[derive(Debug)]
pub(crate) struct Keys(PathBuf);

impl Keys {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Who `device` lets in, which is called `name`.
    pub(crate) fn read(&self, name: &str, device: &PowerDevice) -> anyhow::Result<Login> {
        let path = self.path(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
                bail!("the Pi was not told whom {name} lets in: pilotctl power login {name}")
            }
            Err(fault) => return Err(fault).with_context(|| format!("cannot read {}", path.display())),
        };
        let mut text = String::new();
        file.take(LONGEST)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Login::kept(&text, &device.url)
            .with_context(|| format!("whom {name} lets in must be told anew (pilotctl power login {name})"))
    }

    /// Keeps who `device` lets in. It is on the card when this comes back, as a whole or not at all.
    pub(crate) fn keep(&self, name: &str, device: &PowerDevice, login: &Login) -> anyhow::Result<()> {
        let path = self.path(name);
        let write = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            keep::replace(&path, login.keep(&device.url).as_bytes(), 0o600)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Forgets it; gives whether there was anything to forget.
    pub(crate) fn forget(&self, name: &str) -> anyhow::Result<bool> {
        let path = self.path(name);
        match fs::remove_file(&path).and_then(|()| File::open(&self.0)?.sync_all()) {
            Ok(()) => Ok(true),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(fault) => Err(fault).with_context(|| format!("cannot remove {}", path.display())),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use pilotlight_lab::DeviceKind;

    use super::*;

    #[test]
    fn what_is_kept_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::new(folder.path().join("power"));
        let at = |url: &str| PowerDevice {
            kind: DeviceKind::WebSwitch,
            url: url.to_owned(),
            certificate: None,
            recover: true,
        };
        let device = at("http://10.77.0.9");
        assert!(keys.read("strip", &device).unwrap_err().to_string().ends_with("pilotctl power login strip"));
        assert!(!keys.forget("strip").unwrap());
        for password in ["one", "two"] {
            let login = Login::new("admin", password).unwrap();
            keys.keep("strip", &device, &login).unwrap();
            assert!(keys.read("strip", &device).unwrap() == login);
        }
        let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().mode() & 0o777;
        assert_eq!((mode("power"), mode("power/strip.json")), (0o700, 0o600));
        let moved = keys.read("strip", &at("http://10.77.0.10")).unwrap_err();
        assert!(format!("{moved:#}").contains("another url"), "{moved:#}");
        assert!(keys.forget("strip").unwrap());
        assert!(keys.read("strip", &device).is_err());
    }
}
