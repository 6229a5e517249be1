//! Relations between packages: `libc6 (>= 2.34), default-mta | mail-transport-agent, python3:any`.

use std::cmp::Ordering;

use debversion::Version;

/// One alternative of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Atom<'t> {
    /// The package's name.
    pub name: &'t str,
    /// `any`, `native` or an architecture's name behind the colon.
    pub qualifier: Option<&'t str>,
    /// Operator and version in the parentheses.
    pub version: Option<(&'t str, &'t str)>,
}

/// The alternatives of every relation in a field, in their order. What does not parse is left out: an archive's
/// own tools have checked these fields, and a package that misses something fails where it is used.
pub fn parse(field: &str) -> impl Iterator<Item = Vec<Atom<'_>>> {
    field
        .split(',')
        .map(|group| group.split('|').filter_map(atom).collect())
        .filter(|group: &Vec<_>| !group.is_empty())
}

fn atom(text: &str) -> Option<Atom<'_>> {
    let (name, version) = match text.split_once('(') {
        None => (text, None),
        Some((name, bracket)) => {
            let inner = bracket.split_once(')')?.0.trim();
            let operator = inner.len() - inner.trim_start_matches(['<', '>', '=']).len();
            let (operator, version) = inner.split_at(operator);
            (
                name,
                Some((operator, version.trim()))
                    .filter(|(operator, version)| !operator.is_empty() && !version.is_empty()),
            )
        }
    };
    // Build profiles and architecture lists do not occur in binary packages.
    let name = name.split(['[', '<']).next()?.trim();
    let (name, qualifier) =
        name.split_once(':').map_or((name, None), |(name, qualifier)| (name, Some(qualifier)));
    (!name.is_empty()).then_some(Atom { name, qualifier, version })
}

/// Whether `candidate` satisfies `operator version`. An unreadable version satisfies nothing.
pub(crate) fn satisfies(candidate: Option<&Version>, (operator, version): (&str, &str)) -> bool {
    let Some((candidate, version)) = candidate.zip(version.parse::<Version>().ok()) else { return false };
    let order = candidate.cmp(&version);
    match operator {
        "=" => order == Ordering::Equal,
        ">=" | ">" => order != Ordering::Less,
        "<=" | "<" => order != Ordering::Greater,
        ">>" => order == Ordering::Greater,
        "<<" => order == Ordering::Less,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations() {
        type Parts<'t> = (&'t str, Option<&'t str>, Option<(&'t str, &'t str)>);
        let check = |text: &str, expect: &[&[Parts<'_>]]| {
            let read: Vec<Vec<_>> = parse(text)
                .map(|group| group.iter().map(|atom| (atom.name, atom.qualifier, atom.version)).collect())
                .collect();
            assert_eq!(read, expect, "{text}");
        };
        check("", &[]);
        check(
            "a (>= 2.34), b|c:any (<<3~),\n d",
            &[
                &[("a", None, Some((">=", "2.34")))],
                &[("b", None, None), ("c", Some("any"), Some(("<<", "3~")))],
                &[("d", None, None)],
            ],
        );
        check("a (, ,|, (= 1), :", &[]);
    }

    #[test]
    fn versions() {
        let check = |candidate: &str, operator: &str, version: &str, expect: bool| {
            let parsed = candidate.parse().ok();
            assert_eq!(
                satisfies(parsed.as_ref(), (operator, version)),
                expect,
                "{candidate} {operator} {version}"
            );
        };
        check("2.41-12", ">=", "2.34", true);
        check("1:1.0", ">>", "9", true);
        check("1.0~rc1", "<<", "1.0", true);
        check("1.0-0", "=", "1.0", true);
        check("1.0", "<=", "1.0+b1", true);
        check("1.0", "==", "1.0", false);
        check("not a version", ">=", "1", false);
    }

    proptest::proptest! {
        #[test]
        fn no_relation_is_too_odd(noise in "[a-z0-9 ,|:()<>=.~+-]{0,40}") {
            for atom in parse(&noise).flatten() {
                let _ = atom.version.map(|version| satisfies("1.0-1".parse().ok().as_ref(), version));
            }
        }
    }
}
