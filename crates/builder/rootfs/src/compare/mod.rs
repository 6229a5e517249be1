//! Our root against one that was made the usual way from the same packages: every difference, and the reason for
//! it. What neither a rule of root.toml (left out, masked) nor a line of the base's differences.toml explains is a
//! fault, and so is a line that explains nothing.
//!
//! Owners are compared by name: the usual way numbers users as they come, we give each its own number. Times are
//! not compared: the usual way's are those of the day.

mod reasons;
mod usual;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use pilotlight_tree::{Kind, Node, PathError, Tree, TreePath};

pub use reasons::Reasons;
pub use usual::Usual;

use crate::{DATABASE, Error, Root, Spec, files, units};

/// In what a path differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// It is in the usual root alone.
    Missing,
    /// It is in ours alone.
    Added,
    /// It is a file here and a link there, or the like. The usual kind and ours.
    Kind(&'static str, &'static str),
    /// The usual permission bits and ours.
    Mode(u16, u16),
    /// The usual `user:group` and ours.
    Owner(String, String),
    /// The usual target of the link and ours.
    Target(String, String),
    /// The files' lines that only one side has: the usual root's, then ours. None when the content is not text.
    Content(Option<(BTreeSet<String>, BTreeSet<String>)>),
    /// The files have the same lines, of the same words, in another order.
    Order,
    /// Extended attributes that the usual root has; ours never has any.
    Attributes(Vec<String>),
}

/// How many lines of a file are shown that only one side has.
const SHOWN: usize = 10;

/// One path and all in which it differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: TreePath,
    /// In what.
    pub aspects: Vec<Aspect>,
}

impl fmt::Display for Aspect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(out, "is only in the usual root"),
            Self::Added => write!(out, "is only in ours"),
            Self::Kind(usual, ours) => write!(out, "is a {usual} there and a {ours} here"),
            Self::Mode(usual, ours) => write!(out, "has mode {usual:04o} there and {ours:04o} here"),
            Self::Owner(usual, ours) => write!(out, "is {usual}'s there and {ours}'s here"),
            Self::Target(usual, ours) => write!(out, "points to {usual} there and to {ours} here"),
            Self::Order => write!(out, "has the same lines and words in another order"),
            Self::Content(None) => write!(out, "has another content"),
            Self::Content(Some((usual, ours))) => {
                write!(out, "has other lines")?;
                usual.iter().take(SHOWN).try_for_each(|line| write!(out, "\n    there {line:?}"))?;
                ours.iter().take(SHOWN).try_for_each(|line| write!(out, "\n    here  {line:?}"))
            }
            Self::Attributes(names) => write!(out, "has {} there", names.join(", ")),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.path)?;
        for (count, aspect) in self.aspects.iter().enumerate() {
            write!(out, "{}{aspect}", if count == 0 { " " } else { "\n  and " })?;
        }
        Ok(())
    }
}

/// What came of a comparison.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// How many paths the two roots have together.
    pub paths: usize,
    /// How many differences each reason explains.
    pub explained: BTreeMap<String, usize>,
    /// Differences that nothing explains.
    pub unexplained: Vec<Difference>,
    /// Lines of differences.toml that explain nothing, and patterns in them that match nothing.
    pub unused: Vec<String>,
}

impl Verdict {
    /// Whether every difference has its reason and every reason its difference.
    pub fn is_clean(&self) -> bool {
        self.unexplained.is_empty() && self.unused.is_empty()
    }
}

/// The reason for what is ours alone and comes from no package.
const OWN: &str = "files of Pilotlight's own";

/// Compares `ours`, made by `spec`, with the `usual` root.
///
/// # Errors
/// A root whose /etc/passwd, /etc/group or package database cannot be read.
pub fn compare(usual: &Usual, ours: &Root, spec: &Spec, reasons: &Reasons) -> Result<Verdict, Error> {
    let mut used = reasons.unused();
    let usual = usual.moved(reasons, &mut used);
    let differences = differences(&usual, &ours.tree)?;
    let paths: BTreeSet<&TreePath> =
        usual.tree.iter().chain(ours.tree.iter()).map(|(path, _)| path).collect();
    let mut verdict = Verdict { paths: paths.len(), ..Verdict::default() };
    let known = Known::of(ours, spec)?;
    for difference in differences {
        let absent = |line: &str| names_absent(line, &usual.tree, &ours.tree);
        let reason = known.reason(&difference).or_else(|| reasons.of_moved(&difference, &ours.tree));
        match reason.or_else(|| reasons.of(&difference, absent, &mut used)) {
            Some(reason) => *verdict.explained.entry(reason.to_owned()).or_default() += 1,
            None => verdict.unexplained.push(difference),
        }
    }
    verdict.unused = reasons.told(&used);
    Ok(verdict)
}

/// What the root itself says about the paths that it has not got, and about its own.
struct Known<'a> {
    spec: &'a Spec,
    left_out: BTreeMap<&'a TreePath, &'a str>,
    masked: BTreeMap<TreePath, &'a str>,
    own: BTreeSet<TreePath>,
}

impl<'a> Known<'a> {
    fn of(ours: &'a Root, spec: &'a Spec) -> Result<Self, Error> {
        let list = files::path(&format!("{DATABASE}/info/{}.list", spec.raw.own.package))?;
        let mut own = BTreeSet::new();
        for path in files::text(&ours.tree, &list)?.lines() {
            // With the folders above it, as far as they are not known yet.
            let mut next = Some(files::path(path)?);
            while let Some(path) = next.filter(|path| !own.contains(path)) {
                next = path.parent();
                own.insert(path);
            }
        }
        Ok(Self {
            spec,
            left_out: ours.left_out.iter().map(|left| (&left.path, left.reason.as_str())).collect(),
            masked: units::masked(&ours.tree, spec).into_iter().collect(),
            own,
        })
    }

    fn reason(&self, difference: &Difference) -> Option<&'a str> {
        let path = &difference.path;
        match difference.aspects.as_slice() {
            [Aspect::Missing] => {
                self.left_out.get(path).copied().or_else(|| self.spec.reason_to_leave_out(path))
            }
            [Aspect::Added] if self.own.contains(path) => Some(OWN),
            [Aspect::Added] => self.masked.get(path).copied(),
            _ => None,
        }
    }
}

/// Whether a line is about a file that the usual root has and ours has not: one of its words is the file's path,
/// with or without the first `/`.
fn names_absent(line: &str, usual: &Tree, ours: &Tree) -> bool {
    line.split_whitespace().filter(|word| word.contains('/')).any(|word| {
        let path = TreePath::parse(word).and_then(|path| behind_links(path, usual));
        path.is_ok_and(|path| usual.get(&path).is_some() && ours.get(&path).is_none())
    })
}

/// Where `path` is when its first folder is one of the links of the merged /usr.
fn behind_links(path: TreePath, tree: &Tree) -> Result<TreePath, PathError> {
    let bytes = path.as_bytes();
    let Some(slash) = bytes.iter().position(|byte| *byte == b'/') else { return Ok(path) };
    let (top, below) = bytes.split_at(slash);
    match tree.get(&TreePath::parse(top)?).map(|node| &node.kind) {
        Some(Kind::Symlink(target)) => TreePath::parse([target, below].concat()),
        _ => Ok(path),
    }
}

fn differences(usual: &Usual, ours: &Tree) -> Result<Vec<Difference>, Error> {
    let (there, here) = (Names::of(&usual.tree)?, Names::of(ours)?);
    let paths: BTreeSet<&TreePath> = usual.tree.iter().chain(ours.iter()).map(|(path, _)| path).collect();
    let mut found = Vec::new();
    for path in paths {
        let mut aspects = match (usual.tree.get(path), ours.get(path)) {
            (Some(_), None) => vec![Aspect::Missing],
            (None, Some(_)) => vec![Aspect::Added],
            (Some(one), Some(other)) => {
                let mut aspects = of_nodes(one, other, &there, &here);
                aspects.extend(of_content(path, &usual.tree, ours));
                aspects
            }
            (None, None) => Vec::new(),
        };
        aspects.extend(usual.attributes.get(path).cloned().map(Aspect::Attributes));
        if !aspects.is_empty() {
            found.push(Difference { path: path.clone(), aspects });
        }
    }
    Ok(found)
}

fn of_nodes(usual: &Node, ours: &Node, there: &Names, here: &Names) -> Vec<Aspect> {
    let mut aspects = Vec::new();
    let kinds = (word(&usual.kind), word(&ours.kind));
    if kinds.0 != kinds.1 {
        aspects.push(Aspect::Kind(kinds.0, kinds.1));
    }
    // The mode of a link says nothing.
    let link = [kinds.0, kinds.1].contains(&"link");
    if !link && usual.meta.mode != ours.meta.mode {
        aspects.push(Aspect::Mode(usual.meta.mode, ours.meta.mode));
    }
    let owners = (there.owner(usual), here.owner(ours));
    if owners.0 != owners.1 {
        aspects.push(Aspect::Owner(owners.0, owners.1));
    }
    match (&usual.kind, &ours.kind) {
        (Kind::Symlink(one), Kind::Symlink(other)) if one != other => {
            let text = |target: &[u8]| String::from_utf8_lossy(target).into_owned();
            aspects.push(Aspect::Target(text(one), text(other)));
        }
        _ => {}
    }
    aspects
}

fn of_content(path: &TreePath, usual: &Tree, ours: &Tree) -> Option<Aspect> {
    let (one, other) = (files::content(usual, path)?, files::content(ours, path)?);
    if one == other {
        return None;
    }
    let lines = |content| -> Option<BTreeSet<String>> {
        Some(std::str::from_utf8(content).ok()?.lines().map(str::to_owned).collect())
    };
    if words(one).is_some_and(|words_of_one| words(other) == Some(words_of_one)) {
        return Some(Aspect::Order);
    }
    let Some((one, other)) = lines(one).zip(lines(other)) else { return Some(Aspect::Content(None)) };
    let only = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect();
    Some(Aspect::Content(Some((only(&one, &other), only(&other, &one)))))
}

/// The lines of a text, each as its words in order.
fn words(content: &[u8]) -> Option<Vec<Vec<&str>>> {
    let text = std::str::from_utf8(content).ok()?;
    let mut lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| {
            let mut words: Vec<&str> = line.split_whitespace().collect();
            words.sort_unstable();
            words
        })
        .collect();
    lines.sort_unstable();
    Some(lines)
}

/// The kind of a node as a person names it. A second name of a file is a file.
fn word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Directory => "folder",
        Kind::File(_) | Kind::HardLink(_) => "file",
        Kind::Symlink(_) => "link",
        Kind::CharDevice { .. } | Kind::BlockDevice { .. } => "device",
        Kind::Fifo => "pipe",
    }
}

/// The users and groups of a root by number.
struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Names {
    fn of(tree: &Tree) -> Result<Self, Error> {
        let read = |path| -> Result<BTreeMap<u32, String>, Error> {
            let lines = files::text(tree, &TreePath::literal(path))?.lines();
            Ok(lines
                .filter_map(|line| {
                    let mut fields = line.split(':');
                    Some((fields.nth(2)?.parse().ok()?, line.split(':').next()?.to_owned()))
                })
                .collect())
        };
        Ok(Self { users: read("etc/passwd")?, groups: read("etc/group")? })
    }

    fn owner(&self, node: &Node) -> String {
        let name = |names: &BTreeMap<u32, String>, id| names.get(&id).cloned().unwrap_or(format!("{id}"));
        format!("{}:{}", name(&self.users, node.meta.uid), name(&self.groups, node.meta.gid))
    }
}
