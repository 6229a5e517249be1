//! The initrd: our `init`, the modules that find the card, and the list by which `init` loads them; a newc cpio
//! archive packed with zstd. Same input, same bytes.

use pilotlight_tree::Bytes;

use crate::{Error, modules::Modules};

/// Where the list of modules lies in the initrd: one path a line, without a leading slash, in the order in which
/// they are loaded.
pub const MODULE_LIST: &str = "modules";

/// Folders that `init` mounts on or works in.
const FOLDERS: [&str; 8] = ["dev", "lib", "lib/modules", "proc", "root", "run", "sys", "tmp"];

/// Level 19 halves nothing more than level 9 would here and costs a second: the modules are small.
const ZSTD_LEVEL: i32 = 9;

/// Makes the initrd with the modules `names`, in that order, each after what it depends on. What the kernel has
/// built in is skipped.
///
/// # Errors
/// A name that the kernel does not know; a damaged module.
pub fn build(modules: &Modules, names: &[String], init: &Bytes, mtime: u32) -> Result<Vec<u8>, Error> {
    let mut archive = Archive { out: Vec::with_capacity(16 << 20), next: 1, mtime };
    for folder in FOLDERS {
        archive.entry(folder, 0o040_755, 0, &[]);
    }
    // Linux opens it before `init` has mounted a devtmpfs.
    archive.entry("dev/console", 0o020_600, 1, &[]);
    archive.entry("init", 0o100_755, 0, init);
    let mut list = String::new();
    for module in modules.load_order(names)? {
        let path = format!("lib/modules/{}.ko", module.name);
        list.push_str(&path);
        list.push('\n');
        archive.entry(&path, 0o100_644, 0, without_signature(&module.unpacked()?));
    }
    archive.entry(MODULE_LIST, 0o100_644, 0, list.as_bytes());
    zstd::bulk::compress(&archive.finish(), ZSTD_LEVEL).map_err(Error::Compress)
}

/// What ends a signed module (linux/module_signature.h).
const SIGNED: &[u8] = b"~Module signature appended~\n";
/// Length of `struct module_signature` before it, which ends with the length of the signature before that.
const SIGNATURE: usize = 12;

/// A module without its signature, which the kernel would check for 17 million instructions each: most of what `init`
/// took. It says that a module is the kernel's own, but the initrd lies beside the kernel on one FAT partition, and
/// whoever can change the one can change the other. The kernel notes that it is tainted (E); the root's modules stay
/// as they were packaged.
fn without_signature(module: &[u8]) -> &[u8] {
    let unsigned = || {
        let (rest, length) = module.strip_suffix(SIGNED)?.split_last_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let end = rest.len().checked_sub(SIGNATURE - 4)?.checked_sub(length)?;
        rest.get(..end)
    };
    unsigned().unwrap_or(module)
}

/// A newc archive in the making. Inode numbers count up, devices are 0: nothing depends on a machine.
struct Archive {
    out: Vec<u8>,
    next: u32,
    mtime: u32,
}

impl Archive {
    /// `minor` is that of a character device with major 5, for the console alone.
    fn entry(&mut self, name: &str, mode: u32, minor: u32, content: &[u8]) {
        let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
        let major = if mode & 0o170_000 == 0o020_000 { 5 } else { 0 };
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let length = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        self.out.extend_from_slice(b"070701");
        for field in [self.next, mode, 0, 0, links, self.mtime, size, 0, 0, major, minor, length, 0] {
            self.out.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.next += 1;
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(0);
        self.pad();
        self.out.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.next = 0;
        self.mtime = 0;
        self.entry("TRAILER!!!", 0, 0, &[]);
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_signature_goes() {
        let signed = |length: u32| {
            let mut bytes = b"module".to_vec();
            bytes.extend([1; 20]);
            bytes.extend([2; SIGNATURE - 4]);
            bytes.extend(length.to_be_bytes());
            bytes.extend(SIGNED);
            bytes
        };
        assert_eq!(without_signature(&signed(20)), b"module");
        for whole in [b"".to_vec(), b"module".to_vec(), SIGNED.to_vec(), signed(27), signed(u32::MAX)] {
            assert_eq!(without_signature(&whole), whole);
        }
    }
}
