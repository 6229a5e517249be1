//! Patterns: over paths (root.toml) and over module aliases (the kernel's). Knows nothing of files.

use pilotlight_tree::TreePath;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `[a-z]`
    Set(Vec<(u8, u8)>),
    /// `*`
    Many,
    /// `**`, in paths only.
    Deep,
}

/// A shell-like pattern. In paths `*` and `?` stop at `/` and `**` does not; in aliases `*` matches anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    source: String,
    prefix: Vec<u8>,
    rest: Vec<Token>,
    slashes: bool,
}

impl Glob {
    /// A pattern over paths; a leading `/` counts for nothing.
    pub fn path(source: &str) -> Self {
        Self::new(source, source.trim_start_matches('/').as_bytes(), true)
    }

    /// A pattern over module aliases, as `modinfo` prints them.
    pub fn alias(source: &str) -> Self {
        Self::new(source, source.as_bytes(), false)
    }

    fn new(source: &str, pattern: &[u8], slashes: bool) -> Self {
        let mut tokens = tokens(pattern, slashes);
        let special =
            tokens.iter().position(|token| !matches!(token, Token::Byte(_))).unwrap_or(tokens.len());
        let rest = tokens.split_off(special);
        let prefix =
            tokens.iter().filter_map(|token| if let Token::Byte(byte) = token { Some(*byte) } else { None });
        Self { source: source.to_owned(), prefix: prefix.collect(), rest, slashes }
    }

    /// Whether the whole of `path` matches.
    pub fn matches_path(&self, path: &TreePath) -> bool {
        self.matches(path.as_bytes())
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        text.strip_prefix(self.prefix.as_slice()).is_some_and(|rest| self.rest_matches(rest))
    }

    /// The pattern as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Walks the text once with the set of all places in the pattern: no pattern takes exponential time.
    fn rest_matches(&self, text: &[u8]) -> bool {
        let mut here = vec![false; self.rest.len() + 1];
        here[0] = true;
        self.skip_stars(&mut here);
        for byte in text {
            let mut next = vec![false; here.len()];
            for (place, token) in self.rest.iter().enumerate().filter(|(place, _)| here[*place]) {
                let inside = !(self.slashes && *byte == b'/');
                match token {
                    Token::Byte(wanted) => next[place + 1] |= wanted == byte,
                    Token::One => next[place + 1] |= inside,
                    Token::Set(ranges) => {
                        next[place + 1] |= ranges.iter().any(|(low, high)| (low..=high).contains(&byte));
                    }
                    Token::Many => next[place] |= inside,
                    Token::Deep => next[place] = true,
                }
            }
            self.skip_stars(&mut next);
            here = next;
        }
        here.last().copied().unwrap_or(false)
    }

    fn skip_stars(&self, here: &mut [bool]) {
        for (place, token) in self.rest.iter().enumerate() {
            if here[place] && matches!(token, Token::Many | Token::Deep) {
                here[place + 1] = true;
            }
        }
    }
}

fn tokens(pattern: &[u8], slashes: bool) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        tokens.push(match first {
            b'*' if slashes && tail.first() == Some(&b'*') => {
                rest = &tail[1..];
                Token::Deep
            }
            b'*' => Token::Many,
            b'?' => Token::One,
            b'[' => match tail.iter().position(|byte| *byte == b']') {
                Some(end) => {
                    rest = &tail[end + 1..];
                    Token::Set(ranges(&tail[..end]))
                }
                None => Token::Byte(b'['),
            },
            byte => Token::Byte(*byte),
        });
    }
    tokens
}

fn ranges(mut set: &[u8]) -> Vec<(u8, u8)> {
    let mut ranges = Vec::new();
    while let Some((low, tail)) = set.split_first() {
        match tail {
            [b'-', high, after @ ..] => {
                ranges.push((*low, *high));
                set = after;
            }
            _ => {
                ranges.push((*low, *low));
                set = tail;
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |pattern: &str, path: &'static str, expect: bool| {
            assert_eq!(
                Glob::path(pattern).matches_path(&TreePath::literal(path)),
                expect,
                "{pattern} on {path}"
            );
        };
        check("/usr/share/man/**", "usr/share/man/de/man1/ls.1.gz", true);
        check("/usr/share/man/**", "usr/share/man", false);
        check("/usr/share/doc/*/copyright", "usr/share/doc/bash/copyright", true);
        check("/usr/share/doc/*/copyright", "usr/share/doc/bash/x/copyright", false);
        check("/usr/share/doc/*", "usr/share/doc/bash", true);
        check("**/__pycache__/**", "usr/lib/x/__pycache__/y.pyc", true);
        check("/boot/vmlinuz-?.12", "boot/vmlinuz-6.12", true);
        check("/etc/fstab", "etc/fstab", true);
        check("/etc/fstab", "etc/fstab2", false);
    }

    #[test]
    fn aliases() {
        let smsc = Glob::alias("usb:v0424pEC00d*dc*dsc*dp*ic*isc*ip*in*");
        assert!(smsc.matches(b"usb:v0424pEC00d0200dcFFdsc00dp01icFFisc00ipFFin00"));
        assert!(!smsc.matches(b"usb:v0424p7800d0200dcFFdsc00dp01icFFisc00ipFFin00"));
        assert!(Glob::alias("cpu:type:*:feature:*000[3-5a]*").matches(b"cpu:type:x/y:feature:,0004,"));
    }
}
