//! differences.toml of a base: why a path may differ from the usual root, and in what; and what lies elsewhere.

use std::collections::BTreeSet;

use serde::Deserialize;

use pilotlight_tree::{Kind, Tree, TreePath};

use super::{Aspect, Difference};
use crate::{Error, Glob, files};

/// The checked differences.toml.
#[derive(Debug, Clone)]
pub struct Reasons {
    lines: Vec<Line>,
    pub(super) moved: Vec<Moved>,
}

/// A folder that the usual root has at another place. What lies in it is compared all the same.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    pub(super) from: TreePath,
    pub(super) to: TreePath,
    reason: String,
}

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
    /// The same lines, of the same words, in another order.
    Order,
    /// Extended attributes in the usual root.
    Attributes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    moved: Vec<RawMoved>,
    #[serde(default)]
    difference: Vec<RawLine>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawMoved {
    /// The folder in the usual root.
    from: String,
    /// The same in ours, where a link leads there from `from`.
    to: String,
    reason: String,
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
    /// Whether the usual file may have lines about files that ours has not got; those have reasons of their own.
    #[serde(default)]
    lines_about_absent: bool,
    reason: String,
}

#[derive(Debug, Clone)]
struct Line {
    paths: Vec<Glob>,
    may: Vec<What>,
    there: Vec<Glob>,
    here: Vec<Glob>,
    about_absent: bool,
    reason: String,
}

/// Which patterns have not matched yet: the line's number, and the pattern as it was written; folders that were moved
/// come after all lines.
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
            let idle = raw.may.is_empty()
                && raw.lines_there.is_empty()
                && raw.lines_here.is_empty()
                && !raw.lines_about_absent;
            if raw.paths.is_empty() || idle {
                return Err(Error::IdleDifference { reason: raw.reason });
            }
            let globs = |list: &[String]| list.iter().map(|one| Glob::alias(one)).collect();
            lines.push(Line {
                paths: raw.paths.iter().map(|path| Glob::path(path)).collect(),
                may: raw.may,
                there: globs(&raw.lines_there),
                here: globs(&raw.lines_here),
                about_absent: raw.lines_about_absent,
                reason: raw.reason,
            });
        }
        let moved = raw.moved.into_iter().map(|RawMoved { from, to, reason }| {
            Ok(Moved { from: files::path(&from)?, to: files::path(&to)?, reason })
        });
        Ok(Self { lines, moved: moved.collect::<Result<_, Error>>()? })
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
        let lines = self.lines.iter().map(all);
        let moved = self.moved.iter().map(|moved| vec![moved.from.to_string()]);
        lines
            .chain(moved)
            .enumerate()
            .flat_map(|(at, patterns)| patterns.into_iter().map(move |one| (at, one)))
            .collect()
    }

    /// Notes that there is something in the folder `moved`, the one of that number.
    pub(super) fn found_moved(&self, number: usize, unused: &mut Unused) {
        unused.remove(&(self.lines.len() + number, self.moved[number].from.to_string()));
    }

    /// What is left of them, for a person.
    pub(super) fn told(&self, unused: &Unused) -> Vec<String> {
        let reasons: Vec<&str> = self
            .lines
            .iter()
            .map(|line| line.reason.as_str())
            .chain(self.moved.iter().map(|moved| moved.reason.as_str()))
            .collect();
        unused.iter().map(|(at, pattern)| format!("{pattern} (\"{}\")", reasons[*at])).collect()
    }

    /// The reason of a link to a folder that was moved, and of the folders above its new place.
    pub(super) fn of_moved(&self, difference: &Difference, ours: &Tree) -> Option<&str> {
        let path = &difference.path;
        let [Aspect::Added] = difference.aspects.as_slice() else { return None };
        let link = matches!(ours.get(path)?.kind, Kind::Symlink(_));
        let belongs =
            |moved: &&Moved| if link { *path == moved.from } else { moved.to.is_at_or_beneath(path) };
        self.moved.iter().find(belongs).map(|moved| moved.reason.as_str())
    }

    /// The reason of a difference. Each of its aspects needs a line, not all of them the same one. `absent` tells
    /// whether a line of a file is about one that only the usual root has.
    pub(super) fn of(
        &self,
        difference: &Difference,
        absent: impl Fn(&str) -> bool,
        unused: &mut Unused,
    ) -> Option<&str> {
        let mut matched = BTreeSet::new();
        let mut reason = None;
        for aspect in &difference.aspects {
            let found = self.lines.iter().enumerate().find_map(|(at, line)| {
                let path = line.paths.iter().find(|glob| glob.matches_path(&difference.path))?;
                let mut patterns = line.allows(aspect, &absent)?;
                patterns.push(path.source().to_owned());
                Some((at, patterns))
            });
            let (at, patterns) = found?;
            matched.extend(patterns.into_iter().map(|pattern| (at, pattern)));
            reason = reason.or(Some(self.lines[at].reason.as_str()));
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
    fn allows(&self, aspect: &Aspect, absent: impl Fn(&str) -> bool) -> Option<Vec<String>> {
        let what = match aspect {
            Aspect::Missing => What::Missing,
            Aspect::Added => What::Added,
            Aspect::Kind(..) => What::Kind,
            Aspect::Mode(..) => What::Mode,
            Aspect::Owner(..) => What::Owner,
            Aspect::Target(..) => What::Target,
            Aspect::Content(_) => What::Content,
            Aspect::Order => What::Order,
            Aspect::Attributes(_) => What::Attributes,
        };
        if self.may.contains(&what) {
            return Some(Vec::new());
        }
        let Aspect::Content(Some((there, here))) = aspect else { return None };
        if self.there.is_empty() && self.here.is_empty() && !self.about_absent {
            return None;
        }
        let there = there.iter().filter(|line| !(self.about_absent && absent(line)));
        let mut patterns = matching(&self.there, there)?;
        patterns.extend(matching(&self.here, here.iter())?);
        Some(patterns)
    }
}

/// The patterns that match `lines`; none when a line is left over.
fn matching<'a>(globs: &[Glob], lines: impl Iterator<Item = &'a String>) -> Option<Vec<String>> {
    let mut patterns = Vec::new();
    for line in lines {
        let glob = globs.iter().find(|glob| glob.matches(line.as_bytes()))?;
        patterns.push(glob.source().to_owned());
    }
    Some(patterns)
}
