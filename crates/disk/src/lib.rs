//! The card's layout: MBR, slots, block map.
