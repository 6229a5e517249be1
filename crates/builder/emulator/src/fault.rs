//! What the wire does to a frame when a scene wants a bad wire: decided from a seed, so that a failure can be
//! played again.

/// How bad the wire is, in thousandths of all frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Where the sequence of decisions starts.
    pub seed: u64,
    /// Frames that are lost.
    pub lost: u16,
    /// Frames that arrive twice.
    pub doubled: u16,
    /// Frames that are held back until [`Faults::LATE_BY`] later ones have passed.
    pub late: u16,
}

/// What becomes of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes through.
    Pass,
    /// It is lost.
    Lose,
    /// It goes through twice.
    Double,
    /// It is held back while others pass.
    Late,
}

impl Faults {
    /// How many frames overtake a late one.
    pub const LATE_BY: usize = 4;
}

/// The decisions for one wire, one after the other.
#[derive(Debug, Clone)]
pub struct Fate {
    faults: Faults,
    random: Random,
}

impl Fate {
    /// The decisions that follow from `faults`.
    pub fn new(faults: Faults) -> Self {
        Self { faults, random: Random::new(faults.seed) }
    }

    /// What becomes of the next frame.
    pub fn decide(&mut self) -> Verdict {
        let Faults { lost, doubled, late, .. } = self.faults;
        let draw = self.random.below(1000);
        let (lost, doubled, late) = (u64::from(lost), u64::from(doubled), u64::from(late));
        match draw {
            draw if draw < lost => Verdict::Lose,
            draw if draw < lost + doubled => Verdict::Double,
            draw if draw < lost + doubled + late => Verdict::Late,
            _ => Verdict::Pass,
        }
    }
}

/// Numbers that look random and follow from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `limit` - 1; 0 when `limit` is 0. The bias for small limits is of no account here.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next_u64().checked_rem(limit).unwrap_or(0)
    }

    /// `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next_u64() as u8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_fate_again() {
        let faults = Faults { seed: 7, lost: 50, doubled: 20, late: 10 };
        let fates = |faults| {
            let mut fate = Fate::new(faults);
            (0..10_000).map(|_| fate.decide()).collect::<Vec<_>>()
        };
        assert_eq!(fates(faults), fates(faults));
        let lost = fates(faults).iter().filter(|verdict| **verdict == Verdict::Lose).count();
        assert!((350..650).contains(&lost), "{lost} of 10000 lost, 500 were asked for");
        assert!(fates(Faults::default()).iter().all(|verdict| *verdict == Verdict::Pass));
    }
}
