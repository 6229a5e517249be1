//! Which of two versions is the newer one.

use std::cmp::Ordering;

/// Whether `one` is newer than `other`: number by number, as all these projects count.
pub fn newer(one: &str, other: &str) -> bool {
    compare(one, other) == Ordering::Greater
}

fn compare(one: &str, other: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    numbers(one).cmp(&numbers(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        assert!(newer("v1.11.10", "v1.11.9") && newer("4230.2.1", "4152.2.3"));
        assert!(newer("43.20251024.3.0", "42.20251124.3.0") && !newer("1.2.3", "1.2.3"));
    }
}
