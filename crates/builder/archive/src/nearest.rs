//! "Did you mean …": the known word nearest to a mistyped one.

/// ` (did you mean `…`?)` when a known word is near enough, else nothing.
pub(crate) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = known.into_iter().filter(|other| other.len().abs_diff(word.len()) <= 3);
    let best = near
        .map(|other| (strsim::damerau_levenshtein(word, other), other))
        .filter(|(distance, _)| *distance <= word.len().div_ceil(4).min(3))
        .min();
    best.map_or_else(String::new, |(_, other)| format!(" (did you mean `{other}`?)"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_near_words_are_offered() {
        assert_eq!(super::hint("systemed", ["udev", "systemd"]), " (did you mean `systemd`?)");
        assert_eq!(super::hint("nosuch", ["udev", "systemd"]), "");
    }
}
