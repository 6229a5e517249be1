//! What a machine is to do: how it boots, what it gets in the end and what is wrong with it.

use std::time::Duration;

use crate::firmware::{self, Firmware, Habits};

/// The ways in which machines boot here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// A BIOS's ROM, which loads iPXE.
    Bios,
    /// UEFI, which loads iPXE.
    Uefi,
    /// iPXE in the ROM.
    Ipxe,
    /// A BIOS's ROM, which loads PXELINUX.
    Pxelinux,
}

impl Chain {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bios, Self::Uefi, Self::Ipxe, Self::Pxelinux];

    /// Its steps, but for what it gets in the end.
    pub(crate) fn steps(self) -> Vec<Step> {
        let ipxe = |firmware: &'static Firmware| {
            [
                Step::Optional(firmware.tftp, "autoexec.ipxe"),
                Step::Ask(firmware),
                Step::GetBootFile,
                Step::GetScript,
            ]
        };
        match self {
            Self::Bios => {
                [&[Step::Ask(&firmware::ROM), Step::Loader(firmware::ROM.tftp)][..], &ipxe(&firmware::IPXE)]
                    .concat()
            }
            Self::Uefi => [
                &[Step::Ask(&firmware::EDK2), Step::Loader(firmware::EDK2.tftp)][..],
                &ipxe(&firmware::IPXE_UEFI),
            ]
            .concat(),
            Self::Ipxe => vec![Step::Ask(&firmware::IPXE), Step::GetBootFile, Step::GetScript],
            Self::Pxelinux => {
                vec![Step::Ask(&firmware::ROM), Step::Loader(firmware::ROM.tftp), Step::Configuration]
            }
        }
    }
}

/// What is wrong with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// It loses its power in the middle of a transfer, for good.
    Vanishes,
    /// It asks for files and never acknowledges any of it.
    NeverAcknowledges,
    /// It says something this often, whatever it hears.
    Floods(Duration),
}

/// What a machine is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How it boots.
    pub chain: Chain,
    /// TFTP habits that replace those of its firmware when it fetches the loader.
    pub loader: Option<Habits>,
    /// What it gets over HTTP in the end, such as a kernel.
    pub system: Vec<String>,
    /// What is wrong with it.
    pub trouble: Trouble,
    /// How often it is started, the first time included.
    pub starts: u32,
}

/// A step of a chain.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Ask(&'static Firmware),
    Loader(Habits),
    Optional(Habits, &'static str),
    /// The configurations that PXELINUX looks for, one after the other.
    Configuration,
    /// The URL that DHCP gave.
    GetBootFile,
    GetScript,
    /// One of [`Plan::system`].
    GetSystem(usize),
}
