//! The words that `lab.toml` has for the values of an enum: one list, read both ways.

/// Gives an enum `NAMES` and `name`.
macro_rules! words {
    ($type:ty { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// All of them, by what they are called in `lab.toml`.
            pub const NAMES: [(&'static str, Self); [$($word),+].len()] = [$(($word, Self::$variant)),+];

            /// What it is called in `lab.toml`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }
    };
}
pub(crate) use words;
