//! The seven stages of a boot: the one place that names them, and says to which of them a file belongs.

/// How far a machine has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It asks for an address and is told what to fetch.
    Address,
    /// It fetches a boot loader.
    Loader,
    /// It fetches what tells the loader what to boot.
    Script,
    /// It fetches a kernel.
    Kernel,
    /// It fetches what the kernel begins with.
    Initrd,
    /// The system that was started fetches what it is to be.
    Configuration,
    /// It has said that it is done.
    Ready,
}

impl Stage {
    /// All of them, in the order of a boot.
    pub const ALL: [Self; 7] = [
        Self::Address,
        Self::Loader,
        Self::Script,
        Self::Kernel,
        Self::Initrd,
        Self::Configuration,
        Self::Ready,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Loader => "loader",
            Self::Script => "script",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Configuration => "configuration",
            Self::Ready => "ready",
        }
    }

    /// The stage that a file belongs to, by its name for TFTP or its path for HTTP; none for one that could be anything.
    pub fn of_file(name: &str) -> Option<Self> {
        let name = name.trim_start_matches('/');
        let (path, query) = name.split_once('?').map_or((name, None), |(path, query)| (path, Some(query)));
        let folders: Vec<&str> = path.split('/').collect();
        let last = folders.last().copied().unwrap_or_default().to_ascii_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| last.ends_with(ending));
        let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| last.starts_with(beginning));
        match folders.as_slice() {
            ["node", _, "ready"] => Some(Self::Ready),
            ["node", ..] => Some(Self::Configuration),
            ["ipxe"] if query.is_some() => Some(Self::Script),
            [.., "pxelinux.cfg", _] => Some(Self::Script),
            _ if ends(&[".ipxe"]) || begins(&["grub.cfg"]) => Some(Self::Script),
            _ if begins(&["initrd", "initramfs"]) || ends(&[".cpio.gz", ".img"]) => Some(Self::Initrd),
            _ if begins(&["linux", "vmlinu", "kernel", "bzimage"]) => Some(Self::Kernel),
            _ if ends(&[".efi", ".kpxe", ".pxe", ".0", ".c32", ".com", ".bin", ".elf", ".dat", ".dtb"]) => {
                Some(Self::Loader)
            }
            // What the boot ROM of a Raspberry Pi looks for.
            _ if matches!(&*last, "config.txt" | "cmdline.txt" | "autoboot.txt" | "bootsig.bin") => {
                Some(Self::Loader)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_stages() {
        let check = |stage, names: &[&str]| {
            for name in names {
                assert_eq!(Stage::of_file(name), stage, "{name}");
            }
        };
        let loaders =
            ["undionly.kpxe", "/ipxe.efi", "/assets/ipxe.efi", "lpxelinux.0", "ldlinux.c32", "grubx64.efi"];
        check(Some(Stage::Loader), &loaders);
        check(Some(Stage::Loader), &["bootcode.bin", "9a7c1d2e/start4.elf", "9a7c1d2e/config.txt"]);
        let scripts =
            ["/boot.ipxe", "/ipxe?mac=52-54-00-00-00-11", "/assets/autoexec.ipxe", "pxelinux.cfg/default"];
        check(Some(Stage::Script), &scripts);
        check(Some(Stage::Script), &["grub.cfg-01-52-54-00-00-00-11", "/boot/grub/grub.cfg"]);
        check(
            Some(Stage::Kernel),
            &["/assets/debian/13/amd64/linux", "vmlinuz", "http://10.77.0.1/assets/linux"],
        );
        check(Some(Stage::Initrd), &["/assets/debian/13/amd64/initrd.gz", "initramfs-amd64.xz", "x.cpio.gz"]);
        check(Some(Stage::Configuration), &["/node/52-54-00-00-00-11/preseed.cfg"]);
        check(Some(Stage::Ready), &["/node/52-54-00-00-00-11/ready"]);
        check(None, &["", "/", "/healthz", "readme", "/ipxe", "pxelinux.cfg"]);
    }

    #[test]
    fn stages_are_in_the_order_of_a_boot() {
        assert!(Stage::ALL.is_sorted() && Stage::ALL.map(Stage::name).iter().all(|name| !name.is_empty()));
    }
}
