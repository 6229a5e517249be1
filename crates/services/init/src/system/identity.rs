//! What makes this card differ from every other card of the same image: its identity and its randomness.

use std::{fs::File, io::Write as _, path::Path};

use pilotlight_init::identity::{machine_id, new_machine_id};
use pilotlight_lab::{SERVER_NAME, paths};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{
    Fault, files,
    mounts::{bind_file, in_root},
};

/// As much as the kernel's pool takes in.
const SEED: usize = 512;

/// Puts a machine-id(5) in place: the card's own, made on its first start, or one for this start alone.
pub(crate) fn provide(data: bool) -> Result<(), Fault> {
    files::write(Path::new("/run/pilotlight/hostname"), &format!("{SERVER_NAME}\n"))?;
    let kept = in_root(paths::DATA).join("etc/machine-id");
    let old = data.then(|| files::read_text(&kept, 64).ok()).flatten();
    let old = old.filter(|text| machine_id(text).is_some());
    let (id, result) = match old {
        Some(id) => (id, Ok(())),
        None => {
            let mut random = [0; 16];
            getrandom(&mut random, GetRandomFlags::empty())
                .map_err(Fault::file("read", "the kernel's randomness"))?;
            let id = new_machine_id(random);
            // An identity that cannot be kept is still one for this start.
            let result = if data { files::replace(&kept, id.as_bytes(), 0o444) } else { Ok(()) };
            (id, result)
        }
    };
    let shown = Path::new("/run/pilotlight/machine-id");
    files::write(shown, &id)?;
    bind_file(shown, &in_root("/etc/machine-id"))?;
    result
}

/// Stirs the randomness kept from the last start into the kernel's pool, and keeps new one for the next start.
/// Nothing is credited: a card may have been copied.
pub(crate) fn stir(data: bool) -> Result<(), Fault> {
    if !data {
        return Ok(());
    }
    let kept = in_root(paths::DATA).join("etc/random-seed");
    if let Ok(seed) = files::read(&kept, SEED as u64) {
        let pool = "/dev/urandom";
        File::options()
            .write(true)
            .open(pool)
            .and_then(|mut file| file.write_all(&seed))
            .map_err(Fault::file("write", pool))?;
    }
    let mut seed = [0; SEED];
    getrandom(&mut seed, GetRandomFlags::empty()).map_err(Fault::file("read", "the kernel's randomness"))?;
    files::replace(&kept, &seed, 0o600)
}
