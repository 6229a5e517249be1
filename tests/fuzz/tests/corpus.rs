//! Every target with its corpus, and with what comes out of it in a moment. `cargo xtask fuzz` goes on for longer.

use pilotlight_fuzz::{Herd, TARGETS, corpus};

/// Inputs for each target: a second or two of work.
const ROUNDS: u32 = 20_000;

#[test]
fn nothing_panics() {
    for target in TARGETS {
        let inputs = corpus(target).unwrap_or_else(|fault| panic!("{} has no corpus: {fault}", target.name));
        assert!(!inputs.is_empty(), "{} has an empty corpus", target.name);
        let mut herd = Herd::new(inputs.clone(), 1);
        for input in inputs {
            let outcome = (target.feed)(&input);
            herd.learn(input, outcome);
        }
        let known = herd.outcomes();
        assert!(known > 1, "all of the corpus of {} has the same outcome", target.name);
        for _ in 0..ROUNDS {
            let input = herd.breed();
            let outcome = (target.feed)(&input);
            herd.learn(input, outcome);
        }
        println!("{}: {known} outcomes in the corpus, {} in all", target.name, herd.outcomes());
    }
}
