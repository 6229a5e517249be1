//! How much of what there is little of each source has taken.

use std::{cell::RefCell, collections::HashMap, net::IpAddr, rc::Rc};

/// So much for each source. What is remembered is no more than is taken.
#[derive(Debug)]
pub(crate) struct Shares {
    most: usize,
    taken: Rc<RefCell<HashMap<IpAddr, usize>>>,
}

/// One of them; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    source: IpAddr,
    taken: Rc<RefCell<HashMap<IpAddr, usize>>>,
}

impl Shares {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: Rc::default() }
    }

    /// One for `source`; none when it has as many as it may have.
    pub(crate) fn take(&self, source: IpAddr) -> Option<Share> {
        let mut taken = self.taken.borrow_mut();
        let count = taken.get(&source).copied().unwrap_or(0);
        (count < self.most).then(|| {
            taken.insert(source, count + 1);
            Share { source, taken: Rc::clone(&self.taken) }
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.taken.borrow_mut();
        match taken.get_mut(&self.source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let shares = Shares::new(2);
        let [one, other] = [1, 2].map(|last| IpAddr::from([10, 77, 0, last]));
        let first = shares.take(one).unwrap();
        let _second = shares.take(one).unwrap();
        assert!(shares.take(one).is_none() && shares.take(other).is_some());
        drop(first);
        assert!(shares.take(one).is_some());
        assert_eq!(shares.taken.borrow().len(), 1);
    }
}
