//! Firmwares: what each says about itself, how long it waits, and how it fetches files.
//!
//! The times are what the sources of iPXE (`dhcp.h`, `retry.c`), EDK II (`PxeBcDhcp4.c`, `PxeBcMtftp.h`) and PXELINUX
//! (its table of ticks) say, and PXE 2.1 § 2.2.6 for a BIOS's ROM; how often such a ROM asks for a block again is
//! written down nowhere, and this one doubles from a second.

use std::time::Duration;

/// A firmware, or a loader that brings its own network code.
#[derive(Debug)]
pub struct Firmware {
    /// What it is called.
    pub name: &'static str,
    /// Option 93.
    pub architecture: u16,
    /// Option 60.
    pub class: &'static str,
    /// Option 77, as its bytes are sent.
    pub user_class: Option<&'static str>,
    /// Option 55.
    pub wants: &'static [u8],
    /// Option 57.
    pub longest: u16,
    /// Whether it wants answers by broadcast.
    pub broadcast: bool,
    /// How long it waits after each DISCOVER; after the last one it gives up.
    pub discover: &'static [Duration],
    /// How long it waits after each REQUEST.
    pub request: &'static [Duration],
    /// How long it waits for more offers after the first, unless that one says that it need not.
    pub collect: Duration,
    /// How it fetches by TFTP.
    pub tftp: Habits,
}

/// How a firmware fetches by TFTP.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// The `blksize` that it asks for.
    pub block: Option<u16>,
    /// The `windowsize` that it asks for.
    pub window: Option<u16>,
    /// Whether it asks for the size.
    pub size: bool,
    /// The `timeout` that it asks for, in seconds.
    pub timeout: Option<u8>,
    /// Whether it asks for the size alone first, ends that with error 8 and asks again.
    pub size_first: bool,
    /// How long it waits before it repeats itself, again and again; after the last one it gives up.
    pub waits: &'static [Duration],
    /// Whether it stays for a while to repeat its last acknowledgement.
    pub stays: bool,
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// PXE 2.1 § 2.2.6, and EDK II.
const PXE_WAITS: &[Duration] = &[s(4), s(8), s(16), s(32)];
/// iPXE: from one second, doubled up to ten.
const IPXE_WAITS: &[Duration] = &[s(1), s(2), s(4), s(8)];
const PXE_WANTS: &[u8] =
    &[1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97];

/// The PXE ROM of a PC with a BIOS.
pub const ROM: Firmware = Firmware {
    name: "BIOS ROM",
    architecture: 0,
    class: "PXEClient:Arch:00000:UNDI:002001",
    user_class: None,
    wants: PXE_WANTS,
    longest: 1260,
    broadcast: true,
    discover: PXE_WAITS,
    request: PXE_WAITS,
    collect: s(4),
    tftp: Habits {
        block: Some(1456),
        window: None,
        size: true,
        timeout: None,
        size_first: false,
        waits: &[s(1), s(2), s(4), s(8), s(16)],
        stays: false,
    },
};

/// A PC with UEFI.
pub const EDK2: Firmware = Firmware {
    name: "EDK II",
    architecture: 7,
    class: "PXEClient:Arch:00007:UNDI:003000",
    longest: 1472,
    tftp: Habits {
        block: Some(1468),
        window: Some(4),
        size: true,
        timeout: None,
        size_first: true,
        waits: &[s(4), s(4), s(4), s(4), s(4), s(4)],
        stays: false,
    },
    ..ROM
};

/// iPXE, which a BIOS's ROM has loaded or which is the ROM.
pub const IPXE: Firmware = Firmware {
    name: "iPXE",
    user_class: Some("iPXE"),
    wants: &[
        1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134, 135, 175, 203,
    ],
    longest: 1472,
    broadcast: false,
    discover: IPXE_WAITS,
    request: IPXE_WAITS,
    collect: s(2),
    tftp: Habits {
        block: Some(1432),
        window: None,
        size: true,
        timeout: None,
        size_first: false,
        waits: &[ms(250), ms(500), s(1), s(2), s(4), s(8)],
        stays: false,
    },
    ..ROM
};

/// iPXE on top of UEFI.
pub const IPXE_UEFI: Firmware =
    Firmware { name: "iPXE on UEFI", architecture: 7, class: "PXEClient:Arch:00007:UNDI:003010", ..IPXE };

/// PXELINUX, which asks for no address of its own.
pub const PXELINUX: Habits = Habits {
    block: Some(1408),
    window: None,
    size: true,
    timeout: None,
    size_first: false,
    waits: &[
        ms(110),
        ms(110),
        ms(165),
        ms(165),
        ms(220),
        ms(275),
        ms(330),
        ms(385),
        ms(495),
        ms(549),
        ms(659),
        ms(824),
        ms(989),
        ms(1154),
        ms(1429),
        ms(1703),
        ms(2033),
        ms(2418),
        ms(2912),
        ms(3516),
        ms(4231),
        ms(5055),
        ms(6044),
    ],
    stays: false,
};

/// A client with a long window, which stays to the end.
pub const WIDE: Habits = Habits {
    block: Some(1468),
    window: Some(16),
    size: true,
    timeout: Some(2),
    size_first: false,
    waits: &[s(2), s(2), s(2), s(2), s(2), s(2), s(2), s(2)],
    stays: true,
};

/// A client that knows no options, such as the shim in front of GRUB.
pub const PLAIN: Habits = Habits {
    block: None,
    window: None,
    size: false,
    timeout: None,
    size_first: false,
    waits: &[s(3), s(3), s(3), s(3), s(3)],
    stays: false,
};
