//! differences.toml of a base: why a path may differ from the usual root, and in what.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Aspect, Difference};
use crate::{Error, Glob};

/// The checked differences.toml.
#[derive(Debug, Clone)]
pub struct Reasons(Vec<Line>);

/// What a line allows. Whatever it does not name has to be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// Only in the usual root.
    Missing,
    /// Only in ours.
    Added,
    /// Of another kind, such as a link instead of a file; whatever comes with that.
    Kind,
    Mode,
    Owner,
    Target,
    /// Any content.
    Content,
    /// Extended attributes in the usual root.
    Attributes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    difference: Vec<RawLine>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawLine {
    paths: Vec<String>,
    #[serde(default)]
    may: Vec<What>,
    /// Lines that only the usual file has; in patterns `*` is anything.
    #[serde(default)]
    lines_there: Vec<String>,
    /// Lines that only our file has.
    #[serde(default)]
    lines_here: Vec<String>,
    reason: String,
}

#[derive(Debug, Clone)]
struct Line {
    paths: Vec<Glob>,
    may: Vec<What>,
    there: Vec<Glob>,
    here: Vec<Glob>,
    reason: String,
}

/// Which patterns have not matched yet: the line's number, and the pattern as it was written.
pub(super) type Unused = BTreeSet<(usize, String)>;

impl Reasons {
    /// Reads differences.toml.
    ///
    /// # Errors
    /// TOML that is not well formed, an unknown or a missing key, a line that allows nothing.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let raw: Raw = toml::from_str(text).map_err(|source| Error::Differences(Box::new(source)))?;
        let mut lines = Vec::new();
        for raw in raw.difference {
            if raw.paths.is_empty()
                || raw.may.is_empty() && raw.lines_there.is_empty() && raw.lines_here.is_empty()
            {
                return Err(Error::IdleDifference { reason: raw.reason });
            }
            let globs = |list: &[String]| list.iter().map(|one| Glob::alias(one)).collect();
            lines.push(Line {
                paths: raw.paths.iter().map(|path| Glob::path(path)).collect(),
                may: raw.may,
                there: globs(&raw.lines_there),
                here: globs(&raw.lines_here),
                reason: raw.reason,
            });
        }
        Ok(Self(lines))
    }

    /// Every pattern, before anything was explained.
    pub(super) fn unused(&self) -> Unused {
        let all = |line: &Line| -> Vec<String> {
            line.paths
                .iter()
                .chain(&line.there)
                .chain(&line.here)
                .map(|glob| glob.source().to_owned())
                .collect()
        };
        self.0
            .iter()
            .enumerate()
            .flat_map(|(at, line)| all(line).into_iter().map(move |one| (at, one)))
            .collect()
    }

    /// What is left of them, for a person.
    pub(super) fn told(&self, unused: &Unused) -> Vec<String> {
        unused.iter().map(|(at, pattern)| format!("{pattern} (\"{}\")", self.0[*at].reason)).collect()
    }

    /// The reason of a difference. Each of its aspects needs a line, not all of them the same one.
    pub(super) fn of(&self, difference: &Difference, unused: &mut Unused) -> Option<&str> {
        let mut matched = BTreeSet::new();
        let mut reason = None;
        for aspect in &difference.aspects {
            let found = self.0.iter().enumerate().find_map(|(at, line)| {
                let path = line.paths.iter().find(|glob| glob.matches_path(&difference.path))?;
                let mut patterns = line.allows(aspect)?;
                patterns.push(path.source().to_owned());
                Some((at, patterns))
            });
            let (at, patterns) = found?;
            matched.extend(patterns.into_iter().map(|pattern| (at, pattern)));
            reason = reason.or(Some(self.0[at].reason.as_str()));
            if matches!(aspect, Aspect::Kind(..)) {
                // What is a link here and a file there differs in everything else as well.
                break;
            }
        }
        unused.retain(|pattern| !matched.contains(pattern));
        reason
    }
}

impl Line {
    /// The patterns over lines that allow `aspect`; none when it is not allowed.
    fn allows(&self, aspect: &Aspect) -> Option<Vec<String>> {
        let what = match aspect {
            Aspect::Missing => What::Missing,
            Aspect::Added => What::Added,
            Aspect::Kind(..) => What::Kind,
            Aspect::Mode(..) => What::Mode,
            Aspect::Owner(..) => What::Owner,
            Aspect::Target(..) => What::Target,
            Aspect::Content(_) => What::Content,
            Aspect::Attributes(_) => What::Attributes,
        };
        if self.may.contains(&what) {
            return Some(Vec::new());
        }
        let Aspect::Content(Some((there, here))) = aspect else { return None };
        if self.there.is_empty() && self.here.is_empty() {
            return None;
        }
        let mut patterns = matching(&self.there, there)?;
        patterns.extend(matching(&self.here, here)?);
        Some(patterns)
    }
}

/// The patterns that match `lines`; none when a line is left over.
fn matching(globs: &[Glob], lines: &BTreeSet<String>) -> Option<Vec<String>> {
    let mut patterns = Vec::new();
    for line in lines {
        let glob = globs.iter().find(|glob| glob.matches(line.as_bytes()))?;
        patterns.push(glob.source().to_owned());
    }
    Some(patterns)
}
