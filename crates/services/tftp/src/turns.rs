//! Who may send next: transfers take turns, so that a client with a large window on a quick wire does not keep the
//! others waiting.

use std::collections::VecDeque;

/// The most bytes that go out in one turn, headers included, but at least one block: about 3 ms of a wire of 100 Mbit/s.
pub const TURN: usize = 32 * 1024;

/// A queue in which everybody has at most one place.
#[derive(Debug, Default)]
pub struct Turns {
    queue: VecDeque<usize>,
    waiting: Vec<bool>,
}

impl Turns {
    /// Puts transfer `place` behind all others, unless it waits already.
    pub fn wait(&mut self, place: usize) {
        if self.waiting.len() <= place {
            self.waiting.resize(place + 1, false);
        }
        if !std::mem::replace(&mut self.waiting[place], true) {
            self.queue.push_back(place);
        }
    }

    /// Whose turn it is.
    pub fn whose(&mut self) -> Option<usize> {
        let place = self.queue.pop_front()?;
        self.waiting[place] = false;
        Some(place)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_a_turn_before_anybody_gets_two() {
        let mut turns = Turns::default();
        // The first has much to send and comes back after each turn; it is told to wait more than once.
        for place in [7, 7, 0, 3, 7] {
            turns.wait(place);
        }
        assert_eq!(turns.waiting(), 3);
        let mut order = Vec::new();
        while let Some(place) = turns.whose() {
            order.push(place);
            if place == 7 && order.len() < 7 {
                turns.wait(7);
                turns.wait(7);
            }
            if order.len() == 4 {
                turns.wait(9);
            }
        }
        assert_eq!(order, [7, 0, 3, 7, 7, 9, 7]);
        assert_eq!(turns.waiting(), 0);
    }
}
