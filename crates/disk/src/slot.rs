//! The two halves of a card that take turns.

use std::fmt;

use crate::layout::{self, Extent};

/// One of the two systems that a card has room for: a boot partition and a root each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The one that a new card starts.
    A,
    /// The other one; empty on a new card.
    B,
}

impl Slot {
    /// Both, in the order in which they lie on the card.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The one that this is not.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The slot named `a` or `b`, as on the kernel's command line.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }

    /// `a` or `b`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// Where its boot partition lies.
    pub const fn boot(self) -> Extent {
        match self {
            Self::A => layout::BOOT_A,
            Self::B => layout::BOOT_B,
        }
    }

    /// Where its root lies.
    pub const fn root(self) -> Extent {
        match self {
            Self::A => layout::ROOT_A,
            Self::B => layout::ROOT_B,
        }
    }

    /// The number of its root in the partition table, from 1.
    pub const fn root_partition(self) -> u8 {
        match self {
            Self::A => layout::ROOT_A_PARTITION,
            Self::B => layout::ROOT_B_PARTITION,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
