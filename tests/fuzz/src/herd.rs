//! Inputs, and how new ones come from them.

use std::collections::BTreeSet;

/// Bytes of the longest input: what one datagram holds.
const LONGEST: usize = 65_507;
/// How many inputs are kept at most.
const MOST: usize = 4_096;
/// Values at which length and number fields turn.
const EDGES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, b'\n'];

/// Inputs that had different outcomes, and a row of numbers that look random.
#[derive(Debug)]
pub struct Herd {
    inputs: Vec<Vec<u8>>,
    outcomes: BTreeSet<u64>,
    state: u64,
}

impl Herd {
    /// A herd that begins with `inputs`; the same seed makes the same ones out of them.
    pub fn new(inputs: Vec<Vec<u8>>, seed: u64) -> Self {
        Self { inputs, outcomes: BTreeSet::new(), state: seed }
    }

    /// How many different outcomes there were.
    pub fn outcomes(&self) -> usize {
        self.outcomes.len()
    }

    /// An input that was not there before, probably.
    pub fn breed(&mut self) -> Vec<u8> {
        let mut input = self.any();
        for _ in 0..=self.below(6) {
            self.mutate(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    /// Says what became of an input. It joins the herd when nothing else had that outcome.
    pub fn learn(&mut self, input: Vec<u8>, outcome: u64) {
        if self.outcomes.insert(outcome) && self.inputs.len() < MOST {
            self.inputs.push(input);
        }
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let length = self.below(16).min(input.len() - at);
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = EDGES[self.below(EDGES.len())],
            2 if at < input.len() => input[at] = self.next() as u8,
            3 => drop(input.drain(at..at + length)),
            4 => {
                let copy = input[at..at + length].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            5 => {
                let new: Vec<u8> = (0..self.below(8)).map(|_| self.next() as u8).collect();
                input.splice(at..at, new);
            }
            6 => input.truncate(at),
            7 => {
                // The head of this one and the tail of another.
                let other = self.any();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend(&other[from..]);
            }
            _ => {
                let step = self.below(5) as u8;
                if let Some(byte) = input.get_mut(at) {
                    *byte = byte.wrapping_add(step).wrapping_sub(2);
                }
            }
        }
    }

    fn any(&mut self) -> Vec<u8> {
        let number = self.below(self.inputs.len());
        self.inputs.get(number).cloned().unwrap_or_default()
    }

    /// A number below `limit`; 0 when that is 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guide_by_outcomes_finds_what_chance_alone_does_not() {
        // Each further letter is an outcome of its own.
        let outcome =
            |input: &[u8]| input.iter().zip(b"PXE!").take_while(|(one, other)| one == other).count();
        let mut herd = Herd::new(vec![b"....".to_vec()], 1);
        let found = (0..400_000).any(|_| {
            let input = herd.breed();
            let outcome = outcome(&input);
            herd.learn(input, outcome as u64);
            outcome == 4
        });
        assert!(found && herd.outcomes() == 5);
    }
}
